"""Models stay finite: at the ends of every printed range, and if not, the run ends before anything is sent."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from toy_federation import ToyFederation, profile, settings, update_of

from fmtl_strategies.methods.fedavg import FedAvg
from fmtl_strategies.registry import make_strategy, strategy_class, strategy_names
from fmtl_strategies.round.base import PersonalizedStrategy
from fmtl_strategies.round.store import NonFiniteModelError, PoolRound
from server_app import app
from server_app.config import RunConfig
from server_app.rounds import RunFailedError

CLIENTS = (
    profile("a", ["semseg"], buffers=True),
    profile("b", ["semseg", "edge"], buffers=True),
    profile("c", ["edge"], buffers=True),
)
CHOICES = {
    "fedamp.cosine-sigma": {"form": "cosine"},
    "fedamp.self-weight": {"form": "cosine"},
    "fedmtl.shrinkage": {"relations": "learned"},
    "mat-fl.threshold": {"grouping": "soft"},
}
"""What has to be set beside a parameter for it to count."""


def half_zero(client: str, group: str, number: int, size: int) -> np.ndarray:
    """An update that leaves every other value as it was, as those of unused weights are."""
    update = update_of(client, group, number, size)
    update[::2] = 0
    return update


def ends_of_ranges() -> Iterator[tuple[str, str, object]]:
    for name in strategy_names():
        schema = strategy_class(name).parameters_model.model_json_schema(by_alias=True)
        for key, entry in schema.get("properties", {}).items():
            if entry.get("type") in ("number", "integer"):
                low = entry["minimum"]
                high = entry.get("maximum", entry.get("exclusiveMaximum", 10**9))
                yield name, key, low
                yield name, key, high if "exclusiveMaximum" not in entry else float(np.nextafter(high, 0))
    yield "feddea", "rho", 1e-6


@pytest.mark.parametrize(("name", "key", "value"), list(ends_of_ranges()))
def test_values_at_the_ends_of_their_ranges_leave_finite_models(name: str, key: str, value: object) -> None:
    given = {**CHOICES.get(f"{name}.{key}", {}), key: value}
    strategy = make_strategy(name, settings(rounds=4), given)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        ToyFederation(list(CLIENTS), updates=half_zero).play(strategy, range(1, 5))
    rows = strategy.store.arrays()
    assert all(np.isfinite(row).all() for row in rows.values())
    assert all(row.any() for row in rows.values())
    assert not strategy.record.set_aside
    json.dumps(strategy.record.as_json(), allow_nan=False)


class Spoils(FedAvg):
    """Leaves a value that no client can use in the encoder of its last row in round 2."""

    value = np.nan

    def aggregate_pool(self, pool: PoolRound, server_round: int) -> dict[str, float]:
        super().aggregate_pool(pool, server_round)
        if server_round == 2 and pool.kind == "encoder":
            pool.parameters_nd[-1, 3] = self.value
        return {}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_model_that_is_not_finite_ends_the_round_with_strategy_group_and_round(
    value: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Spoils, "value", value)
    with pytest.raises(
        NonFiniteModelError, match=r"round 2: strategy fedavg .* 1 of \d+ values of encoder of client c"
    ):
        ToyFederation(list(CLIENTS)).play(Spoils(settings(rounds=4)), [1, 2])


def test_large_values_whose_squares_overflow_are_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Spoils, "value", 1e30)
    strategy = Spoils(settings(rounds=4))
    ToyFederation(list(CLIENTS)).play(strategy, [1, 2])
    assert strategy.store.arrays()["c/encoder"][3] == np.float32(1e30)


def test_run_ends_as_failed_with_the_reason_and_without_a_checkpoint_of_that_round(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoiling(name: str, round_settings: object, parameters: object) -> PersonalizedStrategy:
        return Spoils(round_settings)  # type: ignore[arg-type]

    monkeypatch.setattr(app, "make_strategy", spoiling)
    config = RunConfig.from_flat({"strategy": "fedavg", "num-server-rounds": 3, "upload-format": "float32"})
    with pytest.raises(RunFailedError, match="round 2: strategy fedavg left NaN"):
        app.run(ToyFederation(list(CLIENTS)).grid(), config, {}, tmp_path / "run")
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert (result["status"], result["reason"][:24]) == ("failed", "round 2: strategy fedavg")
    assert [path.name for path in (tmp_path / "run/checkpoints").iterdir()] == ["round-00001"]
