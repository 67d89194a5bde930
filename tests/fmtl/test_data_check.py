"""Checking a data set: every damage is found and named, and a good data set has no finding that blocks."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from fmtl_datasets.registry import open_source
from fmtl_datasets.shared.source import SourceSettings
from fmtl_datasets.sources.nyud import Nyud
from PIL import Image
from tiny_bsds import write_bsds
from tiny_coco import write_coco
from tiny_data import write_nyud
from tiny_folder import write_folder
from tiny_pascal_context import shows_people, write_pascal_context

from fmtl.data.check import CheckOptions, check_source
from fmtl.data.findings import KINDS
from fmtl.data.report import DataReport

HEIGHT, WIDTH = 48, 64
NOTES = {"absent-class", "other-count"}
Damage = Callable[[Path], object]


def check(dataset: str, root: Path, **options: object) -> DataReport:
    source = open_source(dataset, SourceSettings(root))
    return check_source(source, CheckOptions(dataset=dataset, **options))  # type: ignore[arg-type]


def found(report: DataReport, *, notes: Sequence[str] = ()) -> set[tuple[str, str, str, str]]:
    """Kind, list, task and image of the findings, without those that every tiny data set has."""
    return {
        (finding.kind, finding.image_list, finding.task, finding.image_id)
        for finding in report.findings
        if finding.kind not in NOTES or finding.kind in notes
    }


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("pristine") / "NYUDv2"
    write_nyud(root, "atrc", 8, 3)
    return root


@pytest.fixture
def nyud(pristine: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(pristine, tmp_path / "NYUDv2"))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def save_classes(path: Path, value: int, size: tuple[int, int] = (HEIGHT, WIDTH), dtype: type = np.uint8) -> None:
    Image.fromarray(np.full(size, value, dtype=dtype)).save(path)


def loop(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("nowhere")


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("file", "damage", "kind"),
    [
        ("images/0002.png", truncate, "damaged-file"),
        ("images/0002.png", Path.unlink, "missing-file"),
        ("images/0002.png", make_folder, "unreadable-file"),
        ("segmentation/0002.png", truncate, "damaged-file"),
        ("segmentation/0002.png", lambda path: path.write_bytes(b""), "damaged-file"),
        ("segmentation/0002.png", lambda path: save_classes(path, 1, (10, 10)), "damaged-file"),
        ("segmentation/0002.png", lambda path: save_classes(path, 41), "damaged-file"),
        ("segmentation/0002.png", lambda path: save_classes(path, 300, dtype=np.uint16), "damaged-file"),
        ("segmentation/0002.png", lambda path: save_classes(path, 0), "all-ignored"),
        ("edge/0002.png", Path.unlink, "missing-file"),
        ("edge/0002.png", lambda path: save_classes(path, 255), "suspicious-values"),
        ("depth/0002.npy", truncate, "damaged-file"),
        ("depth/0002.npy", lambda path: path.write_bytes(b""), "damaged-file"),
        ("depth/0002.npy", loop, "unreadable-file"),
        ("depth/0002.npy", dangling, "unreadable-file"),
        ("depth/0002.npy", lambda path: np.save(path, np.full((HEIGHT, WIDTH), np.nan)), "all-ignored"),
        ("depth/0002.npy", lambda path: np.save(path, np.full((HEIGHT, WIDTH), 2500.0)), "wrong-values"),
        ("depth/0002.npy", lambda path: np.save(path, np.array([{"a": 1}], dtype=object)), "damaged-file"),
        ("normals/0002.png", lambda path: save_classes(path, 255, (HEIGHT, WIDTH, 3)), "suspicious-values"),
    ],
)
def test_damage_is_found_where_it_is_and_nowhere_else(nyud: Path, file: str, damage: Damage, kind: str) -> None:
    damage(nyud / file)
    report = check("nyud", nyud)
    task = {"images": "", "segmentation": "semseg"}.get(file.split("/")[0], file.split("/")[0])
    assert found(report) == {(kind, "train", task, "0002")}
    finding = next(finding for finding in report.findings if finding.kind == kind)
    assert finding.file == str(nyud / file)
    assert report.trainable is not KINDS[kind].blocks
    others = {task: count.read for task, count in report.lists[0].counts.items()}
    if task:
        counted = KINDS[kind].blocks
        assert others == {name: 8 - (name == task and counted) for name in ("semseg", "normals", "edge", "depth")}
    else:
        assert set(others.values()) == {7}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_file_without_permission_is_found(nyud: Path) -> None:
    (nyud / "edge/0002.png").chmod(0)
    assert found(check("nyud", nyud)) == {("unreadable-file", "train", "edge", "0002")}


def test_good_data_sets_have_nothing_that_blocks(tmp_path: Path, pristine: Path) -> None:
    write_pascal_context(tmp_path / "pascal", train=4, val=2)
    write_coco(tmp_path / "coco", train=4, val=2)
    write_bsds(tmp_path / "bsds", train=3, val=2)
    write_folder(tmp_path / "folder", ["semseg", "depth", "normals", "edge"], train=3, val=2)
    roots = {"pascal_context": "pascal", "coco": "coco", "bsds_sod": "bsds", "folder": "folder"}
    for dataset, root in {**{name: tmp_path / path for name, path in roots.items()}, "nyud": pristine}.items():
        report = check(dataset, root)
        assert [finding for finding in report.findings if finding.blocks] == [], dataset
        assert report.trainable
        assert all(len(content.read) == len(content.ids) > 0 for content in report.lists)


def test_counts_agree_with_a_plain_count_over_the_files(pristine: Path) -> None:
    report = check("nyud", pristine)
    train = report.lists[0].counts
    pixels = np.concatenate(
        [np.asarray(Image.open(path)).ravel() for path in sorted((pristine / "segmentation").glob("*"))[:8]]
    )
    semseg = train["semseg"]
    assert semseg.per_class.tolist() == np.bincount(pixels[pixels > 0] - 1, minlength=40).tolist()
    assert semseg.left_out == (pixels == 0).sum()
    depth = np.stack([np.load(path) for path in sorted((pristine / "depth").glob("*"))[:8]])
    assert (train["depth"].left_out, train["depth"].pixels) == ((depth == 0).sum(), depth.size)


def test_several_processes_find_the_same_as_one(nyud: Path) -> None:
    truncate(nyud / "edge/0003.png")
    save_classes(nyud / "segmentation/0006.png", 0)
    shutil.copy(nyud / "images/0004.png", nyud / "images/0009.png")
    alone = check("nyud", nyud).as_json()
    together = check("nyud", nyud, workers=2).as_json()
    assert {**alone, "seconds": 0} == {**together, "seconds": 0}


def test_image_in_both_lists_is_a_leak_by_name(nyud: Path) -> None:
    (nyud / "gt_sets/val.txt").write_text("0009\n0002\n0011\n")
    report = check("nyud", nyud)
    assert found(report) == {("leak", "val", "", "0002")}
    assert not report.trainable


def test_image_in_both_lists_is_a_leak_by_content(nyud: Path) -> None:
    shutil.copy(nyud / "images/0002.png", nyud / "images/0010.png")
    report = check("nyud", nyud)
    assert found(report) == {("leak", "val", "", "0010")}
    assert "same content as 0002 of list train" in report.findings[0].what


def test_same_image_under_two_names_in_one_list_is_told_and_does_not_block(nyud: Path) -> None:
    shutil.copy(nyud / "images/0002.png", nyud / "images/0005.png")
    report = check("nyud", nyud)
    assert found(report) == {("duplicate", "train", "", "0005")}
    assert report.trainable


def test_short_lists_that_are_parts_of_the_long_ones_are_no_leak(tmp_path: Path) -> None:
    write_nyud(tmp_path / "nyud320", "nyud320", 6, 3)
    assert not {kind for kind, *_ in found(check("nyud", tmp_path / "nyud320"))} & {"leak", "duplicate"}
    (tmp_path / "nyud320/gt_sets/val_mini.txt").write_text("0001\n")
    assert "leak" not in {kind for kind, *_ in found(check("nyud", tmp_path / "nyud320"))}
    (tmp_path / "nyud320/gt_sets/val.txt").write_text("0001\n0007\n")
    report = check("nyud", tmp_path / "nyud320")
    assert [finding.image_id for finding in report.findings if finding.kind == "leak"] == ["0001"], "told once"


def test_damaged_validation_list_is_found_and_training_is_checked_all_the_same(nyud: Path) -> None:
    (nyud / "gt_sets/val.txt").write_text("")
    report = check("nyud", nyud)
    assert found(report) == {("unreadable-list", "val", "", "")}
    assert (len(report.lists[0].read), len(report.lists[1].read)) == (8, 0)


def test_sample_is_seeded_and_reads_only_so_many(nyud: Path) -> None:
    for number in range(1, 9):
        truncate(nyud / f"edge/000{number}.png")
    reports = [check("nyud", nyud, sample=3, seed=seed, tasks=("edge",)) for seed in (0, 0, 1)]
    images = [{image for *_, image in found(report)} for report in reports]
    assert [len(chosen) for chosen in images] == [3, 3, 3]
    assert images[0] == images[1] != images[2]
    assert [(len(part.chosen), len(part.ids)) for part in reports[0].lists] == [(3, 8), (3, 3)]


def test_only_the_tasks_and_lists_asked_for_are_read(nyud: Path) -> None:
    truncate(nyud / "depth/0002.npy")
    report = check("nyud", nyud, tasks=("edge",), lists=("train",))
    assert found(report) == set()
    assert [part.name for part in report.lists] == ["train"]
    assert list(report.lists[0].counts) == ["edge"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": ("parts",)}, "tasks = 'parts' is not in NYUD-v2, variant atrc; it has semseg, normals, edge, depth"),
        ({"lists": ("test",)}, "lists = 'test' is not in NYUD-v2, variant atrc; it has train, val"),
        ({"sample": 0}, "sample = 0 images of each list; expected at least 1"),
    ],
)
def test_unknown_option_says_what_is_known(pristine: Path, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check("nyud", pristine, **options)


def test_parts_of_images_without_people_are_no_finding(tmp_path: Path) -> None:
    write_pascal_context(tmp_path / "pascal", train=6, val=2)
    report = check("pascal_context", tmp_path / "pascal", tasks=("parts",))
    counts = report.lists[0].counts["parts"]
    assert counts.labelled < counts.read == 6
    assert found(report) == set()


def test_task_that_nothing_is_labelled_for_blocks(nyud: Path) -> None:
    for number in range(1, 9):
        save_classes(nyud / f"segmentation/000{number}.png", 0)
    report = check("nyud", nyud, tasks=("semseg",), lists=("train",))
    assert ("nothing-labelled", "train", "semseg", "") in found(report)
    assert not report.trainable


def test_whole_list_without_people_blocks_for_parts(tmp_path: Path) -> None:
    write_pascal_context(tmp_path / "pascal", train=6, val=2)
    path = tmp_path / "pascal/ImageSets/Context/train.txt"
    empty = [image_id for index, image_id in enumerate(path.read_text().split()) if not shows_people(index)]
    path.write_text("".join(f"{image_id}\n" for image_id in empty))
    report = check("pascal_context", tmp_path / "pascal", tasks=("parts",), lists=("train",))
    assert found(report) == {("nothing-labelled", "train", "parts", "")}


def test_small_sample_without_people_is_no_finding(tmp_path: Path) -> None:
    write_pascal_context(tmp_path / "pascal", train=12, val=2)
    for seed in range(12):
        report = check("pascal_context", tmp_path / "pascal", tasks=("parts",), lists=("train",), sample=1, seed=seed)
        assert report.trainable
        if not report.lists[0].counts["parts"].labelled:
            return
    pytest.fail("no draw had an image without people")


def test_missing_annotation_file_is_found_once_and_other_tasks_are_read(tmp_path: Path) -> None:
    write_coco(tmp_path / "coco", train=4, val=2)
    (tmp_path / "coco/annotations/person_keypoints_val2017.json").unlink()
    report = check("coco", tmp_path / "coco")
    assert {finding for finding in found(report) if KINDS[finding[0]].blocks} == {
        ("missing-file", "val2017", "keypoints", "val2017")
    }
    assert {task: count.read for task, count in report.lists[1].counts.items()} == {
        "instance": 2,
        "stuff": 2,
        "panoptic": 2,
        "keypoints": 0,
    }
    assert len(report.lists[1].read) == 2


def test_objects_that_no_label_has_are_reported_with_their_number(tmp_path: Path) -> None:
    write_folder(tmp_path, ["instance", "depth"], train=3, val=2)
    path = tmp_path / "labels/instances.json"
    content = json.loads(path.read_text())
    for entry in [entry for entry in content["annotations"] if entry["image_id"] == 1][:2]:
        entry["bbox"] = [5, 5, 0, 9]
    path.write_text(json.dumps(content))
    report = check("folder", tmp_path)
    assert ("left-out", "train", "instance", "room1/scene0000") in found(report)
    assert [finding.what[0] for finding in report.findings if finding.kind == "left-out"] == ["2"]
    assert report.trainable
    assert "left-out" not in {kind for kind, *_ in found(check("folder", tmp_path, tasks=("depth",)))}


def test_label_of_another_size_in_a_folder_names_file_and_sizes(tmp_path: Path) -> None:
    write_folder(tmp_path / "own", ["semseg", "edge"], train=3, val=2)
    image = sorted((tmp_path / "own/labels/semseg").rglob("*.png"))[0]
    save_classes(image, 0, (5, 7))
    report = check("folder", tmp_path / "own")
    (finding,) = [finding for finding in report.findings if finding.blocks]
    assert (finding.task, finding.file) == ("semseg", str(image))


def test_progress_reaches_the_number_of_images(pristine: Path) -> None:
    calls: list[tuple[int, int]] = []
    check("nyud", pristine, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (11, 11)


def test_nothing_is_written_into_the_data_set(tmp_path: Path) -> None:
    write_pascal_context(tmp_path / "pascal", train=3, val=2)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "pascal").rglob("*")}
    check("pascal_context", tmp_path / "pascal")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "pascal").rglob("*")} == before


def test_killed_worker_says_to_use_fewer(nyud: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = os.getpid()

    def kill(dataset: Nyud, index: int) -> None:
        assert os.getpid() != parent
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(Nyud, "__getitem__", kill)
    with pytest.raises(ValueError, match="workers = 2"):
        check("nyud", nyud, workers=2)


def test_class_that_never_occurs_is_named(nyud: Path) -> None:
    report = check("nyud", nyud, tasks=("semseg",), lists=("train",))
    (finding,) = [finding for finding in report.findings if finding.kind == "absent-class"]
    assert "of 40 classes never occur" in finding.what
    assert "other prop" in finding.what or "more" in finding.what


def real_root(name: str) -> Path:
    repository = Path(__file__).resolve().parents[2]
    root = Path(os.environ.get("FMTL_DATA_ROOT", repository.parent / "shared" / "data")) / name
    if not root.is_dir():
        pytest.skip(f"{root} is absent; set FMTL_DATA_ROOT to the folder that holds {name}")
    return root


@pytest.mark.parametrize(("dataset", "folder"), [("nyud", "nyud320"), ("coco", "coco_mt200"), ("bsds_sod", "bsds_sod")])
def test_real_data_has_nothing_that_blocks(dataset: str, folder: str) -> None:
    torch.set_num_threads(1)
    report = check(dataset, real_root(folder), sample=12)
    assert report.trainable, report.findings
    assert not [finding for finding in report.findings if finding.kind in ("other-count", "duplicate")]
