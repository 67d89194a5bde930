"""Poisoned updates in whole runs: real clients on procedural scenes, one of which sends what it did not train."""

import json
from pathlib import Path

import pytest

from benchmarks.defence import ATTACKS, Options, Trial, main

VALUES = {"num-server-rounds": 1, "warmup-epochs": 0, "upload-format": "bfloat16"}


def trial(folder: Path, attack: str, defence: str) -> Trial:
    options = Options("alike", ("fedhca2",), (0,), 1, 2, (), (), 1)
    values = {**VALUES, "strategy": "fedhca2", "defence": defence}
    return Trial(options.write_scenario(folder), values, frozenset(["c05-semseg"]), ATTACKS[attack])


def test_an_attacker_among_real_clients_is_set_aside_and_named_in_the_history(tmp_path: Path) -> None:
    outcome = trial(tmp_path, "x 100", "outlier").outcome(tmp_path / "run")
    assert outcome.set_aside == {"c05-semseg": 1}
    lines = [json.loads(line) for line in (tmp_path / "run/history.jsonl").read_text().splitlines()]
    first, final = lines
    assert first["set_aside"]["c05-semseg"].startswith("defence outlier: update of encoder is far longer")
    assert first["participants"] == [f"c0{i}-semseg" for i in range(5)]
    assert first["diagnostics"]["c05-semseg/encoder/defence-score"] > 5
    assert first["diagnostics"]["defence/rows-set-aside"] == 2
    assert 0 <= first["seconds"]["defence"] <= first["seconds"]["aggregation"] + 1e-3
    assert all(score is not None for score in outcome.scores.values())
    assert sorted(final["scores"]) == [f"c0{i}-semseg" for i in range(6)]
    assert not final["set_aside"]
    config = json.loads((tmp_path / "run/config.json").read_text())["run_config"]
    assert (config["defence"], config["defence-threshold"]) == ("outlier", 5.0)


def test_the_table_compares_with_the_run_in_which_nobody_attacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(
        ["--strategies", "fedavg", "--seeds", "0", "--rounds", "2", "--images", "2"]
        + ["--attacks", "constant 0.1", "--defences", "none,norm-bound"]
    )
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| ")][2:]
    assert [row[:2] for row in rows] == [
        ["| nobody", "none"],
        ["| nobody", "norm-bound"],
        ["| constant 0.1", "none"],
        ["| constant 0.1", "norm-bound"],
    ]
    assert rows[0][2:4] == ["100", "+0.00"]
    assert rows[1][2:6] == ["100", "+0.00", "0", "-"]
    assert rows[3][5].startswith("c05-semseg ")
