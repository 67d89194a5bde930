"""What holds for every strategy, whatever it computes: order, silence, single clients, comings and goings, resuming."""

import json
from collections.abc import Sequence

import numpy as np
import pytest
from toy_federation import ToyFederation, profile, settings, start_of, update_of

from fmtl_strategies.contract.profile import ClientProfile
from fmtl_strategies.parameters import parameter_origins
from fmtl_strategies.registry import make_strategy, strategy_class, strategy_names
from fmtl_strategies.round.base import PersonalizedStrategy

ROUNDS = 4
CLIENTS = (
    profile("a", ["semseg"], buffers=True),
    profile("b", ["semseg", "edge"], examples=20, buffers=True),
    profile("c", ["edge"], buffers=True),
    profile("d", ["semseg"], examples=5, dataset="other"),
)


def federation(clients: Sequence[ClientProfile] = CLIENTS, **changes: object) -> ToyFederation:
    return ToyFederation(list(clients), **changes)  # type: ignore[arg-type]


def new(name: str) -> PersonalizedStrategy:
    return make_strategy(name, settings(rounds=ROUNDS), {})


def rows(strategy: PersonalizedStrategy) -> dict[str, np.ndarray]:
    return {name: np.array(row) for name, row in strategy.store.arrays().items()}


def assert_same(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert one.keys() == other.keys()
    for name, row in one.items():
        np.testing.assert_array_equal(row, other[name], err_msg=name)


@pytest.mark.parametrize("name", strategy_names())
def test_the_order_in_which_clients_connect_changes_nothing(name: str) -> None:
    straight, reversed_ = new(name), new(name)
    federation().play(straight, range(1, 4))
    federation(CLIENTS[::-1]).play(reversed_, range(1, 4))
    assert_same(rows(straight), rows(reversed_))


@pytest.mark.parametrize("name", strategy_names())
def test_no_change_on_the_clients_is_no_change_on_the_server(name: str) -> None:
    strategy, alike = new(name), [profile(client, ["semseg"], buffers=True) for client in "abc"]
    silent = federation(alike, updates=lambda client, group, number, size: np.zeros(size, np.float32))
    silent.play(strategy, range(1, 4))
    for row_name, row in rows(strategy).items():
        group = row_name.partition("/")[2]
        np.testing.assert_allclose(row, start_of(group, row.size), rtol=0, atol=1e-6, err_msg=row_name)


@pytest.mark.parametrize("name", strategy_names())
def test_equal_updates_keep_equal_clients_equal(name: str) -> None:
    twins = [profile(client, ["semseg"]) for client in "abc"]
    strategy = new(name)
    federation(twins, updates=lambda _, group, number, size: update_of("x", group, number, size)).play(strategy, [1, 2])
    found = rows(strategy)
    for row_name, row in found.items():
        np.testing.assert_allclose(row, found["a/" + row_name.partition("/")[2]], rtol=1e-6, atol=1e-7)


# Constants that have the unit of the updates, and so have to be scaled with them.
SCALED_TOO = {
    "fedadam": {"tau": 1e-3, "server-learning-rate": 0.1},
    "fedyogi": {"tau": 1e-3, "server-learning-rate": 0.01},
    "fedadagrad": {"tau": 1e-3, "server-learning-rate": 0.1},
}
# As published, FedHCA2's solve has absolute tolerances and its attention depends on the size of the updates.
FREE_OF_SCALE = {"fedhca2": {"mode": "stable", "attention-scale": "cosine"}}


@pytest.mark.parametrize("scale", [2.0**-4, 2.0**8])
@pytest.mark.parametrize("name", strategy_names())
def test_what_is_sent_after_a_round_scales_with_the_updates(name: str, scale: float) -> None:
    alike = [profile(client, ["semseg"], buffers=True) for client in "abcd"]
    changes = []
    for factor in (1.0, scale):
        own = {key: value * factor for key, value in SCALED_TOO.get(name, {}).items()}
        strategy = make_strategy(name, settings(rounds=ROUNDS), {**FREE_OF_SCALE.get(name, {}), **own})
        toys = federation(alike, updates=lambda *what, by=factor: np.float32(by) * update_of(*what))
        toys.play(strategy, [1])
        changes.append(
            {
                key: row.astype(np.float64) - start_of(key.partition("/")[2], row.size)
                for key, row in rows(strategy).items()
            }
        )
    assert (name == "local") == (not changes[0])
    # What is sent is float32 of size 1: the smaller the change, the coarser it is seen.
    tolerance = 4e-7 / min(scale, 1.0)
    for key, change in changes[0].items():
        np.testing.assert_allclose(changes[1][key] / scale, change, rtol=1e-4, atol=tolerance, err_msg=key)


@pytest.mark.parametrize("name", strategy_names())
def test_a_single_client_runs_and_stays_finite(name: str) -> None:
    strategy = new(name)
    federation([CLIENTS[1]]).play(strategy, range(1, 4))
    assert strategy.record.participants == ["b"]
    assert all(np.isfinite(row).all() for row in rows(strategy).values())


@pytest.mark.parametrize("name", strategy_names())
def test_a_client_that_vanishes_and_returns_costs_nobody_else_a_round(name: str) -> None:
    strategy, toys = new(name), federation(absent={"b": {2}})
    grid = toys.grid()
    for number, expected in ((1, list("abcd")), (2, list("acd")), (3, list("abcd"))):
        messages = strategy.configure_train(number, None, None, grid)  # type: ignore[arg-type]
        strategy.aggregate_train(number, grid.send_and_receive(messages))
        assert strategy.record.participants == expected
        assert list(strategy.record.set_aside) == [client for client in "abcd" if client not in expected]
        assert all(np.isfinite(row).all() for row in rows(strategy).values())
        json.dumps(strategy.record.as_json(), allow_nan=False)


@pytest.mark.parametrize("name", strategy_names())
def test_a_client_that_joins_later_takes_part(name: str) -> None:
    strategy = new(name)
    federation(CLIENTS[:2]).play(strategy, [1, 2])
    federation().play(strategy, [3, 4])
    assert strategy.record.participants == list("abcd")
    assert all(np.isfinite(row).all() for row in rows(strategy).values())


@pytest.mark.parametrize("name", strategy_names())
def test_a_client_that_comes_only_to_be_scored_is_scored_also_after_a_skipped_round(name: str) -> None:
    strategy = make_strategy(name, settings(rounds=2, quorum=0.9), {})
    federation(CLIENTS[:3], absent={"a": {2}, "b": {2}}).play(strategy, [1, 2])
    assert strategy.record.skipped
    grid = federation().grid()
    messages = strategy.configure_evaluate(2, None, None, grid)  # type: ignore[arg-type]
    strategy.aggregate_evaluate(2, grid.send_and_receive(messages))
    assert sorted(strategy.record.scores) == list("abcd")


@pytest.mark.parametrize("name", strategy_names())
def test_a_server_restarted_from_its_state_goes_on_to_the_same_bits(name: str) -> None:
    straight, before = new(name), new(name)
    federation(absent={"c": {2}}).play(straight, range(1, 5))
    federation(absent={"c": {2}}).play(before, [1, 2])
    arrays, values = before.state()
    copied = {key: np.array(array) for key, array in arrays.items()}
    text = json.dumps(values, allow_nan=False)
    after = new(name)
    after.load_state(copied, json.loads(text))
    federation().play(after, [3, 4])
    assert_same(rows(straight), rows(after))
    assert straight.record.diagnostics == after.record.diagnostics


@pytest.mark.parametrize("name", strategy_names())
def test_every_parameter_says_what_it_means_and_where_its_default_comes_from(name: str) -> None:
    cls = strategy_class(name)
    assert cls.name == name
    assert cls.summary_line
    assert cls.__doc__
    assert "Partial participation" in cls.__doc__ or not cls.shared_kinds
    for field in cls.parameters_model.model_fields.values():
        assert field.description
    assert all(origin != "not stated" for origin in parameter_origins(cls.parameters_model).values())
