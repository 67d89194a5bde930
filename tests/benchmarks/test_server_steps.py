"""What the benchmark of server steps measures, on small problems; and how often each strategy reads the updates."""

from __future__ import annotations

import json
import sys
import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest
from errors import naming
from reads import ReadCounter

from benchmarks import aggregation
from benchmarks.server_steps import Rounds, as_table, chosen_names, make_rounds, measure_strategy
from fmtl_strategies.contract.groups import GroupKind
from fmtl_strategies.maths.combine import add_combination
from fmtl_strategies.maths.gram import GRAM_COLUMNS, gram_matrix
from fmtl_strategies.registry import make_strategy, strategy_names
from fmtl_strategies.settings import RunConfig

linux_only = pytest.mark.skipif(sys.platform != "linux", reason="reads the process' memory from /proc")


@pytest.mark.parametrize("name", strategy_names())
def test_every_strategy_runs_warm_rounds_and_changes_what_is_sent(name: str) -> None:
    rounds = make_rounds(name, 3, 5_000)
    if rounds is None:
        assert name == "local"
        return
    before = {key: row.copy() for key, row in rounds.strategy.store.arrays().items()}
    rounds.whole(3)
    after = rounds.strategy.store.arrays()
    assert all(np.isfinite(row).all() for row in after.values())
    assert any((row != before[key]).any() for key, row in after.items())


@linux_only
def test_measures_of_one_strategy_are_complete() -> None:
    found = measure_strategy("fedavg", 3, 50_000, 2, away=1)
    assert found["away"] == 1
    assert found["ratio_to_copy"]["min"] > 0
    assert found["peak_vectors"] >= 0
    assert found["kept_vectors"] >= 0
    assert measure_strategy("local", 2, 50_000, 2)["exchanges"] is False


@linux_only
@pytest.mark.long
def test_one_command_measures_several_strategies_and_numbers_of_clients(capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--clients", "2", "3", "--parameters", "20000", "--repeats", "1", "--away", "1"]
    assert aggregation.main(["--strategies", "fedper", *options]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [(row["strategy"], row["clients"], row["away"]) for row in found] == [("fedper", 2, 1), ("fedper", 3, 1)]
    lines = as_table(found).splitlines()
    assert lines[0].startswith("| strategy | step, 2 clients, 1 away | extra memory |")
    assert lines[0].count("|") == lines[1].count("|") == lines[2].count("|")
    assert "| `fedper` |" in lines[2]


def test_rounds_without_any_answer_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        aggregation.main(["--strategies", "fedper", "--clients", "6", "2", "--away", "2"])
    assert "--away 2: at least one of 2 --clients must answer" in capsys.readouterr().err


def test_unknown_strategy_is_answered_with_those_there_are() -> None:
    assert chosen_names("all") == strategy_names()
    with pytest.raises(ValueError, match=naming("fedfoo", "fedavg")):
        chosen_names("fedavg,fedfoo")


def counted(rounds: Rounds, step: Callable[[np.ndarray], object], monkeypatch: pytest.MonkeyPatch) -> float:
    """Passes of a step over the updates of the pool."""
    rounds.begin()
    (pool,) = rounds.strategy.store.rounds(rounds.strategy.roster.profiles)
    counter = ReadCounter(pool.updates_nd, GRAM_COLUMNS)
    with monkeypatch.context() as patched:
        counter.watch_torch(patched)
        step(counter.watched)
    return counter.passes


def test_counter_counts_passes_of_known_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    rounds = make_rounds("fedper", 2, 3 * GRAM_COLUMNS)
    assert rounds is not None
    out = np.zeros((2, 3 * GRAM_COLUMNS), np.float32)
    cases: list[tuple[Callable[[np.ndarray], object], float]] = [
        (lambda updates: gram_matrix(updates), 1),
        (lambda updates: gram_matrix(updates, (out[0],)), 1),
        (lambda updates: add_combination(out, updates, np.eye(2)), 1),
        (lambda updates: np.add(out, updates, out=out), 1),
        (lambda updates: updates.mean(axis=0), 1),
        (lambda updates: updates[[0, 1]] + updates, 2),
        (lambda updates: updates[[1], : 2 * GRAM_COLUMNS].sum(), 1 / 3),
        (lambda updates: np.multiply(updates, 2, out=updates).sum(), 2),
        (lambda updates: [updates[0] @ updates[1], updates @ updates.T], 3),
    ]
    for step, expected in cases:
        assert counted(rounds, step, monkeypatch) == pytest.approx(expected, abs=0.02)


def kinds_of(name: str, options: dict[str, object]) -> tuple[GroupKind, ...]:
    return make_strategy(name, RunConfig(), options).exchanged_kinds()


# Options under which a strategy exchanges, or computes, what it leaves out by default.
OPTIONS: list[tuple[str, dict[str, object]]] = [
    ("cagrad", {"decoder-scope": "same-task"}),
    ("pcgrad", {"decoder-scope": "same-task"}),
    ("fedavg", {"decoder-scope": "same-task"}),
    ("feddea", {"magnify": "encoder"}),
    ("fedhca2", {"hyper-gradient": "cosine"}),
    ("fedhca2", {"mode": "paper"}),
    ("fedhca2", {"parts": "encoder"}),
]
CASES = [
    pytest.param(name, kind, options, id="-".join([name, kind, *map(str, options.values())]))
    for name, options in [*((name, {}) for name in strategy_names()), *OPTIONS]
    for kind in kinds_of(name, options)
]


def test_pools_of_every_kind_are_among_the_cases() -> None:
    pools = {(case.values[0], case.values[1]) for case in CASES}
    assert {name for name, _ in pools} == set(strategy_names()) - {"local"}
    assert {name for name, kind in pools if kind == "decoders"} > {"fedhca2", "fedavg", "pcgrad", "m-fed"}
    assert {name for name, kind in pools if kind == "heads"} == {"feddea", "m-fed", "mas"}


@pytest.mark.long
@pytest.mark.parametrize(("name", "kind", "options"), CASES)
def test_no_strategy_reads_the_updates_of_any_pool_more_than_twice(
    name: str, kind: GroupKind, options: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds = make_rounds(name, 5, 3 * GRAM_COLUMNS, kind=kind, options=options)
    assert rounds is not None
    rounds.whole(1)
    rounds.begin()
    (pool,) = rounds.strategy.store.rounds(rounds.strategy.roster.profiles)
    counter = ReadCounter(pool.updates_nd, GRAM_COLUMNS)
    counter.watch_torch(monkeypatch)
    pool.updates_nd = counter.watched
    aggregate = rounds.strategy.aggregate_buffers if kind == "buffers" else rounds.strategy.aggregate_pool
    aggregate(pool, rounds.number)
    assert 0.9 < counter.passes < 2.1


# Beside blocks of columns, in vectors of D: what is made while that of the round before is still there.
MADE_ANEW = {("m-fed", "encoder"): 1.0, ("fedbone", "encoder"): 1.0}


@pytest.mark.long
@pytest.mark.parametrize(("name", "kind", "options"), CASES)
def test_absent_clients_make_no_strategy_copy_the_rows_of_the_others(
    name: str, kind: GroupKind, options: dict[str, object]
) -> None:
    clients, size = 6, 1_000_000
    tracemalloc.start()
    try:
        rounds = make_rounds(name, clients, size, kind=kind, options=options)
        assert rounds is not None
        rounds.whole(2)
        rounds.away = 1
        before, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        rounds.whole(3)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # A block has 65,536 columns; moving rows takes it once for each of them, as does a combination of rows.
    blocks = 2 * clients * 65_536 / size
    assert (peak - before) / (4 * size) < MADE_ANEW.get((name, kind), 0.0) + blocks
