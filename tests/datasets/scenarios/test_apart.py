"""Clients of one folder whose lists differ: images in common are found, with both clients and their number."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from errors import naming
from fmtl_datasets.scenarios.overlap import require_apart
from fmtl_datasets.scenarios.scenario import Scenario, ScenarioError, list_scenarios, load_scenario
from tiny_data import write_nyud

from client_app.round.identity import identify

TRAIN, MINI, VALIDATION = 12, 6, 4


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A nyud320 folder whose list train_mini is the first half of train."""
    write_nyud(tmp_path / "nyud320", "nyud320", train=TRAIN, val=VALIDATION)
    return tmp_path / "nyud320"


def scenario(root: Path, *clients: dict[str, Any], **keys: Any) -> Scenario:
    base = {
        "dataset": "nyud",
        "data-root": str(root),
        "tasks": ["depth"],
        "image-size": [64, 64],
        "encoder": "resnet18",
    }
    entries = [{**base, "name": name, **client} for name, client in zip("abcd", clients, strict=False)]
    return Scenario.model_validate({"name": "s", "description": "", "clients": entries, **keys})


def test_clients_that_share_training_images_through_two_lists_are_refused(root: Path) -> None:
    with pytest.raises(ScenarioError, match=naming("clients a and b", MINI, "train", "train_mini", "may-overlap")):
        require_apart(scenario(root, {}, {"train-list": "train_mini"}))


def test_client_that_trains_on_what_another_is_scored_on_is_refused(root: Path) -> None:
    rest = (root / "gt_sets/train.txt").read_text().splitlines()[MINI:]
    (root / "gt_sets/val_mini.txt").write_text("\n".join(rest))
    clients = ({"train-list": "train_mini"}, {"train-list": "val", "validation-list": "val_mini"})
    with pytest.raises(ScenarioError, match=naming("client b", VALIDATION, "client a")):
        require_apart(scenario(root, *clients))
    with pytest.raises(ScenarioError, match=naming("scored")):
        require_apart(scenario(root, *clients, shares="may-overlap"))


def test_images_held_out_by_one_client_are_not_trained_on_by_another(root: Path) -> None:
    held_out = {"own-validation": 0.5}
    clients = ({**held_out, "share": {"part": 0, "of": 1}}, {"train-list": "train_mini", "share": {"part": 0, "of": 1}})
    with pytest.raises(ScenarioError, match=naming("client b", "client a", "scored")):
        require_apart(scenario(root, *clients))
    require_apart(scenario(root, *clients, shares="may-overlap"))


def test_clients_without_images_in_common_are_accepted_and_overlap_may_be_allowed(root: Path) -> None:
    ids = (root / "gt_sets/train.txt").read_text().splitlines()
    (root / "gt_sets/train.txt").write_text("\n".join(ids[MINI:]))
    require_apart(scenario(root, {}, {"train-list": "train_mini"}, {}))
    (root / "gt_sets/train.txt").write_text("\n".join(ids))
    overlapping = ({}, {"train-list": "train_mini"})
    require_apart(scenario(root, *overlapping, shares="may-overlap"))
    with pytest.raises(ScenarioError, match=naming("share", "training")):
        require_apart(scenario(root, *overlapping))


def test_folders_are_opened_only_where_training_lists_differ(tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    require_apart(scenario(nowhere, {}, {}))
    with pytest.raises(FileNotFoundError):
        require_apart(scenario(nowhere, {}, {"train-list": "train_mini"}))


@pytest.mark.parametrize("name", list_scenarios())
def test_no_scenario_of_the_project_needs_a_look_at_its_lists(name: str) -> None:
    """Simulated clients check this at their start, and large annotation files take long to open."""
    require_apart(load_scenario(name))


def test_relative_and_absolute_path_of_one_folder_are_one_folder(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = tmp_path / "link"
    link.symlink_to(root)
    monkeypatch.setenv("FMTL_DATA_ROOT", str(tmp_path))
    whole = {"share": {"part": 0, "of": 1}}
    for other in (str(root), str(link), "link", str(root / "images" / "..")):
        with pytest.raises(ValueError, match=naming("a and b", "disjoint")):
            scenario(root, {**whole, "data-root": "nyud320"}, {**whole, "data-root": other})
        with pytest.raises(ScenarioError, match=naming("clients a and b", MINI)):
            require_apart(scenario(root, {"data-root": "nyud320"}, {"data-root": other, "train-list": "train_mini"}))


def test_scenario_file_is_read_again_where_relative_paths_lead_elsewhere(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clients = "".join(
        f"  - {{name: {name}, data-root: {path}, share: {{part: 0, of: 1}}}}\n"
        for name, path in (("a", "nyud320"), ("b", root))
    )
    defaults = "defaults: {dataset: nyud, tasks: [depth], image-size: [64, 64], encoder: resnet18}"
    path = tmp_path / "two.yaml"
    path.write_text(f"name: two\ndescription: two\n{defaults}\nclients:\n{clients}")
    monkeypatch.setenv("FMTL_DATA_ROOT", str(tmp_path / "elsewhere"))
    load_scenario(path)
    monkeypatch.setenv("FMTL_DATA_ROOT", str(tmp_path))
    with pytest.raises(ScenarioError, match=naming("disjoint")):
        load_scenario(path)


def test_simulated_client_refuses_a_scenario_whose_clients_share_images(root: Path, tmp_path: Path) -> None:
    path = tmp_path / "mini.yaml"
    content = scenario(root, {}, {"train-list": "train_mini"}).model_dump_json(by_alias=True, exclude_defaults=True)
    path.write_text(content)
    run_config = {"scenario": str(path), "out-dir": str(tmp_path / "out")}
    with pytest.raises(ScenarioError, match=naming("clients a and b", MINI)):
        identify({"partition-id": 0}, run_config, run_id=1)
