"""Numbers in the record: those of one pool never overwrite those of another."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from toy_federation import ENCODER, ToyFederation, profile, settings

from fmtl_strategies.contract.layout import ArraySpec, GroupLayout
from fmtl_strategies.contract.profile import ClientProfile
from fmtl_strategies.registry import make_strategy, strategy_names
from fmtl_strategies.round.base import PersonalizedStrategy
from fmtl_strategies.round.store import PoolRound

OTHER_ENCODER = GroupLayout(arrays=(ArraySpec(name="patch.weight", shape=(5, 3)),))
OTHER_DECODER = GroupLayout(arrays=(ArraySpec(name="linears.0.weight", shape=(3, 5)),))
TASKS = {"a": ["semseg"], "b": ["semseg", "edge"], "c": ["edge"], "d": ["semseg"]}
ONE_ARCHITECTURE = [profile(client, tasks) for client, tasks in TASKS.items()]


def with_other_architecture(known: ClientProfile) -> ClientProfile:
    layouts = {"encoder": OTHER_ENCODER, **{f"decoders.{task}": OTHER_DECODER for task in known.task_names}}
    return known.model_copy(update={"groups": {**known.groups, **layouts}})


TWO_ARCHITECTURES = [*ONE_ARCHITECTURE[:2], *map(with_other_architecture, ONE_ARCHITECTURE[2:])]


def new(name: str) -> PersonalizedStrategy:
    per_task = {"decoder-scope": "same-task"} if name in ("pcgrad", "cagrad") else {}
    return make_strategy(name, settings(rounds=3), per_task)


def recorded(strategy: PersonalizedStrategy, toys: ToyFederation, server_round: int) -> list[dict[str, float]]:
    """Play a round; return what each pool gave to the record."""
    found: list[dict[str, float]] = []
    aggregate: Callable[[PoolRound, int], dict[str, float]] = strategy.aggregate_pool

    def watched(pool: PoolRound, number: int) -> dict[str, float]:
        found.append(aggregate(pool, number))
        return found[-1]

    strategy.aggregate_pool = watched  # type: ignore[method-assign]
    grid = toys.grid()
    messages = strategy.configure_train(server_round, None, None, grid)  # type: ignore[arg-type]
    strategy.aggregate_train(server_round, grid.send_and_receive(messages))
    strategy.aggregate_pool = aggregate  # type: ignore[method-assign]
    return found


@pytest.mark.parametrize("name", strategy_names())
def test_no_pool_overwrites_what_another_recorded(name: str) -> None:
    strategy, toys = new(name), ToyFederation(TWO_ARCHITECTURES)
    for server_round in (1, 2, 3):
        for pool in recorded(strategy, toys, server_round):
            for number, value in pool.items():
                assert strategy.record.diagnostics[number] == value, number


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("pcgrad", "conflicting-pairs"),
        ("cagrad", "solve-gap"),
        ("fedbone", "update-length"),
        ("fedhca2", "cosine-mean"),
        ("fedadam", "encoder/all/server-step-ratio"),
    ],
)
def test_numbers_of_a_pool_name_its_layout_only_where_there_are_several(name: str, number: str) -> None:
    strategy = new(name)
    recorded(strategy, ToyFederation(ONE_ARCHITECTURE), 1)
    assert number in strategy.record.diagnostics
    assert not any(ENCODER.signature in found for found in strategy.record.diagnostics)
    strategy = new(name)
    recorded(strategy, ToyFederation(TWO_ARCHITECTURES), 1)
    found = strategy.record.diagnostics
    assert {f"{ENCODER.signature}/{number}", f"{OTHER_ENCODER.signature}/{number}"} <= found.keys()
    assert number not in found


def test_names_do_not_change_with_who_answers() -> None:
    strategy = new("pcgrad")
    toys = ToyFederation(TWO_ARCHITECTURES, absent={"c": {2}, "d": {2}})
    recorded(strategy, toys, 1)
    recorded(strategy, toys, 2)
    assert f"{ENCODER.signature}/conflicting-pairs" in strategy.record.diagnostics
    assert "conflicting-pairs" not in strategy.record.diagnostics


def test_numbers_of_a_client_are_named_by_the_client_alone() -> None:
    strategy = new("cagrad")
    recorded(strategy, ToyFederation(TWO_ARCHITECTURES), 1)
    assert {f"{client}/conflict-weight" for client in TASKS} <= strategy.record.diagnostics.keys()
