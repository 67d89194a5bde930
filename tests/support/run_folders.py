"""Run folders written by tests, in the format of the server."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fmtl.report.comparison import Comparison, compare_runs
from fmtl.report.run_reader import read_run

Values = Mapping[str, Mapping[str, float | str]]
"""By client and task: the value, or the reason why it is missing."""

METRICS = {
    "semseg": ("mIoU", True),
    "parts": ("mIoU", True),
    "saliency": ("maxF", True),
    "normals": ("mErr", False),
    "edge": ("odsF", True),
    "depth": ("RMSE", False),
}

TABLE_1_COLUMNS = (
    ("pascal-semseg", "semseg"),
    ("pascal-parts", "parts"),
    ("pascal-saliency", "saliency"),
    ("pascal-normals", "normals"),
    ("pascal-edge", "edge"),
    ("nyud-all", "semseg"),
    ("nyud-all", "depth"),
    ("nyud-all", "normals"),
    ("nyud-all", "edge"),
)
TABLE_1 = {
    "local": (51.69, 49.94, 80.91, 15.76, 71.95, 41.86, 0.6487, 20.59, 76.46),
    "fedavg": (39.98, 37.33, 77.56, 18.27, 69.17, 38.94, 0.7858, 21.62, 75.77),
    "fedper": (54.51, 46.56, 78.85, 16.95, 71.00, 44.02, 0.6467, 21.19, 76.61),
    "fedhca2": (57.55, 52.30, 80.71, 15.60, 72.08, 41.47, 0.6281, 20.53, 76.50),
}
"""Rows of Table 1 of the FedHCA2 paper (PASCAL-Context 5 x single-task, NYUD 1 x multi-task)."""


def table_1(strategy: str) -> dict[str, dict[str, float | str]]:
    """One published row, by client and task."""
    values: dict[str, dict[str, float | str]] = {}
    for (client, task), value in zip(TABLE_1_COLUMNS, TABLE_1[strategy], strict=True):
        values.setdefault(client, {})[task] = value
    return values


def score(value: float | str) -> dict[str, float | str | None]:
    """A score as the server writes it."""
    if isinstance(value, str):
        return {"value": None, "missing_because": value}
    return {"value": value, "missing_because": None}


@dataclass
class RunFolder:
    """What a test wants in a run folder; `write` makes it."""

    values: Values
    strategy: str = "local"
    seed: int = 0
    rounds: int = 3
    scenario: str = "default"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    status: str | None = "completed"
    reason: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)

    def write(self, folder: Path) -> Path:
        """Write the folder; a `status` of None leaves the run unfinished after its last round's line."""
        folder.mkdir(parents=True)
        config = {"strategy": self.strategy, "scenario": self.scenario, "seed": self.seed, **self.settings}
        versions = {"flwr": "1.41.0", "fmtl": "0.1.0"}
        self._dump(folder / "config.json", {"run_config": config, "versions": versions, "experiment": "x"})
        lines = [json.dumps(self._line(number)) for number in range(1, self.rounds + 1)]
        if self.status is not None:
            lines.append(json.dumps({**self._line(self.rounds + 1), "round": self.rounds, "final": True}))
            self._dump(folder / "result.json", {**self._result(versions), **self.changes})
        (folder / "history.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return folder

    def _line(self, number: int) -> dict[str, object]:
        """The line of a round; its scores are those of the model before it and approach the final ones."""
        evaluated = number - 1
        scores = {
            client: {
                task: score(value if isinstance(value, str) else value * evaluated / self.rounds)
                for task, value in tasks.items()
            }
            for client, tasks in self.values.items()
        }
        return {
            "round": number,
            "participants": list(self.values),
            "set_aside": {},
            "skipped": False,
            "losses": {},
            "evaluated_round": evaluated if evaluated else None,
            "scores": scores if evaluated else {},
            "bytes_up": 10,
            "bytes_down": 20,
            "seconds": {"train": 1.5},
            "diagnostics": {},
        }

    def _result(self, versions: Mapping[str, str]) -> dict[str, object]:
        clients = {
            client: {
                "dataset": "procedural",
                "encoder": "mobilenetv2_035",
                "train_examples": 48,
                "weights": "none",
                "tasks": {
                    task: {"metric": METRICS[task][0], "higher_is_better": METRICS[task][1], **score(value)}
                    for task, value in tasks.items()
                },
            }
            for client, tasks in self.values.items()
        }
        return {
            "format": 1,
            "status": self.status,
            "reason": self.reason,
            "strategy": self.strategy,
            "strategy_parameters": dict(self.parameters),
            "scenario": self.scenario,
            "seed": self.seed,
            "rounds": self.rounds,
            "experiment": "x",
            "versions": dict(versions),
            "seconds": 151.5,
            "bytes_up": 123_456_789,
            "bytes_down": 2_000,
            "clients": clients,
        }

    @staticmethod
    def _dump(path: Path, content: object) -> None:
        path.write_text(json.dumps(content, sort_keys=True), encoding="utf-8")


def comparison_of(folder: Path, *runs: RunFolder) -> Comparison:
    """Write runs, and compare them."""
    return compare_runs([read_run(run.write(folder / f"run-{index}")) for index, run in enumerate(runs)])
