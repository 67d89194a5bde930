"""From entry to data: disjoint images, the wanted size, and clear refusals."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import torch
from fmtl_datasets.catalogue import DATA_SETS
from fmtl_datasets.registry import (
    SOURCES,
    open_dataset,
    open_source,
    procedural_indices,
    selected_indices,
    share_indices,
)
from fmtl_datasets.scenarios.scenario import ClientEntry, Scenario, ScenarioError, load_scenario
from fmtl_datasets.shared.memory import InMemory
from fmtl_datasets.shared.source import Indices, SourceSettings
from fmtl_datasets.sources.nyud import Nyud
from PIL import Image

IDS = tuple(f"{number:04d}" for number in range(1, 13))


def nyud_folder(root: Path) -> Path:
    """A nyud320 folder of 24 x 40 pixels with ten training and two validation images."""
    flat = np.zeros((24, 40), dtype=np.uint8)
    colour = np.full((24, 40, 3), 200, dtype=np.uint8)
    layout = {
        "images": (colour, "jpg"),
        "normals": (colour, "jpg"),
        "segmentation": (flat + 3, "png"),
        "depth": (flat + 9, "png"),
        "edge": (flat > 0, "png"),
    }
    for folder, (array, extension) in layout.items():
        (root / folder).mkdir(parents=True)
        for image_id in IDS:
            Image.fromarray(array).save(root / folder / f"{image_id}.{extension}")
    (root / "gt_sets").mkdir()
    (root / "gt_sets" / "train.txt").write_text("\n".join(IDS[:10]))
    (root / "gt_sets" / "val.txt").write_text("\n".join(IDS[10:]))
    return root


def entry(root: Path, **changes: object) -> ClientEntry:
    base = {
        "name": "a",
        "dataset": "nyud",
        "data-root": str(root),
        "tasks": ["semseg", "depth"],
        "image-size": [32, 32],
        "encoder": "x",
    }
    return ClientEntry.model_validate({**base, **changes})


def opened_ids(client: ClientEntry, split: str, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    seen: list[tuple[str, ...]] = []
    check = Nyud._check_files

    def remember(self: Nyud) -> None:
        seen.append(self.ids)
        check(self)

    with monkeypatch.context() as patched:
        patched.setattr(Nyud, "_check_files", remember)
        open_dataset(client, "train" if split == "train" else "validation")
    return seen[0]


@pytest.mark.parametrize(
    "shares",
    [
        [{"part": part, "of": 3} for part in range(3)],
        [{"start": 0.0, "fraction": 0.3}, {"start": 0.3, "fraction": 0.45}, {"start": 0.75, "fraction": 0.25}],
    ],
)
def test_shares_of_nyud_are_disjoint_and_cover_the_training_list(
    tmp_path: Path, shares: list[dict[str, float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = nyud_folder(tmp_path)
    clients = [entry(root, share=share) for share in shares]
    parts = [opened_ids(client, "train", monkeypatch) for client in clients]
    assert sorted(image_id for part in parts for image_id in part) == list(IDS[:10])


def test_validation_is_the_whole_official_list_for_every_client(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = entry(nyud_folder(tmp_path), share={"part": 1, "of": 5})
    assert opened_ids(client, "validation", monkeypatch) == IDS[10:]
    assert len(opened_ids(entry(tmp_path, **{"validation-images": 1}), "validation", monkeypatch)) == 1


def test_own_validation_is_the_end_of_the_share_and_is_not_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = nyud_folder(tmp_path)
    whole = opened_ids(entry(root, share={"part": 1, "of": 2}), "train", monkeypatch)
    client = entry(root, share={"part": 1, "of": 2}, **{"own-validation": 0.4})
    assert opened_ids(client, "train", monkeypatch) == whole[:3]
    assert opened_ids(client, "validation", monkeypatch) == whole[3:]


def test_own_validation_with_a_list_trains_on_the_same_and_is_scored_on_the_list(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = nyud_folder(tmp_path)
    own = entry(root, **{"own-validation": 0.3})
    both = entry(root, **{"own-validation": 0.3, "validation-list": "val"})
    assert opened_ids(both, "train", monkeypatch) == opened_ids(own, "train", monkeypatch)
    assert opened_ids(both, "validation", monkeypatch) == IDS[10:]


@pytest.mark.parametrize(
    ("images", "held_out"), [(199, 20), (198, 20), (79, 8), (158, 16), (237, 24), (316, 32), (4998, 500), (2499, 250)]
)
def test_a_tenth_is_held_out_as_the_published_code_does(images: int, held_out: int, tmp_path: Path) -> None:
    (tmp_path / "gt_sets").mkdir()
    for folder in ("images", "normals", "segmentation", "depth", "edge"):
        (tmp_path / folder).mkdir()
    for folder, extension in (("images", "jpg"), ("normals", "jpg"), ("segmentation", "png"), ("depth", "png")):
        Image.new("L", (8, 8)).save(tmp_path / folder / f"0.{extension}")
    Image.new("L", (8, 8)).save(tmp_path / "edge" / "0.png")
    (tmp_path / "gt_sets" / "train.txt").write_text("\n".join(map(str, range(images))))
    source = open_source("nyud", SourceSettings(tmp_path))
    client = entry(tmp_path, **{"own-validation": 0.1})
    assert len(selected_indices(client, source, "train")[1]) == images - held_out == int(images * 0.9)
    assert len(selected_indices(client, source, "validation")[1]) == held_out


def test_another_training_list_is_used_where_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = nyud_folder(tmp_path)
    (root / "gt_sets" / "train_mini.txt").write_text("\n".join(IDS[2:5]))
    client = entry(root, **{"train-list": "train_mini"})
    assert sorted(opened_ids(client, "train", monkeypatch)) == list(IDS[2:5])
    assert opened_ids(client, "validation", monkeypatch) == IDS[10:]


@pytest.mark.parametrize(
    "lists",
    [
        {"train-list": "val"},
        {"train-list": "train_mini", "validation-list": "train"},
        {"train-list": "train", "validation-list": "train_mini"},
        {"own-validation": 0.2, "validation-list": "train_mini"},
    ],
)
def test_images_to_train_on_are_never_scored_on_whatever_the_lists(tmp_path: Path, lists: dict[str, str]) -> None:
    """Also not those of another client's share: what is averaged has learned them."""
    root = nyud_folder(tmp_path)
    (root / "gt_sets" / "train_mini.txt").write_text("\n".join([IDS[2], IDS[11]]))
    client = entry(root, share={"part": 0, "of": 5}, **lists)
    with pytest.raises(ScenarioError, match="client a: .* images of the validation list .* are in the training list"):
        open_dataset(client, "validation")


@pytest.mark.parametrize("key", ["train-list", "validation-list"])
def test_a_list_that_is_not_there_is_refused_with_those_that_are(tmp_path: Path, key: str) -> None:
    with pytest.raises(ScenarioError, match=f"client a: {key} = 'test' is not a list of NYUD-v2.*it has train, val"):
        open_dataset(entry(nyud_folder(tmp_path), **{key: "test"}), "train" if key == "train-list" else "validation")


def test_tasks_that_the_folder_does_not_give_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fmtl_datasets.sources.nyud.source.NyudSource.tasks", ("depth",))
    with pytest.raises(ScenarioError, match="client a: NYUD-v2, variant nyud320 in .* has no semseg; it offers depth"):
        open_dataset(entry(nyud_folder(tmp_path)), "train")


def test_images_without_a_label_are_dropped_after_the_shares_are_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def even_ones(self: object, image_list: str, indices: Indices, tasks: object) -> Indices:
        return indices[indices % 2 == 0]

    root = nyud_folder(tmp_path)
    clients = [entry(root, share={"part": part, "of": 2}) for part in range(2)]
    before = [opened_ids(client, "train", monkeypatch) for client in clients]
    with monkeypatch.context() as patched:
        patched.setattr("fmtl_datasets.sources.nyud.source.NyudSource.usable", even_ones)
        after = [opened_ids(client, "train", patched) for client in clients]
    for dropped, whole in zip(after, before, strict=True):
        assert dropped == tuple(image_id for image_id in whole if IDS.index(image_id) % 2 == 0)


def test_a_share_after_other_data_sets_is_another_part_of_the_same_list(tmp_path: Path) -> None:
    first, later = (
        share_indices(entry(tmp_path, share={"part": 0, "of": 4, "after": after}), 795) for after in ([], [4998])
    )
    assert len(first) == len(later) == 199
    assert not np.array_equal(first, later)
    assert not np.array_equal(later, share_indices(entry(tmp_path, share={"part": 0, "of": 4, "after": [795]}), 795))


def test_inside_keeps_the_shape_of_the_image(tmp_path: Path) -> None:
    sample = open_dataset(entry(nyud_folder(tmp_path), fit="inside", **{"image-size": [32, 64]}), "train")[0]
    assert sample["image"].shape == (3, 32, 53)
    assert sample["semseg"].shape == (32, 53)


def test_every_data_set_of_a_scenario_but_the_procedural_one_can_be_opened() -> None:
    assert set(SOURCES) == set(DATA_SETS) - {"procedural"}
    for module in SOURCES.values():
        assert callable(import_module(module).open_source)


def test_a_data_set_that_is_not_read_from_disk_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="dataset = 'procedural' is not one that is read from disk; known: nyud, pasc"):
        open_source("procedural", SourceSettings(tmp_path))


def test_resized_samples_have_the_image_size_and_padded_ones_their_own(tmp_path: Path) -> None:
    root = nyud_folder(tmp_path)
    resized, native = (open_dataset(entry(root, fit=fit, augment="reference"), "train")[0] for fit in ("resize", "pad"))
    assert (resized["image"].shape, resized["depth"].shape) == ((3, 32, 32), (1, 32, 32))
    assert native["image"].shape == (3, 24, 40)
    assert resized["depth"].unique().tolist() == native["depth"].unique().tolist()


def test_data_that_fit_are_kept_in_memory_and_others_are_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = entry(nyud_folder(tmp_path))
    assert isinstance(open_dataset(client, "train"), InMemory)
    monkeypatch.setattr("fmtl_datasets.registry.KEEP_BYTES", 1000)
    dataset = open_dataset(client, "train")
    assert not isinstance(dataset, InMemory)
    assert dataset[0]["image"].shape == (3, 32, 32)


def test_more_images_than_there_are_is_refused_with_the_number(tmp_path: Path) -> None:
    client = entry(nyud_folder(tmp_path), share={"part": 0, "of": 2}, **{"train-images": 8})
    with pytest.raises(ScenarioError, match="train-images = 8, but its data has only 5 images"):
        open_dataset(client, "train")


def test_unknown_split_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="split = 'test' is not known"):
        open_dataset(entry(tmp_path), "test")  # type: ignore[arg-type]


def test_procedural_clients_never_share_a_scene_between_them_or_their_splits() -> None:
    clients = load_scenario("default").clients
    used = [
        index for client in clients for split in ("train", "validation") for index in procedural_indices(client, split)
    ]  # type: ignore[arg-type]
    assert len(used) == len(set(used)) == sum((c.train_images or 0) + (c.validation_images or 0) for c in clients)


def test_more_training_images_extend_a_client_and_leave_the_first_ones() -> None:
    client = load_scenario("default").client(2)
    longer = client.model_copy(update={"train_images": 100})
    assert list(procedural_indices(longer, "train"))[:10] == list(procedural_indices(client, "train"))[:10]


def test_every_client_of_the_default_scenario_opens_with_its_tasks_and_size() -> None:
    for client in load_scenario("default").clients:
        small = client.model_copy(update={"train_images": 1, "validation_images": 1})
        for split in ("train", "validation"):
            dataset = open_dataset(small, split)  # type: ignore[arg-type]
            assert (len(dataset), dataset.tasks) == (1, client.tasks)
            sample = dataset[0]
            assert set(client.tasks) <= set(sample)
            assert sample["image"].shape[-2:] == client.image_size


def test_real_scenario_opens_disjoint_fifths_of_nyud320(monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(os.environ.get("FMTL_DATA_ROOT", Path(__file__).resolve().parents[3] / "shared" / "data"))
    if not (root / "nyud320").is_dir():
        pytest.skip(f"{root / 'nyud320'} is absent; set FMTL_DATA_ROOT to the folder that holds nyud320")
    monkeypatch.setenv("FMTL_DATA_ROOT", str(root))
    scenario: Scenario = load_scenario("nyud320_st4_mt1")
    sizes = [len(open_dataset(client, "train")) for client in scenario.clients]
    assert sizes == [80] * 5
    validation = open_dataset(scenario.client(4), "validation")
    assert len(validation) == 100
    sample = validation[0]
    assert {task: tuple(sample[task].shape) for task in scenario.client(4).tasks} == {
        "semseg": (96, 128),
        "depth": (1, 96, 128),
        "normals": (3, 96, 128),
        "edge": (96, 128),
    }
    assert torch.isfinite(sample["depth"]).all()
