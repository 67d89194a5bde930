"""NYUD-v2 on disk: four packages told apart, decoded to the same convention, and refused when incomplete."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import torch
from errors import naming
from fmtl_datasets.sources.nyud import VARIANTS, Nyud, NyudLayoutError, find_variant
from PIL import Image
from scipy.io import savemat

IDS = ("0001", "0002", "0003")
HEIGHT, WIDTH = 8, 16
SEMSEG = np.tile(np.array([0, 1, 2, 40], dtype=np.uint8).repeat(4), (HEIGHT, 1))
EDGE = (np.arange(WIDTH) == 8)[None].repeat(HEIGHT, 0)
NORMAL = np.array([0.6, 0.0, -0.8])
DEPTH = np.linspace(0.0, 5.0, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH)


def coded_normals() -> npt.NDArray[np.uint8]:
    """Left half (whole JPEG blocks) one normal, right half the code of an invalid one."""
    codes = np.full((HEIGHT, WIDTH, 3), 127, dtype=np.uint8)
    codes[:, : WIDTH // 2] = np.rint((NORMAL + 1) * 255 / 2)
    return codes


def save(array: npt.NDArray[np.generic], path: Path, variable: str = "") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".mat":
        savemat(path, {variable: array})
    else:
        Image.fromarray(array).save(path, quality=100)


def stored(variant: str, kind: str) -> npt.NDArray[np.generic]:
    """A label as the package stores it."""
    if kind == "edge":
        return {"vandenhende": EDGE.astype(np.float32), "nyud320": EDGE}.get(variant, (EDGE * 255).astype(np.uint8))
    if kind == "normals" and variant == "vandenhende":
        return np.where(np.arange(WIDTH)[None, :, None] < WIDTH // 2, NORMAL, 0.0).repeat(HEIGHT, 0).astype(np.float32)
    if kind == "depth":
        return np.full((HEIGHT, WIDTH), 50, dtype=np.uint8) if variant == "nyud320" else DEPTH.astype(np.float32)
    image = np.arange(HEIGHT * WIDTH * 3, dtype=np.uint8).reshape(HEIGHT, WIDTH, 3)
    return {"semseg": SEMSEG, "normals": coded_normals(), "image": image}[kind]


def build(root: Path, variant: str) -> Path:
    layout = next(known for known in VARIANTS if known.name == variant)
    for image_id in IDS:
        for kind in layout.files:
            variable = {"semseg": "segmentation", "depth": "depth"}.get(kind, "")
            save(stored(variant, kind), layout.path(root, kind, image_id), variable)
    (root / "gt_sets").mkdir(exist_ok=True)
    (root / "gt_sets" / "train.txt").write_text("0001\n0002\n")
    (root / "gt_sets" / "val.txt").write_text("0003\n")
    return root


EXTENSIONS = {
    "atrc": (".png", ".png", ".png", ".png", ".npy"),
    "vandenhende": (".jpg", ".png", ".npy", ".npy", ".npy"),
    "astmt": (".jpg", ".mat", ".jpg", ".png", ".mat"),
    "nyud320": (".jpg", ".png", ".jpg", ".png", ".png"),
}
ALL_TASKS = ("semseg", "normals", "edge", "depth")
every_variant = pytest.mark.parametrize("variant", EXTENSIONS)


@every_variant
def test_variant_is_told_by_the_files_on_disk(tmp_path: Path, variant: str) -> None:
    build(tmp_path, variant)
    folders = ("images", "segmentation", "normals", "edge", "depth")
    on_disk = tuple(next((tmp_path / folder).iterdir()).suffix for folder in folders)
    assert on_disk == EXTENSIONS[variant]
    assert find_variant(tmp_path).name == variant


@every_variant
def test_every_variant_decodes_to_the_common_convention(tmp_path: Path, variant: str) -> None:
    dataset = Nyud(build(tmp_path, variant), ALL_TASKS)
    sample = dataset[1]
    last = 255 if variant == "nyud320" else 39
    assert len(dataset) == 2
    assert sample["image"].shape == (3, HEIGHT, WIDTH)
    assert sample["image"].dtype == sample["semseg"].dtype == sample["edge"].dtype == torch.uint8
    assert sample["semseg"][0, ::4].tolist() == [255, 0, 1, last]
    assert np.array_equal(sample["edge"].numpy(), EDGE)
    assert sample["normals"].shape == (3, HEIGHT, WIDTH)
    assert torch.allclose(sample["normals"][:, 4, 3], torch.tensor(NORMAL, dtype=torch.float32), atol=0.03)
    assert torch.allclose(sample["normals"][:, :, :8].norm(dim=0), torch.ones(HEIGHT, 8), atol=1e-5)
    assert sample["normals"][:, :, 8:].abs().sum() == 0
    assert sample["depth"].dtype == torch.float32
    expected = np.full_like(DEPTH, 50.5 / 25.5) if variant == "nyud320" else DEPTH
    assert np.allclose(sample["depth"][0].numpy(), expected, atol=1e-6)


@every_variant
def test_class_count_follows_the_variant(tmp_path: Path, variant: str) -> None:
    root = build(tmp_path, variant)
    assert Nyud(root, ["semseg"]).num_classes == {"semseg": 39 if variant == "nyud320" else 40}
    assert Nyud(root, ["depth"]).num_classes == {}


def test_only_the_tasks_asked_for_are_decoded(tmp_path: Path) -> None:
    root = build(tmp_path, "astmt")
    for path in (root / "segmentation").iterdir():
        path.write_bytes(b"broken")
    assert set(Nyud(root, ["depth", "edge"])[0]) == {"image", "depth", "edge"}
    with pytest.raises(ValueError, match=naming("segmentation/0001.mat", "semseg", "astmt")):
        Nyud(root, ["semseg"])[0]


def test_changed_bytes_of_a_matlab_file_are_named_and_never_end_the_process(tmp_path: Path) -> None:
    root = build(tmp_path, "astmt")
    draws = np.random.default_rng(0)
    for task, folder in (("semseg", "segmentation"), ("depth", "depth")):
        path = root / folder / "0001.mat"
        whole = path.read_bytes()
        messages = []
        for _ in range(150):
            content = bytearray(whole)
            for position in draws.integers(128, 220, 2):
                content[position] = draws.integers(0, 256)
            path.write_bytes(bytes(content))
            try:
                Nyud(root, [task])[0]
            except ValueError as error:
                messages.append(str(error))
        path.write_bytes(whole)
        assert len(messages) > 50
        assert all(str(path) in message for message in messages)


@pytest.mark.parametrize("content", [np.array([["ab", 3]], dtype=object), np.array(["ab"]), np.full((8, 16), np.nan)])
def test_a_matlab_variable_of_another_kind_is_refused(tmp_path: Path, content: npt.NDArray[np.generic]) -> None:
    root = build(tmp_path, "astmt")
    save(content, root / "segmentation" / "0001.mat", "segmentation")
    with pytest.raises(ValueError, match=naming("segmentation/0001.mat", "semseg")):
        Nyud(root, ["semseg"])[0]


def test_invalid_depth_values_become_zero(tmp_path: Path) -> None:
    root = build(tmp_path, "atrc")
    np.save(root / "depth" / "0001.npy", np.array([[-1.0, np.nan, np.inf, 2.0] * 4] * HEIGHT, dtype=np.float32))
    assert Nyud(root, ["depth"])[0]["depth"][0, 0, :4].tolist() == [0.0, 0.0, 0.0, 2.0]


def test_label_beyond_the_known_classes_is_refused(tmp_path: Path) -> None:
    root = build(tmp_path, "atrc")
    save(np.full((HEIGHT, WIDTH), 41, dtype=np.uint8), root / "segmentation" / "0001.png")
    with pytest.raises(ValueError, match=naming("41", "0 to 40")):
        Nyud(root, ["semseg"])[0]


def test_indices_select_and_order_the_images(tmp_path: Path) -> None:
    assert Nyud(build(tmp_path, "nyud320"), ["depth"], indices=[1, 0]).ids == ("0002", "0001")
    assert Nyud(tmp_path, ["depth"], image_list="val").ids == ("0003",)


@every_variant
@pytest.mark.parametrize("folder", ["images", "segmentation", "normals", "edge", "depth"])
def test_half_present_folder_names_the_first_missing_path(tmp_path: Path, variant: str, folder: str) -> None:
    root = build(tmp_path, variant)
    gone = sorted((root / folder).iterdir())[0]
    for path in (root / folder).iterdir():
        path.unlink()
    with pytest.raises(NyudLayoutError) as caught:
        find_variant(root)
    message = str(caught.value)
    assert f"{gone.with_suffix('')}." in message
    assert all(known.summary in message for known in VARIANTS)


def test_missing_file_in_the_middle_of_a_list_is_found_before_training(tmp_path: Path) -> None:
    gone = build(tmp_path, "atrc") / "edge" / "0002.png"
    gone.unlink()
    assert len(Nyud(tmp_path, ["depth"])) == 2
    with pytest.raises(NyudLayoutError, match=naming("edge/0002.png", "atrc")):
        Nyud(tmp_path, ["edge"])


def test_missing_root_and_missing_list_are_named(tmp_path: Path) -> None:
    with pytest.raises(NyudLayoutError, match=naming("nowhere")):
        find_variant(tmp_path / "nowhere")
    with pytest.raises(NyudLayoutError, match=naming("train.txt")):
        find_variant(tmp_path)
    with pytest.raises(NyudLayoutError, match=naming("val_mini.txt")):
        Nyud(build(tmp_path, "atrc"), ["depth"], image_list="val_mini")


@pytest.mark.parametrize("content", ["", "0001\n0001\n", "../0001\n"])
def test_damaged_list_is_refused(tmp_path: Path, content: str) -> None:
    (build(tmp_path, "atrc") / "gt_sets" / "train.txt").write_text(content)
    with pytest.raises(ValueError, match=naming("line")):
        find_variant(tmp_path)


def test_label_of_another_size_is_refused_with_its_path(tmp_path: Path) -> None:
    root = build(tmp_path, "atrc")
    np.save(root / "depth" / "0001.npy", np.ones((4, 4), dtype=np.float32))
    with pytest.raises(ValueError, match=naming("depth/0001.npy", "(4, 4)")):
        Nyud(root, ["depth"])[0]


def test_pickled_array_is_not_read(tmp_path: Path) -> None:
    root = build(tmp_path, "atrc")
    np.save(root / "depth" / "0001.npy", np.array([{"a": 1}], dtype=object))
    with pytest.raises(ValueError, match="allow_pickle"):
        Nyud(root, ["depth"])[0]


def test_unknown_task_lists_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=naming("parts", "semseg, normals, edge, depth")):
        Nyud(tmp_path, ["parts"])


def real_root() -> Path:
    repository = Path(__file__).resolve().parents[4]
    root = Path(os.environ.get("FMTL_DATA_ROOT", repository.parent / "shared" / "data")) / "nyud320"
    if not root.is_dir():
        pytest.skip(f"{root} is absent; set FMTL_DATA_ROOT to the folder that holds nyud320")
    return root


def test_real_nyud320_is_recognised_and_decodes() -> None:
    root = real_root()
    assert (len(Nyud(root, ["depth"])), len(Nyud(root, ["depth"], image_list="val"))) == (795, 654)
    dataset = Nyud(root, ALL_TASKS, image_list="val_mini", indices=range(0, 100, 20))
    assert dataset.variant.name == "nyud320"
    samples = [dataset[index] for index in range(len(dataset))]
    classes = torch.cat([sample["semseg"].flatten() for sample in samples]).unique()
    assert classes[classes != 255].max() < dataset.num_classes["semseg"] == 39
    for sample in samples:
        assert sample["image"].shape == (3, 240, 320)
        assert sample["depth"].min() > 0.4
        assert sample["depth"].max() < 10.1
        assert 0.01 < sample["edge"].float().mean() < 0.3
        valid = sample["normals"].norm(dim=0) > 0
        assert valid.float().mean() > 0.95
        assert sample["normals"][2][valid].mean() < -0.3, "normals face the camera: z forward, so z is negative"
