"""Files as people have them: every kind that is read gives the stored numbers, every other one is refused by name."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from errors import naming
from fmtl_datasets.shared.conventions import IGNORE
from fmtl_datasets.shared.source import DataFileError, SourceSettings
from fmtl_datasets.sources.folder.labels import decoder
from fmtl_datasets.sources.folder.pixels import read_image
from fmtl_datasets.sources.folder.settings import ClassFiles, DepthFiles, EdgeFiles, MaskFiles, NormalFiles
from fmtl_datasets.sources.folder.source import open_source
from fmtl_datasets.transforms.resizing import Resized
from fmtl_datasets.transforms.transforms import evaluation_transform, to_batch
from PIL import Image
from tiny_folder import image_ids, save_png, scenes, write_folder

Array = npt.NDArray[Any]
DENSE = ("semseg", "parts", "saliency", "normals", "edge", "depth", "stuff")
THREE = ClassFiles(folder="x", classes=3)


def saved(path: Path, pixels: Array, mode: str | None = None) -> Path:
    image = Image.fromarray(pixels)
    (image if mode is None else image.convert(mode)).save(path)
    return path


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    write_folder(tmp_path, DENSE, train=3, val=1)
    source = open_source(SourceSettings(tmp_path))
    samples = source.open(DENSE, "train")
    for index, truth in enumerate(scenes(DENSE, 3, (64, 80))):
        assert samples.ids[index] == image_ids(3)[index]
        for key, value in samples[index].items():
            assert (value.dtype, value.shape) == (truth[key].dtype, truth[key].shape)
            closeness = {"normals": 1e-4, "depth": 0.00051}.get(key, 0)
            np.testing.assert_allclose(value, truth[key], atol=closeness)


def test_images_of_different_sizes_go_into_one_batch(tmp_path: Path) -> None:
    write_folder(tmp_path, DENSE, train=1, val=1, size=(40, 56))
    write_folder(tmp_path / "other", DENSE, train=1, val=1, size=(56, 40))
    for path in (tmp_path / "other").rglob("*.png"):
        path.replace(path.parents[0] / path.name)
        target = tmp_path / path.relative_to(tmp_path / "other")
        path.replace(target.with_stem(target.stem + "b"))
    (tmp_path / "train.txt").write_text("room1/scene0000\nroom1/scene0000b\n")
    samples = open_source(SourceSettings(tmp_path)).open(DENSE, "train")
    assert samples[0]["image"].shape[1:] != samples[1]["image"].shape[1:]
    fitted = {
        "pad": [samples[0], samples[1]],
        "inside": [Resized(samples, (64, 64), "inside")[index] for index in range(2)],
        "resize": [Resized(samples, (64, 64))[index] for index in range(2)],
    }
    for both in fitted.values():
        batch = to_batch([evaluation_transform((64, 64), "imagenet")(sample) for sample in both])
        assert batch["image"].shape == (2, 3, 64, 64)


RAMP = np.arange(6 * 7, dtype=np.uint8).reshape(6, 7)
COLOURS = np.stack([RAMP, RAMP + 50, RAMP + 100], axis=-1)


@pytest.mark.parametrize("mode", ["RGB", "L", "1", "P", "RGBA", "LA"])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_images_of_8_bits_become_rgb(tmp_path: Path, mode: str, suffix: str) -> None:
    image = Image.fromarray(COLOURS).convert(mode)
    image.save(tmp_path / f"a{suffix}")
    np.testing.assert_array_equal(read_image(tmp_path / f"a{suffix}"), np.asarray(image.convert("RGB")))


def test_a_16_bit_image_is_brought_to_8_bits_by_its_white(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", np.array([[0, 2048, 4095, 65535]], dtype=np.uint16))
    assert read_image(path, white=4095)[0, :, 0].tolist() == [0, 128, 255, 255]
    assert read_image(path)[0, :, 1].tolist() == [0, 8, 16, 255]


def transparent() -> Image.Image:
    image = Image.fromarray(COLOURS).convert("RGBA")
    image.putpixel((2, 2), (0, 0, 0, 10))
    return image


@pytest.mark.parametrize(
    ("save", "message"),
    [
        (lambda path: transparent().save(path), "transparent in places"),
        (lambda path: Image.fromarray(RAMP).save(path, transparency=3), "transparent in places"),
        (lambda path: save_png(path, COLOURS.astype(np.uint16) * 200), "RGB of 16 bits"),
        (lambda path: Image.fromarray(COLOURS).convert("CMYK").save(path, format="TIFF"), "CMYK"),
        (lambda path: Image.fromarray(RAMP.astype(np.float32)).save(path, format="TIFF"), "of kind F are not read"),
        (
            lambda path: Image.fromarray(RAMP).save(
                path, format="TIFF", save_all=True, append_images=[Image.fromarray(RAMP)]
            ),
            "several frames",
        ),
        (lambda path: path.write_bytes(b"no image"), "cannot be read as an image"),
        (lambda path: path.write_bytes(b""), "cannot be read as an image"),
    ],
)
def test_images_that_would_lose_their_meaning_are_refused(tmp_path: Path, save: Any, message: str) -> None:
    path = tmp_path / "a.png"
    save(path)
    with pytest.raises(DataFileError, match=f"{path}: .*{message}"):
        read_image(path)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_a_truncated_image_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a{suffix}"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(DataFileError, match=naming("image")):
        read_image(path)


def test_a_turned_photograph_is_used_as_stored_and_said_so_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_folder(tmp_path, ("semseg",), train=2, val=1, size=(16, 20))
    for path in (tmp_path / "images").rglob("*.png"):
        image = Image.open(path)
        exif = image.getexif()
        exif[0x0112] = 6
        image.save(path, exif=exif)
    samples = open_source(SourceSettings(tmp_path)).open(("semseg",), "train")
    with caplog.at_level(logging.WARNING):
        assert [samples[index]["image"].shape for index in range(2)] == [(3, 16, 20)] * 2
    assert sum("EXIF" in record.message for record in caplog.records) == 1


def test_a_label_of_another_size_is_refused_and_one_on_its_side_is_recognised(tmp_path: Path) -> None:
    write_folder(tmp_path, ("semseg",), train=2, val=1, size=(16, 20))
    samples = open_source(SourceSettings(tmp_path)).open(("semseg",), "train")
    first, second = (tmp_path / f"labels/semseg/{image_id}.png" for image_id in samples.ids)
    saved(first, np.zeros((16, 21), dtype=np.uint8))
    saved(second, np.zeros((20, 16), dtype=np.uint8))
    with pytest.raises(DataFileError, match=naming(first, "21", "20")):
        samples[0]
    with pytest.raises(DataFileError, match=naming(second, "side")):
        samples[1]


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_class_labels_of_8_and_16_bits_are_their_numbers(tmp_path: Path, kind: Any) -> None:
    path = saved(tmp_path / "a.png", np.array([[0, 1, 2, 255]], dtype=kind))
    assert decoder(THREE)(path).tolist() == [[0, 1, 2, IGNORE]]


def test_16_bit_values_above_255_can_be_given_a_meaning(tmp_path: Path) -> None:
    labels = ClassFiles(folder="x", classes=["a", "b"], values={1000: "b", 7: 0}, ignore=65535)
    path = saved(tmp_path / "a.png", np.array([[7, 1000, 65535]], dtype=np.uint16))
    assert decoder(labels)(path).tolist() == [[0, 1, IGNORE]]


def test_palette_labels_count_by_number_and_not_by_colour(tmp_path: Path) -> None:
    image = Image.fromarray(np.array([[0, 1, 2]], dtype=np.uint8), mode="P")
    image.putpalette([200, 0, 0, 0, 200, 0, 0, 0, 200])
    for bits in (2, 8):
        image.save(tmp_path / "a.png", bits=bits)
        assert decoder(THREE)(tmp_path / "a.png").tolist() == [[0, 1, 2]]


def test_one_bit_labels_are_classes_0_and_1_and_masks_0_and_255(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", np.array([[False, True]]))
    assert decoder(THREE)(path).tolist() == [[0, 1]]
    assert decoder(MaskFiles(folder="x"))(path).tolist() == [[0, 1]]


def test_grey_labels_of_few_bits_are_refused_because_decoders_stretch_them(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", np.zeros((3, 3), dtype=np.uint8))
    content = bytearray(path.read_bytes())
    content[24] = 4
    path.write_bytes(content)
    with pytest.raises(DataFileError, match=naming("2 or 4 bits")):
        decoder(THREE)(path)


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.array([[0, 3]], dtype=np.uint8), r"the value 3 is none of the classes 0 to 2 and not ignored \(255\)"),
        (np.array([[9, 3]], dtype=np.uint8), "the values 3, 9 are none of"),
        (np.array([[700]], dtype=np.uint16), "the value 700 is none of"),
        (np.zeros((2, 2, 3), dtype=np.uint8), "3 channels of uint8; .* Colours of a picture are no class numbers"),
    ],
)
def test_labels_with_values_that_mean_nothing_are_refused(tmp_path: Path, pixels: Array, message: str) -> None:
    path = saved(tmp_path / "a.png", pixels)
    with pytest.raises(DataFileError, match=f"{path}: .*{message}"):
        decoder(THREE)(path)


def test_masks_take_the_values_that_are_named(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", np.array([[0, 1, 2, 9]], dtype=np.uint8))
    labels = EdgeFiles(folder="x", positive=[1, 2], negative=0, ignore=9)
    assert decoder(labels)(path).tolist() == [[0, 1, 1, IGNORE]]
    with pytest.raises(DataFileError, match=naming("1, 2, 9", "0, 255")):
        decoder(MaskFiles(folder="x"))(path)


@pytest.mark.parametrize("bits", [8, 16])
def test_coded_normals_decode_to_their_direction(tmp_path: Path, bits: int) -> None:
    direction = np.array([0.6, 0.0, -0.8])
    top = 2**bits - 1
    code = np.rint((direction + 1) / 2 * top).astype(np.uint8 if bits == 8 else np.uint16)
    pixels = np.stack([code, np.full(3, top // 2, dtype=code.dtype)])[None]
    save_png(tmp_path / "a.png", pixels)
    decoded = decoder(NormalFiles(folder="x", flip_z="true"))(tmp_path / "a.png")
    np.testing.assert_allclose(decoded[:, 0, 0], [0.6, 0.0, 0.8], atol=1.5 / top)
    assert decoded[:, 0, 1].tolist() == [0, 0, 0]


@pytest.mark.parametrize("first", [True, False])
def test_normal_arrays_may_have_their_axis_first_or_last(tmp_path: Path, first: bool) -> None:
    vectors = np.zeros((4, 5, 3))
    vectors[..., 1] = 2.0
    vectors[0, 0] = np.nan
    vectors[0, 1] = 0.1
    np.save(tmp_path / "a.npy", vectors.transpose(2, 0, 1) if first else vectors)
    decoded = decoder(NormalFiles(folder="x"))(tmp_path / "a.npy")
    assert decoded.shape == (3, 4, 5)
    assert decoded.dtype == np.float32
    assert decoded[:, 0, :3].T.tolist() == [[0, 0, 0], [0, 0, 0], [0, 1, 0]]


def test_depth_in_millimetres_and_in_metres(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.png", np.array([[0, 1500, 65535]], dtype=np.uint16))
    decoded = decoder(DepthFiles(folder="x", units_per_metre=1000, invalid=65535))
    with pytest.raises(DataFileError, match=naming("depth", "65535")):
        decoded(path)
    millimetres = decoder(DepthFiles(folder="x", units_per_metre=1000))(path)
    np.testing.assert_allclose(millimetres, [[[0, 1.5, 65.535]]], rtol=1e-6)
    np.save(tmp_path / "a.npy", np.array([[[np.nan, np.inf, 2.5, 0.0]]], dtype=np.float64))
    metres = decoder(DepthFiles(folder="x"))(tmp_path / "a.npy")
    assert metres.tolist() == [[[0, 0, 2.5, 0]]]
    assert metres.dtype == np.float32


@pytest.mark.parametrize(
    ("labels", "array", "message"),
    [
        (DepthFiles(folder="x"), np.ones((2, 2), dtype=np.int32), "holds int32; expected floating-point"),
        (DepthFiles(folder="x"), np.ones((2, 2, 2)), "expected one depth per pixel"),
        (DepthFiles(folder="x"), np.array([[-1.0]]), "holds the depth -1"),
        (DepthFiles(folder="x"), np.array([[None]]), "cannot be read as a .npy file"),
        (NormalFiles(folder="x"), np.ones((2, 2)), r"has the shape \(2, 2\)"),
        (NormalFiles(folder="x"), np.ones((4, 4, 4)), r"has the shape \(4, 4, 4\)"),
    ],
)
def test_arrays_that_hold_something_else_are_refused(tmp_path: Path, labels: Any, array: Array, message: str) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(DataFileError, match=f"a.npy: .*{message}"):
        decoder(labels)(tmp_path / "a.npy")


@pytest.mark.parametrize(
    ("labels", "pixels", "message"),
    [
        (DepthFiles(folder="x", units_per_metre=10), RAMP, "expected a depth PNG of 16 bits"),
        (NormalFiles(folder="x"), RAMP, "its pixels are of kind L; expected RGB"),
        (EdgeFiles(folder="x", annotators="bits"), RAMP, "expected 16 bits"),
    ],
)
def test_images_that_hold_something_else_are_refused(tmp_path: Path, labels: Any, pixels: Array, message: str) -> None:
    path = saved(tmp_path / "a.png", pixels)
    with pytest.raises(DataFileError, match=f"a.png: .*{message}"):
        decoder(labels)(path)


@pytest.mark.parametrize("labels", [THREE, NormalFiles(folder="x"), DepthFiles(folder="x", units_per_metre=1)])
def test_truncated_label_files_are_refused(tmp_path: Path, labels: Any) -> None:
    noise = np.random.default_rng(0).integers(0, 3, (64, 64, 3), dtype=np.uint8)
    pixels = {ClassFiles: noise[..., 0], DepthFiles: noise[..., 0].astype(np.uint16)}.get(type(labels), noise)
    path = saved(tmp_path / "a.png", pixels)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(DataFileError, match=naming("a.png")):
        decoder(labels)(path)


def test_labels_of_a_sample_share_no_memory_with_the_next(tmp_path: Path) -> None:
    write_folder(tmp_path, ("semseg",), train=1, val=1, size=(16, 20))
    samples = open_source(SourceSettings(tmp_path)).open(("semseg",), "train")
    first = samples[0]
    before = first["semseg"].clone()
    first["semseg"].fill_(9)
    assert torch.equal(samples[0]["semseg"], before)
