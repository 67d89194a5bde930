"""`fmtl scenarios`: what there is, by paper, what each needs, and who takes part."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fmtl_datasets.scenarios.scenario import list_scenarios, load_scenario
from typer.testing import CliRunner

from fmtl.cli import build_app
from fmtl.commands.scenarios import grouped
from fmtl.tables import WIDTH

Call = Callable[..., tuple[int, str, str]]


def shown(*arguments: str) -> str:
    result = CliRunner().invoke(build_app(["scenarios"]), ["scenarios", *arguments])
    assert result.exit_code == 0, result.output
    return result.output


def test_every_scenario_is_listed_once_with_its_clients_and_folders() -> None:
    output = shown()
    rows = {words[0]: words for line in output.splitlines() if (words := line.split()) and words[0] in list_scenarios()}
    assert set(rows) == set(list_scenarios())
    assert rows["pascal_st_nyud_mt_4c"][1:3] == ["24", "PASCALContext"]
    assert rows["default"][1:3] == ["6", "-"]
    assert rows["m_fed_coco_instance_keypoints"][1:3] == ["4", "coco"]


def test_unknown_scenario_is_a_users_mistake(fmtl: Call) -> None:
    code, _, errors = fmtl("scenarios", "nope")
    assert code == 2
    assert "'nope'" in errors


def test_scenarios_stand_under_their_papers_and_those_without_data_come_first() -> None:
    headings = dict(grouped([load_scenario(name) for name in list_scenarios()]))
    assert list(headings)[0] == "Procedural scenes, nothing to fetch"
    assert all(not scenario.data_needs for scenario in headings["Procedural scenes, nothing to fetch"])
    hca = [scenario.name for scenario in headings["FedHCA2 (arXiv 2311.13250)"]]
    assert "nyud_st" in hca
    assert len(hca) == 6
    output = shown()
    assert all(heading in output for heading in headings)


@pytest.mark.parametrize("name", list_scenarios())
def test_the_clients_of_a_scenario_fit_into_a_line_each(name: str) -> None:
    """A name or share that is cut, or a column of single letters, is worse than a table that is left out."""
    lines = shown(name).splitlines()
    scenario = load_scenario(name)
    assert all(len(line) <= WIDTH for line in lines)
    assert not any("…" in line for line in lines)
    for index, client in enumerate(scenario.clients):
        row = next(line.split() for line in lines if line.split()[:2] == [client.name, str(index)])
        assert row[2:]


def test_a_scenario_says_where_it_comes_from_what_it_needs_and_what_differs() -> None:
    output = " ".join(shown("pascal_st_nyud_mt_1c").split())
    assert "FedHCA2 (arXiv 2311.13250). Table 1: five single-task clients" in output
    assert "Shuffled after lists of: 4998 (nyud-all)." in output
    assert "4 (nyud-all)." in output
    assert "Needs NYUDv2 under FMTL_DATA_ROOT; see `fmtl data help nyud`." in output


def test_own_validation_and_overlap_are_said() -> None:
    output = " ".join(shown("fmtl_bench_niid3_p").split())
    assert "scored on own 10%" in output
    assert "part 0 of 4, less 10%" in output
    assert "Clients have training images in common" in output
    assert "scored on val," in " ".join(shown("fmtl_bench_niid3_g").split())


def test_a_file_of_ones_own_with_an_absolute_path_is_shown_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        f"name: mine\ndescription: My images.\nclients:\n- name: site\n  dataset: folder\n  data-root: {tmp_path}\n"
        "  tasks: [semseg]\n  image-size: [64, 64]\n  encoder: resnet18\n"
    )
    output = "".join(shown(str(path)).split())
    assert f"Needs{tmp_path};see`fmtldatahelpfolder`." in output
