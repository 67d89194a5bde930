"""MAS in a whole run: affinities are measured in real training, travel to the server, and decide the split."""

import json
from pathlib import Path

import numpy as np

from fmtl.engine import run

SCENARIO = Path(__file__).parents[1] / "support/tiny.yaml"


def test_affinities_of_real_training_split_the_tasks_in_the_second_round(tmp_path: Path) -> None:
    values = {
        "strategy": "mas",
        "scenario": str(SCENARIO),
        "num-server-rounds": 2,
        "warmup-epochs": 0,
        "encoder-learning-rate": 1e-2,
        "decoder-learning-rate": 1e-2,
    }
    run(values, tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run/history.jsonl").read_text().splitlines()]
    merged, split = (line["diagnostics"] for line in lines if not line["final"])
    assert not any(name.startswith(("affinity/", "split")) for name in merged)
    # Only client two has two tasks.
    affinities = {name: value for name, value in split.items() if name.startswith("affinity/")}
    assert set(affinities) == {"affinity/depth/normals", "affinity/normals/depth"}
    # Far above what rounding in float32 can change.
    assert all(np.isfinite(value) and abs(value) > 1e-5 for value in affinities.values())
    groups = {name.removeprefix("split/"): value for name, value in split.items() if name.startswith("split/")}
    assert set(groups) == {"depth", "normals", "saliency", "semseg"}
    assert set(groups.values()) == {0.0, 1.0}
    assert (groups["depth"] == groups["normals"]) == (sum(affinities.values()) > 0)
