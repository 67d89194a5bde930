"""Labels decoded from files whose content is known: each against a statement of what it has to be."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from errors import naming
from fmtl_datasets.shared.source import DataFileError, SourceSettings
from fmtl_datasets.sources.pascal_context.people import parts_label
from fmtl_datasets.sources.pascal_context.source import PascalContextSource, open_source
from fmtl_datasets.transforms.transforms import evaluation_transform, mark_ignored, to_batch, training_transform
from PIL import Image
from scipy.io import savemat
from tiny_pascal_context import FIGURE, standing_person, write_human_parts, write_pascal_context

from client_app.metrics.edge.thinning import thin

SIZE = (64, 80)
FIRST = "2008_000002"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("written")
    write_pascal_context(folder, train=4, val=1)
    return folder


@pytest.fixture
def root(tmp_path: Path, written: Path) -> Path:
    """A data set that the test may change."""
    return shutil.copytree(written, tmp_path / "data")


def opened(root: Path) -> PascalContextSource:
    return open_source(SourceSettings(root))


def label(root: Path, task: str, position: int = 0) -> torch.Tensor:
    sample = opened(root).open((task,), "train")[position]
    assert sample.keys() == {"image", task}
    return torch.as_tensor(sample[task])


def test_every_label_has_the_form_the_project_agreed_on(root: Path) -> None:
    source = opened(root)
    sample = source.open(source.tasks, "train")[0]
    assert sample["image"].dtype == torch.uint8
    assert sample["image"].shape == (3, *SIZE)
    for task in ("semseg", "parts", "saliency", "edge"):
        assert sample[task].dtype == torch.uint8
        assert sample[task].shape == SIZE
    assert sample["normals"].dtype == torch.float32
    assert sample["normals"].shape == (3, *SIZE)
    length = sample["normals"].norm(dim=0)
    assert (((length - 1).abs() < 1e-5) | (length == 0)).all()
    batch = to_batch([evaluation_transform((96, 96), "imagenet")(sample)])
    assert batch["semseg"].shape == (1, 96, 96)
    generator = torch.Generator().manual_seed(0)
    training_transform("reference", SIZE, "imagenet")(source.open(source.tasks, "train")[1], generator)


def test_semantic_labels_come_from_voc_and_else_from_the_other_folder(root: Path) -> None:
    flat = Image.fromarray(np.full(SIZE, 7, dtype=np.uint8))
    flat.save(root / "semseg" / "VOC12" / "2008_000003.png")
    assert set(label(root, "semseg", 1).unique().tolist()) == {7}
    (root / "semseg" / "VOC12" / "2008_000003.png").unlink()
    # Void outlines, background, the television set, the dog and the person of the tiny picture.
    assert set(label(root, "semseg", 1).unique().tolist()) == {0, 12, 15, 20, 255}


def test_a_palette_is_not_mistaken_for_labels(root: Path) -> None:
    with Image.open(root / "semseg" / "VOC12" / f"{FIRST}.png") as stored:
        assert stored.mode == "P"
    assert label(root, "semseg").max() == 255


PART_OF = {
    1: ("head", "hair", "lear", "rear", "lebrow", "rebrow", "leye", "reye", "mouth", "nose"),
    2: ("torso", "neck"),
    3: ("luarm", "ruarm"),
    4: ("llarm", "rlarm", "lhand", "rhand"),
    5: ("luleg", "ruleg"),
    6: ("llleg", "rlleg", "lfoot", "rfoot"),
}


@pytest.mark.parametrize(("index", "name"), [(index, name) for index, names in PART_OF.items() for name in names])
def test_each_annotated_part_becomes_its_one_of_six(tmp_path: Path, index: int, name: str) -> None:
    person = standing_person(SIZE, 2, 10, 40)
    person.parts = {name: person.parts["torso"]}
    write_human_parts(tmp_path / "1.mat", [person])
    parts = parts_label(tmp_path / "1.mat")
    np.testing.assert_array_equal(parts == index, person.parts[name])
    assert set(np.unique(parts)) == {0, index}


def test_parts_are_those_of_all_people_and_of_no_dog(root: Path) -> None:
    people = [standing_person(SIZE, 2, 4, 50), standing_person(SIZE, 10, 45, 50)]
    dog = standing_person(SIZE, 2, 24, 40)
    dog.kind = "dog"
    write_human_parts(root / "human_parts" / f"{FIRST}.mat", [people[0], dog, people[1]])
    parts = label(root, "parts").numpy()
    assert len(FIGURE) == 16
    np.testing.assert_array_equal(parts > 0, people[0].mask | people[1].mask)


def test_a_later_part_lies_over_an_earlier_one(root: Path) -> None:
    person = standing_person(SIZE, 2, 10, 40)
    torso = person.parts["torso"]
    person.parts = {"torso": torso, "lhand": torso}
    write_human_parts(root / "human_parts" / f"{FIRST}.mat", [person])
    assert set(label(root, "parts")[torch.from_numpy(torso)].tolist()) == {4}


def test_an_image_without_people_or_without_their_parts_is_ignored_throughout(root: Path) -> None:
    assert set(label(root, "parts", 2).unique().tolist()) == {255}
    write_human_parts(root / "human_parts" / f"{FIRST}.mat", [standing_person(SIZE, 2, 10, 40, has_parts=False)])
    assert set(label(root, "parts").unique().tolist()) == {255}
    sample = opened(root).open(("parts",), "train")[3]
    assert (mark_ignored(sample)["parts"] == sample["parts"]).all()


def test_saliency_is_cut_at_one_half(root: Path) -> None:
    ramp = np.arange(SIZE[0] * SIZE[1]).reshape(SIZE) % 256
    Image.fromarray(ramp.astype(np.uint8)).save(root / "sal_distill" / f"{FIRST}.png")
    np.testing.assert_array_equal(label(root, "saliency").numpy(), ramp / 255 > 0.5)


def test_normals_are_decoded_and_valid_only_on_classes_that_both_lists_name(root: Path) -> None:
    numbers = np.full(SIZE, 440, dtype=np.uint16)
    numbers[:10], numbers[10:20], numbers[20:30], numbers[30:40] = 360, 431, 427, 0
    savemat(root / "pascal-context" / "trainval" / f"{FIRST}.mat", {"LabelMap": numbers})
    codes = np.full((*SIZE, 3), 127, dtype=np.uint8)
    codes[:, :40] = (204, 128, 26)
    Image.fromarray(codes).save(root / "normals_distill" / f"{FIRST}.png")
    normals = label(root, "normals")
    # Sky, "unknown" and no class have none, television sets and walls do; grey is the code of no normal.
    expected = np.zeros((64, 80), dtype=bool)
    expected[20:30, :40] = expected[40:, :40] = True
    np.testing.assert_array_equal((normals != 0).any(dim=0).numpy(), expected)
    torch.testing.assert_close(normals[:, 50, 5], torch.tensor([0.6, 0.004, -0.796]), atol=0.01, rtol=0)


def test_edges_are_the_thinned_borders_of_all_459_classes(root: Path) -> None:
    numbers = np.full(SIZE, 440, dtype=np.uint16)
    numbers[20:40, 30:60], numbers[50:] = 113, 458
    savemat(root / "pascal-context" / "trainval" / f"{FIRST}.mat", {"LabelMap": numbers})
    edge = label(root, "edge").numpy()
    assert set(np.unique(edge)) == {0, 1}
    np.testing.assert_array_equal(thin(edge > 0), edge > 0)
    rows, columns = np.nonzero(edge)
    near_box = (rows >= 19) & (rows <= 40) & (columns >= 29) & (columns <= 60)
    assert (near_box | ((rows >= 49) & (rows <= 50))).all()
    assert near_box.sum() > 2 * (20 + 30) - 8
    assert edge[49:51].sum() >= SIZE[1] - 1


def put_image(root: Path, folder: str, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(root / folder / f"{FIRST}.png")


def put_mat(root: Path, folder: str, **variables: object) -> None:
    savemat(root / folder / f"{FIRST}.mat", variables)


FLAT = np.zeros(SIZE, dtype=np.uint8)
COLOURS = np.zeros((*SIZE, 3), dtype=np.uint8)
TRAINVAL = "pascal-context/trainval"


@pytest.mark.parametrize(
    ("task", "folder", "pixels", "said"),
    [
        ("semseg", "semseg/VOC12", FLAT + 21, "label 21"),
        ("semseg", "semseg/VOC12", COLOURS, "one 8-bit channel"),
        ("semseg", "semseg/VOC12", FLAT[:, :-1], "64 x 79 pixels, its image 64 x 80"),
        ("saliency", "sal_distill", COLOURS, "one 8-bit channel"),
        ("saliency", "sal_distill", FLAT > 0, "one 8-bit channel"),
        ("saliency", "sal_distill", FLAT.T, "80 x 64 pixels, its image 64 x 80"),
        ("normals", "normals_distill", FLAT, "three 8-bit channels"),
        ("normals", "normals_distill", COLOURS[:-1], "normals"),
    ],
)
def test_an_image_file_with_the_wrong_content_is_named(
    root: Path, task: str, folder: str, pixels: np.ndarray, said: str
) -> None:
    put_image(root, folder, pixels)
    with pytest.raises(DataFileError, match=rf"{FIRST}.*{said}"):
        label(root, task)


NUMBERS = np.full(SIZE, 440.0)


@pytest.mark.parametrize("task", ["edge", "normals"])
@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        (NUMBERS + 20, "goes from 460.0 to 460.0, expected 0 to 459"),
        (NUMBERS - 441, "goes from -1.0"),
        (np.where(np.arange(80) == 3, np.nan, NUMBERS), "goes from nan"),
        (NUMBERS[:-1], "63"),
        (NUMBERS[0, 0], "63|1 x 1|1, 1"),
        (np.zeros((0, 0)), "expected a map of numbers"),
        (np.zeros((64, 80, 3)), "expected a map of numbers"),
        (np.array(["text"]), "expected a map of numbers"),
    ],
)
def test_a_label_map_with_the_wrong_content_is_named(root: Path, task: str, numbers: np.ndarray, said: str) -> None:
    put_mat(root, TRAINVAL, LabelMap=numbers)
    with pytest.raises(DataFileError, match=rf"{FIRST}\.mat.*({said})"):
        label(root, task)


def test_a_matlab_file_without_the_variable_is_named(root: Path) -> None:
    put_mat(root, TRAINVAL, something=NUMBERS)
    with pytest.raises(DataFileError, match=naming(f"{FIRST}.mat", "LabelMap")):
        label(root, "edge")


def test_objects_with_the_wrong_content_are_named(root: Path) -> None:
    path = root / "human_parts" / f"{FIRST}.mat"
    put_mat(root, "human_parts", anno=NUMBERS)
    with pytest.raises(DataFileError, match=naming(f"{FIRST}.mat", "PASCAL-Part")):
        label(root, "parts")
    write_human_parts(path, [])
    with pytest.raises(DataFileError, match=naming(f"{FIRST}.mat", "objects")):
        label(root, "parts")
    person = standing_person(SIZE, 2, 10, 40)
    person.parts["wing"] = person.mask
    write_human_parts(path, [person])
    with pytest.raises(DataFileError, match=rf"{FIRST}\.mat.*'wing'"):
        label(root, "parts")
    write_human_parts(path, [standing_person(SIZE, 2, 10, 40), standing_person((63, 80), 2, 10, 40)])
    with pytest.raises(DataFileError, match=naming(f"{FIRST}.mat", "size")):
        label(root, "parts")
    write_human_parts(path, [standing_person((63, 80), 2, 10, 40)])
    with pytest.raises(DataFileError, match=naming(f"{FIRST}.mat", "63 x 80", "64 x 80")):
        label(root, "parts")


TASK_FILES = {
    "semseg": f"semseg/VOC12/{FIRST}.png",
    "parts": f"human_parts/{FIRST}.mat",
    "saliency": f"sal_distill/{FIRST}.png",
    "normals": f"normals_distill/{FIRST}.png",
    "edge": f"{TRAINVAL}/{FIRST}.mat",
}


@pytest.mark.parametrize("task", TASK_FILES)
@pytest.mark.parametrize("content", ["nothing", "half", "text", "another format"])
def test_a_damaged_file_is_named(root: Path, task: str, content: str) -> None:
    path = root / TASK_FILES[task]
    whole = path.read_bytes()
    if content == "another format":
        other = ".png" if path.suffix == ".mat" else ".mat"
        shutil.copy(root / next(file for file in TASK_FILES.values() if file.endswith(other)), path)
    else:
        path.write_bytes({"nothing": b"", "half": whole[: len(whole) // 2], "text": b"not found\n" * 40}[content])
    with pytest.raises(DataFileError, match=naming(path.name)):
        label(root, task)


def test_a_damaged_image_is_named(root: Path) -> None:
    path = root / "JPEGImages" / f"{FIRST}.jpg"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DataFileError, match=naming(f"{FIRST}.jpg")):
        opened(root).open((), "train")[0]
