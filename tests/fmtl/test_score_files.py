"""`fmtl score` reads what a file stores: PNG files of every depth, and MATLAB files that may be damaged."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from errors import naming
from PIL import Image
from scipy.io import savemat
from tiny_folder import save_png

from fmtl.scoring.dense import score_directory
from fmtl.scoring.image_files import read_annotators, read_classes, read_image, read_normals
from fmtl.scoring.result import ScoreFileError, ScoreOptions

LABEL = np.array([[0, 0, 1, 1], [1, 1, 0, 1]])
FOUND = np.array([[0, 1, 1, 1], [1, 1, 0, 0]])
EXPECTED = 100 * (2 / 4 + 4 / 6) / 2


def save_grey(path: Path, values: Any, bits: int) -> None:
    """Write a grey PNG of 1, 2, 4 or 8 bits, which Pillow cannot for 2 and 4."""
    height, width = np.shape(values)
    spread = (np.asarray(values)[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    rows = np.packbits(spread.reshape(height, -1).astype(np.uint8), axis=1)
    body = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    header = struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", body), (b"IEND", b""))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
            for name, data in chunks
        )
    )


def scored(folders: tuple[Path, Path]) -> float | None:
    return score_directory("semseg", *folders, ScoreOptions(num_classes=2)).value


@pytest.mark.parametrize("bits", [1, 8, 16])
def test_class_labels_score_the_same_whatever_their_depth(folders: tuple[Path, Path], bits: int) -> None:
    for folder, values in zip(folders, (FOUND, LABEL), strict=True):
        if bits == 16:
            Image.fromarray(values.astype(np.uint16)).save(folder / "a.png")
        else:
            save_grey(folder / "a.png", values, bits)
    assert scored(folders) == pytest.approx(EXPECTED)


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_a_palette_file_gives_its_indices(folders: tuple[Path, Path], bits: int) -> None:
    for folder, values in zip(folders, (FOUND, LABEL), strict=True):
        image = Image.fromarray(values.astype(np.uint8), mode="P")
        image.putpalette([10, 200, 30, 40, 50, 60])
        image.save(folder / "a.png", bits=bits)
    assert scored(folders) == pytest.approx(EXPECTED)


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("side", [0, 1])
def test_grey_labels_of_2_and_4_bits_are_refused_because_decoders_stretch_them(
    folders: tuple[Path, Path], bits: int, side: int
) -> None:
    for index, folder in enumerate(folders):
        save_grey(folder / "a.png", LABEL, bits if index == side else 8)
    with pytest.raises(ScoreFileError, match=naming("a.png", "2 or 4 bits", "8 bits")):
        scored(folders)


def test_class_255_of_a_file_is_left_out_and_class_65535_is_not(folders: tuple[Path, Path]) -> None:
    save_grey(folders[0] / "a.png", [[0, 1]], 8)
    Image.fromarray(np.array([[0, 255]], dtype=np.uint16)).save(folders[1] / "a.png")
    assert scored(folders) == pytest.approx(50.0)  # the class that is seen has 100, the other one 0
    Image.fromarray(np.array([[0, 65535]], dtype=np.uint16)).save(folders[1] / "a.png")
    with pytest.raises(ScoreFileError, match="class 65535"):
        scored(folders)
    left_out = ScoreOptions(num_classes=2, ignore=65535)
    assert score_directory("semseg", *folders, left_out).value == pytest.approx(50.0)


def test_a_mask_of_1_bit_is_0_and_255(folders: tuple[Path, Path]) -> None:
    for folder in folders:
        save_grey(folder / "a.png", LABEL, 1)
    assert score_directory("saliency", *folders).value == pytest.approx(100.0)
    maps, valid = read_annotators(folders[1] / "a.png", None)
    np.testing.assert_array_equal(maps, LABEL[None] == 1)
    assert valid is None


@pytest.mark.parametrize(("task", "side"), [("saliency", 0), ("saliency", 1), ("edge", 0)])
def test_masks_and_probabilities_of_16_bits_are_refused(folders: tuple[Path, Path], task: str, side: int) -> None:
    for index, folder in enumerate(folders):
        kind = np.uint16 if index == side else np.uint8
        Image.fromarray((255 * LABEL).astype(kind)).save(folder / "a.png")
    with pytest.raises(ScoreFileError, match=r"a\.png: holds uint16; expected 8 bits"):
        score_directory(task, *folders)


def test_a_colour_file_of_16_bits_is_refused_where_8_are_expected(tmp_path: Path) -> None:
    save_png(tmp_path / "a.png", np.full((2, 3, 3), 1000, dtype=np.uint16))
    with pytest.raises(ScoreFileError, match=naming("a.png", "16 bits")):
        read_image(tmp_path / "a.png")


def refusal(read: Callable[..., object], *arguments: object) -> str | None:
    """Return what a reader says of a file it refuses, None for one that it reads."""
    try:
        read(*arguments)
    except ScoreFileError as error:
        return str(error)
    return None


def test_normals_of_16_bits_keep_all_of_them(tmp_path: Path) -> None:
    save_png(tmp_path / "a.png", np.full((2, 3, 3), (65535, 32767, 32868), dtype=np.uint16))
    np.testing.assert_allclose(read_normals(tmp_path / "a.png")[:, 0, 0], [1, 0, 2 * 32868 / 65535 - 1], atol=2e-5)


def test_damaged_images_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    draws = np.random.default_rng(0)
    Image.fromarray(draws.integers(0, 256, (20, 30)).astype(np.uint8)).save(path)
    whole = path.read_bytes()
    refusals = []
    for position in range(0, len(whole), 5):
        path.write_bytes(whole[:position] + bytes([whole[position] ^ 33]) + whole[position + 1 :])
        refusals += [message for read in (read_classes, read_image) if (message := refusal(read, path))]
    assert len(refusals) > 20
    assert all(str(path) in message for message in refusals)


def save_drawings(path: Path, *, compressed: bool) -> None:
    cells = np.empty((1, 2), dtype=object)
    for k in range(2):
        cells[0, k] = {"Boundaries": np.eye(9, 12, k).astype(np.uint8), "Segmentation": np.zeros((9, 12))}
    savemat(path, {"groundTruth": cells}, do_compression=compressed)


@pytest.mark.parametrize("compressed", [True, False])
def test_changed_bytes_of_a_matlab_file_are_named_and_never_end_the_process(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "a.mat"
    save_drawings(path, compressed=compressed)
    whole = path.read_bytes()
    assert read_annotators(path, None)[0].sum() == 18
    draws = np.random.default_rng(1)
    refusals = []
    for _ in range(300):
        content = bytearray(whole)
        for position in draws.integers(128, len(whole), 2):
            content[position] = draws.integers(0, 256)
        path.write_bytes(bytes(content))
        refusals += [message] if (message := refusal(read_annotators, path, None)) else []
    assert len(refusals) > 50
    assert all(str(path) in message for message in refusals)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ({"other": 1}, "no array 'groundTruth'"),
        ({"groundTruth": np.eye(3)}, "no field Boundaries"),
        ({"groundTruth": {"Boundaries": "text"}}, "no field Boundaries|no matrix of numbers"),
        ({"groundTruth": np.array([[{"Segmentation": np.eye(3)}]], dtype=object)}, "no field Boundaries"),
    ],
)
def test_other_matlab_files_are_named(tmp_path: Path, content: dict[str, object], reason: str) -> None:
    path = tmp_path / "a.mat"
    savemat(path, content)
    with pytest.raises(ScoreFileError, match=rf"a\.mat cannot be read as BSDS ground truth: .*({reason})"):
        read_annotators(path, None)
