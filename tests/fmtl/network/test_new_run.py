"""What a networked run is started with: names that are no paths, settings that exist, runs that can be resumed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fmtl.network.coordinator_folder import CoordinatorFolder, allow_site, make_coordinator
from fmtl.network.errors import NetworkSetupError
from fmtl.network.runs import launch_file, new_run, resumed_run, run_id_of
from fmtl.network.site_keys import make_site_key


@pytest.fixture
def coordinator(tmp_path: Path) -> CoordinatorFolder:
    folder = make_coordinator(tmp_path / "coordinator", ("localhost",))
    allow_site(folder.path, make_site_key(tmp_path, "a").public)
    allow_site(folder.path, make_site_key(tmp_path, "b").public)
    return folder


def test_a_run_waits_for_all_registered_sites_and_knows_them(coordinator: CoordinatorFolder) -> None:
    _, values, run_folder = new_run(coordinator.path, [({"seed": 3}, "flag")], None)
    assert values["min-clients"] == 2
    assert values["known-sites"] == str(coordinator.node_names)
    assert values["out-dir"] == str(run_folder)
    assert run_folder.parent == coordinator.runs


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "..", "a/b", ".hidden", ""])
def test_a_run_has_no_name_that_is_a_path(coordinator: CoordinatorFolder, name: str) -> None:
    with pytest.raises(NetworkSetupError, match="--name"):
        new_run(coordinator.path, [], name)


def test_a_name_in_use_is_refused_and_a_made_one_counts_on(coordinator: CoordinatorFolder) -> None:
    (coordinator.runs / "mine").mkdir(parents=True)
    with pytest.raises(NetworkSetupError, match="exists already"):
        new_run(coordinator.path, [], "mine")
    first = new_run(coordinator.path, [], None)[2]
    first.mkdir()
    assert new_run(coordinator.path, [], None)[2].name == f"{first.name}-2"


def test_without_sites_a_run_says_how_to_let_one_in(tmp_path: Path) -> None:
    folder = make_coordinator(tmp_path / "coordinator", ("localhost",))
    with pytest.raises(NetworkSetupError, match="fmtl server allow"):
        new_run(folder.path, [], None)


def test_only_an_unfinished_run_that_was_started_here_is_resumed(coordinator: CoordinatorFolder) -> None:
    run = coordinator.runs / "mine"
    with pytest.raises(NetworkSetupError, match="no run that was started here; there are none"):
        resumed_run(coordinator.path, "mine")
    run.mkdir(parents=True)
    launch_file(run).write_text(json.dumps({"run_id": "17"}))
    (run / "config.json").write_text(json.dumps({"run_config": {"seed": 3, "out-dir": "x"}}))
    assert run_id_of(coordinator, "mine") == "17"
    values = resumed_run(coordinator.path, "mine")[1]
    assert (values["resume"], values["seed"], values["out-dir"]) == (True, 3, str(run))
    (run / "result.json").write_text(json.dumps({"status": "completed"}))
    with pytest.raises(NetworkSetupError, match="nothing to resume"):
        resumed_run(coordinator.path, "mine")
    (run / "config.json").write_text("{")
    with pytest.raises(NetworkSetupError, match="is damaged"):
        resumed_run(coordinator.path, "mine")
