from pathlib import Path

import pytest
from errors import naming
from fmtl_datasets.scenarios.scenario import ScenarioError

from client_app.round.identity import IdentityError, identify
from fmtl_strategies.contract.paths import RunFolderError, run_folder

CLIENT = """
  - name: {name}
    dataset: procedural
    tasks: [depth]
    image-size: [32, 32]
    train-images: 4
    validation-images: 2
    batch-size: 2
    encoder: mobilenetv2_035
"""


def scenario(folder: Path, *names: str) -> str:
    path = folder / "two.yaml"
    clients = "".join(CLIENT.format(name=name) for name in names)
    path.write_text(f"name: two\ndescription: for tests\nclients:{clients}")
    return str(path)


def test_partition_is_the_place_in_the_runs_scenario(tmp_path: Path) -> None:
    run_config = {"scenario": scenario(tmp_path, "a", "b"), "out-dir": str(tmp_path / "run")}
    found = identify({"partition-id": 1, "num-partitions": 2}, run_config, 7)
    assert (found.entry.name, found.state_root, found.is_site) == ("b", tmp_path / "run" / "clients", False)


def test_partition_beyond_the_scenario_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="has 2 clients"):
        identify({"partition-id": 2}, {"scenario": scenario(tmp_path, "a", "b")}, 7)


@pytest.mark.parametrize("node_config", [{}, {"partition-id": "1"}, {"partition-id": True}])
def test_missing_or_impossible_partition_is_an_error(tmp_path: Path, node_config: dict[str, object]) -> None:
    with pytest.raises(IdentityError, match="partition-id"):
        identify(node_config, {"scenario": scenario(tmp_path, "a")}, 7)


def test_missing_scenario_is_an_error() -> None:
    with pytest.raises(IdentityError, match="no 'scenario'"):
        identify({"partition-id": 0}, {}, 7)


def test_without_out_dir_the_state_lies_in_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    found = identify({"partition-id": 0}, {"scenario": scenario(tmp_path, "a"), "out-dir": ""}, 42)
    assert found.state_root == tmp_path / "fmtl-runs" / "42" / "clients"


def test_relative_out_dir_is_an_error_that_says_why() -> None:
    with pytest.raises(RunFolderError, match=naming("out-dir", "runs/a")):
        run_folder("runs/a", 1)


def test_state_dir_of_a_node_overrides_the_runs_folder(tmp_path: Path) -> None:
    node_config = {"partition-id": 0, "state-dir": str(tmp_path / "mine")}
    run_config = {"scenario": scenario(tmp_path, "a"), "out-dir": str(tmp_path / "run")}
    assert identify(node_config, run_config, 7).state_root == tmp_path / "mine"
    with pytest.raises(IdentityError, match=naming("state-dir", "mine")):
        identify({**node_config, "state-dir": "mine"}, run_config, 7)


def test_a_site_uses_its_own_file_and_ignores_the_runs_scenario(tmp_path: Path) -> None:
    node_config = {"client-file": scenario(tmp_path, "a"), "state-dir": str(tmp_path)}
    found = identify(node_config, {"scenario": "unknown"}, 7)
    assert (found.entry.name, found.state_root, found.is_site) == ("a", tmp_path, True)


def test_a_site_file_with_several_clients_needs_a_choice(tmp_path: Path) -> None:
    node_config = {"client-file": scenario(tmp_path, "a", "b"), "state-dir": str(tmp_path)}
    with pytest.raises(IdentityError, match=naming("2", "a, b")):
        identify(node_config, {}, 7)
    assert identify({**node_config, "client": "b"}, {}, 7).entry.name == "b"
    with pytest.raises(IdentityError, match=naming("client", "c")):
        identify({**node_config, "client": "c"}, {}, 7)


def test_a_site_without_state_dir_or_with_a_relative_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(IdentityError, match="no 'state-dir'"):
        identify({"client-file": scenario(tmp_path, "a")}, {}, 7)
    with pytest.raises(IdentityError, match=naming("client-file", "site.yaml")):
        identify({"client-file": "site.yaml", "state-dir": str(tmp_path)}, {}, 7)
