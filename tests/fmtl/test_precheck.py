"""What a user without the data is told: what to fetch, where to put it, and where to read more."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from fmtl_datasets.scenarios.scenario import Scenario, ScenarioError, load_scenario

from fmtl.cli import main
from fmtl.precheck import check_settings


def refused(scenario: Scenario) -> str:
    with pytest.raises(ScenarioError) as caught:
        check_settings({"strategy": "fedavg", "scenario": scenario.name}, scenario.clients)
    return str(caught.value)


def test_without_a_data_root_every_data_set_is_named_with_its_help_and_its_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("FMTL_DATA_ROOT", raising=False)
    message = refused(load_scenario("mixed_dense_coco"))
    for name, folder in (("nyud", "NYUDv2"), ("pascal_context", "PASCALContext"), ("coco", "coco")):
        assert f"`fmtl data help {name}`" in message
        assert folder in message
    assert "FMTL_DATA_ROOT" in message


def test_only_what_is_missing_under_the_data_root_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FMTL_DATA_ROOT", str(tmp_path))
    (tmp_path / "NYUDv2").mkdir()
    message = refused(load_scenario("pascal_st_nyud_mt_1c"))
    assert str(tmp_path / "PASCALContext") in message
    assert "nyud" not in message
    (tmp_path / "PASCALContext").write_text("a file is no data set")
    assert str(tmp_path / "PASCALContext") in refused(load_scenario("pascal_st_nyud_mt_1c"))


def test_nothing_is_missing_where_all_folders_are(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FMTL_DATA_ROOT", str(tmp_path))
    for folder in ("NYUDv2", "PASCALContext"):
        (tmp_path / folder).mkdir()
    clients = load_scenario("pascal_st_nyud_mt_4c").clients
    check_settings({"strategy": "fedhca2", "scenario": "pascal_st_nyud_mt_4c"}, clients)


def test_absolute_paths_need_no_data_root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("FMTL_DATA_ROOT", raising=False)
    client = load_scenario("nyud_st").client(0).model_copy(update={"data_root": str(tmp_path)})
    check_settings({"strategy": "fedavg", "scenario": "nyud_st"}, (client,))
    gone = client.model_copy(update={"data_root": str(tmp_path / "gone")})
    with pytest.raises(ScenarioError, match="fmtl data help nyud"):
        check_settings({"strategy": "fedavg", "scenario": "nyud_st"}, (gone,))


def test_missing_weights_are_named_with_the_client(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FMTL_DATA_ROOT", str(tmp_path))
    (tmp_path / "bsds_sod").mkdir()
    message = refused(load_scenario("bsds_sod"))
    assert "client bsds-saliency: encoder-weights" in message
    assert "mobilenetv2_100_imagenet.safetensors" in message


def test_run_without_the_data_ends_with_one_sentence_and_starts_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("FMTL_DATA_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["fmtl", "run", "--scenario", "pascal_st_nyud_mt_1c"])
    with pytest.raises(SystemExit) as stopped:
        main()
    errors = capsys.readouterr().err
    assert stopped.value.code == 2
    assert "fmtl data help pascal_context" in errors
    assert errors.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
