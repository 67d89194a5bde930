"""Poisoned updates in whole toy rounds of every strategy, with every defence."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from toy_federation import ToyFederation, profile, settings, start_of, update_of

from fmtl_strategies.contract.profile import ClientProfile
from fmtl_strategies.maths import gram
from fmtl_strategies.registry import make_strategy, strategy_names
from fmtl_strategies.round.base import PersonalizedStrategy
from fmtl_strategies.settings import DefenceSettings
from server_app.config import RunConfigError, parse_run_config

Attack = Callable[[np.ndarray], np.ndarray]

SIX, TWENTY = "abcdef", "abcdefghijklmnopqrst"
DEFENCES = ("norm-bound", "outlier", "krum")
SHARING = [name for name in strategy_names() if name != "local"]

LOUD: dict[str, Attack] = {
    "x 10": lambda update: update * np.float32(10),
    "x 100": lambda update: update * np.float32(100),
    "as long as max-update-norm allows": lambda update: update * np.float32(2.5e5 / np.linalg.norm(update)),
    "constant": lambda update: np.full_like(update, 1.0),
}
FLIPPED: dict[str, Attack] = {"x -1": lambda update: -update, "x -4": lambda update: update * np.float32(-4)}


def honest(client: str, group: str, server_round: int, size: int) -> np.ndarray:
    """Updates of clients with one task agree in part."""
    return update_of("all", group, server_round, size) + np.float32(0.3) * update_of(client, group, server_round, size)


def poisoned(attackers: str, attack: Attack) -> Callable[[str, str, int, int], np.ndarray]:
    def updates(client: str, group: str, server_round: int, size: int) -> np.ndarray:
        update = honest(client, group, server_round, size)
        return attack(update) if client in attackers else update

    return updates


def alike(names: str) -> list[ClientProfile]:
    return [profile(client, ["semseg"], buffers=True) for client in names]


def new(name: str, defence: str = "none", **constants: Any) -> PersonalizedStrategy:
    return make_strategy(
        name, settings(rounds=4, defence=defence, **{f"defence_{key}": value for key, value in constants.items()}), {}
    )


def played(
    strategy: PersonalizedStrategy, clients: Sequence[ClientProfile], rounds: Sequence[int] = (1, 2), **changes: Any
) -> PersonalizedStrategy:
    ToyFederation(clients, **({"updates": honest} | changes)).play(strategy, rounds)
    return strategy


def rows(strategy: PersonalizedStrategy, but: str = "") -> dict[str, np.ndarray]:
    return {name: np.array(row) for name, row in strategy.store.arrays().items() if name.partition("/")[0] not in but}


def furthest(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    assert one.keys() == other.keys()
    return max((float(np.abs(one[name] - other[name]).max()) for name in one), default=0.0)


@pytest.mark.parametrize("defence", DEFENCES)
@pytest.mark.parametrize("name", strategy_names())
def test_a_run_with_one_attacker_of_six_completes_and_names_it(name: str, defence: str) -> None:
    strategy = played(new(name, defence), alike(SIX), updates=poisoned("c", LOUD["x 100"]))
    record = strategy.record
    assert all(np.isfinite(row).all() for row in rows(strategy).values())
    json.dumps(record.as_json(), allow_nan=False)
    if name == "local":
        assert not record.set_aside
        return
    told = record.notes if defence == "norm-bound" else record.set_aside
    assert list(told) == ["c"]
    assert told["c"].startswith(f"defence {defence}: update of ")
    assert record.participants == list(SIX if defence == "norm-bound" else "abdef")


@pytest.mark.parametrize(("quorum", "skipped"), [(0.9, True), (0.8, False)])
def test_who_is_set_aside_does_not_count_for_the_quorum(quorum: float, skipped: bool) -> None:
    guarded = settings(rounds=4, quorum=quorum, defence="outlier")
    strategy = played(make_strategy("fedavg", guarded, {}), alike(SIX), (1,), updates=poisoned("c", LOUD["x 100"]))
    assert strategy.record.participants == list("abdef")
    assert strategy.record.skipped is skipped
    encoder = rows(strategy)["a/encoder"]
    assert np.array_equal(encoder, start_of("encoder", encoder.size)) is skipped


@pytest.mark.parametrize("attack", LOUD)
@pytest.mark.parametrize("defence", ["outlier", "krum"])
@pytest.mark.parametrize("name", SHARING)
def test_honest_clients_get_what_they_would_get_had_the_attacker_not_answered(
    name: str, defence: str, attack: str
) -> None:
    attacked = played(new(name, defence), alike(SIX), updates=poisoned("c", LOUD[attack]))
    without = played(new(name), alike(SIX), absent={"c": {1, 2}})
    assert furthest(rows(attacked), rows(without)) < 1e-6


@pytest.mark.parametrize("name", SHARING)
def test_a_norm_bound_makes_the_size_of_an_attack_worthless(name: str) -> None:
    large = played(new(name, "norm-bound"), alike(SIX), updates=poisoned("c", LOUD["x 100"]))
    larger = played(new(name, "norm-bound"), alike(SIX), updates=poisoned("c", lambda update: update * np.float32(1e6)))
    assert furthest(rows(large), rows(larger)) < 1e-6


# Largest change of a value in two rounds under the bound, over that with nobody attacking; adaptive server optimisers
# move by their rate, whatever is sent.
@pytest.mark.parametrize("name", SHARING)
def test_under_a_norm_bound_an_attacker_moves_honest_clients_by_little_more_than_training_does(name: str) -> None:
    def moved(strategy: PersonalizedStrategy) -> float:
        found = rows(strategy, but="c")
        return furthest(found, {key: start_of(key.partition("/")[2], row.size) for key, row in found.items()})

    attacked = played(new(name, "norm-bound"), alike(SIX), updates=poisoned("c", LOUD["x 100"]))
    assert moved(attacked) < 2.5 * moved(played(new(name), alike(SIX)))


@pytest.mark.parametrize("attack", FLIPPED)
@pytest.mark.parametrize("name", SHARING)
def test_flipped_updates_among_clients_that_agree_are_set_aside(name: str, attack: str) -> None:
    attacked = played(new(name, "outlier"), alike(SIX), updates=poisoned("c", FLIPPED[attack]))
    assert list(attacked.record.set_aside) == ["c"]
    assert "points away from" in attacked.record.set_aside["c"] or "far longer" in attacked.record.set_aside["c"]


@pytest.mark.parametrize("defence", ["norm-bound", "outlier"])
@pytest.mark.parametrize("name", strategy_names())
def test_where_nobody_attacks_a_defence_changes_no_bit(name: str, defence: str) -> None:
    defended, plain = played(new(name, defence), alike(SIX)), played(new(name), alike(SIX))
    found, expected = rows(defended), rows(plain)
    assert found.keys() == expected.keys()
    for key, row in found.items():
        np.testing.assert_array_equal(row, expected[key], err_msg=key)
    assert not defended.record.set_aside
    assert not defended.record.notes
    diagnostics = {k: v for k, v in defended.record.diagnostics.items() if "defence" not in k}
    assert diagnostics == plain.record.diagnostics


@pytest.mark.parametrize("name", ["cagrad", "fedbone", "pcgrad"])
def test_where_the_strategy_needs_the_gram_matrix_a_defence_reads_the_updates_no_further_time(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    blocks: list[object] = []
    product = gram._block_gram
    monkeypatch.setattr(gram, "_block_gram", lambda block: blocks.append(block) or product(block))
    for defence in ("none", "outlier", "krum"):
        blocks.clear()
        played(new(name, defence), alike(SIX), updates=poisoned("c", LOUD["x 100"]))
        assert len(blocks) == 2, defence


def test_a_known_gram_matrix_saves_products_and_changes_no_bit() -> None:
    rows_nd = np.random.default_rng(0).standard_normal((4, 5000)).astype(np.float32)
    extra_d = np.random.default_rng(1).standard_normal(5000).astype(np.float32)
    known_nn = gram.gram_matrix(rows_nd)
    found = gram.gram_matrix(rows_nd, (extra_d,), known_nn)
    np.testing.assert_array_equal(found, gram.gram_matrix(rows_nd, (extra_d,)))
    with pytest.raises(ValueError, match="4 rows"):
        gram.gram_matrix(rows_nd, (), known_nn[:3, :3])


@pytest.mark.parametrize("defence", DEFENCES)
@pytest.mark.parametrize("name", strategy_names())
def test_the_order_of_clients_changes_nothing(name: str, defence: str) -> None:
    updates = poisoned("c", LOUD["x 10"])
    straight = played(new(name, defence), alike(SIX), updates=updates)
    backwards = played(new(name, defence), alike(SIX[::-1]), updates=updates)
    assert furthest(rows(straight), rows(backwards)) == 0
    assert straight.record.set_aside == backwards.record.set_aside
    assert straight.record.notes == backwards.record.notes


@pytest.mark.parametrize("defence", ["outlier", "krum"])
@pytest.mark.parametrize("attack", [*LOUD, *FLIPPED])
def test_six_equal_attackers_among_twenty_clients_are_set_aside(defence: str, attack: str) -> None:
    """Equal attackers are close to each other, which is what Krum's assumed number of them is for."""
    chosen = {**LOUD, **FLIPPED}[attack]

    def updates(client: str, group: str, server_round: int, size: int) -> np.ndarray:
        update = honest("bad" if client in "defghi" else client, group, server_round, size)
        return chosen(update) if client in "defghi" else update

    strategy = played(new("fedavg", defence, attackers=6), alike(TWENTY), updates=updates)
    assert sorted(strategy.record.set_aside) == list("defghi")
    without = played(new("fedavg"), alike(TWENTY), absent={client: {1, 2} for client in "defghi"})
    assert furthest(rows(strategy), rows(without)) < 1e-6


def test_a_client_set_aside_for_its_decoder_is_not_believed_in_its_encoder_either() -> None:
    def updates(client: str, group: str, server_round: int, size: int) -> np.ndarray:
        factor = 100.0 if (client, group) == ("c", "decoders.semseg") else 1.0
        return np.float32(factor) * honest(client, group, server_round, size)

    strategy = played(new("fedhca2", "outlier"), alike(SIX), updates=updates)
    assert "decoders.semseg" in strategy.record.set_aside["c"]
    without = played(new("fedhca2"), alike(SIX), absent={"c": {1, 2}})
    assert furthest(rows(strategy), rows(without)) < 1e-6


def test_krum_sets_aside_within_a_group_and_uses_what_else_a_client_sent() -> None:
    def updates(client: str, group: str, server_round: int, size: int) -> np.ndarray:
        factors = {("c", "encoder"): 100.0, ("d", "decoders.semseg"): 100.0}
        return np.float32(factors.get((client, group), 1.0)) * honest(client, group, server_round, size)

    strategy = played(new("fedhca2", "krum"), alike(SIX), updates=updates, rounds=(1,))
    assert strategy.record.participants == list(SIX)
    assert "update of encoder" in strategy.record.notes["c"]
    assert "update of decoders.semseg" in strategy.record.notes["d"]
    start = start_of("encoder", 16)
    kept = rows(strategy)
    np.testing.assert_array_equal(kept["c/encoder"], start)
    assert np.abs(kept["d/encoder"] - start).max() > 0


@pytest.mark.parametrize(("defence", "clients"), [("norm-bound", "ab"), ("outlier", "ab"), ("krum", "abcd")])
def test_too_few_rows_to_compare_are_left_alone_and_counted(defence: str, clients: str) -> None:
    strategy = played(new("fedper", defence), alike(clients), updates=poisoned("a", LOUD["x 100"]))
    assert not strategy.record.set_aside
    assert strategy.record.diagnostics["defence/rows-not-compared"] == len(clients)


def test_the_only_client_of_a_task_is_compared_in_its_encoder_alone() -> None:
    clients = [*alike("abcde"), profile("z", ["edge"], buffers=True)]
    strategy = played(new("fedavg", "krum"), clients)
    assert "z" in strategy.record.participants
    assert "decoders" not in strategy.record.notes.get("z", "")


def test_reports_of_clients_that_are_set_aside_do_not_count() -> None:
    seen: list[str] = []
    strategy = new("fedavg", "outlier")
    strategy.observe = lambda report: seen.append(report.client)  # type: ignore[method-assign]
    played(strategy, alike(SIX), rounds=(1,), updates=poisoned("c", LOUD["x 100"]))
    assert seen == list("abdef")


def test_what_the_attacker_scored_and_lost_stays_in_the_history() -> None:
    strategy = played(new("fedavg", "outlier"), alike(SIX), updates=poisoned("c", LOUD["x 100"]))
    assert "c" in strategy.record.losses
    assert "c" in strategy.record.scores
    assert strategy.record.diagnostics["defence/rows-set-aside"] == 2
    assert strategy.record.seconds["defence"] >= 0


def test_a_new_client_does_not_start_from_what_an_attacker_sent() -> None:
    strategy = played(new("fedhca2", "outlier"), alike(SIX), updates=poisoned("c", LOUD["x 100"]))
    played(strategy, alike(SIX + "z"), rounds=(3,), updates=poisoned("c", LOUD["x 100"]))
    assert np.abs(rows(strategy)["z/encoder"] - start_of("encoder", 16)).max() < 0.2


def test_a_server_restarted_from_its_state_decides_alike() -> None:
    updates = poisoned("c", LOUD["x 10"])
    straight = played(new("fedhca2", "outlier"), alike(SIX), rounds=(1, 2, 3), updates=updates)
    before = played(new("fedhca2", "outlier"), alike(SIX), rounds=(1, 2), updates=updates)
    arrays, values = before.state()
    after = new("fedhca2", "outlier")
    after.load_state({key: np.array(array) for key, array in arrays.items()}, json.loads(json.dumps(values)))
    played(after, alike(SIX), rounds=(3,), updates=updates)
    assert furthest(rows(straight), rows(after)) == 0
    assert straight.record.set_aside == after.record.set_aside


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("defence", "outliers"),
        ("defence-norm-factor", 0.5),
        ("defence-norm-factor", float("nan")),
        ("defence-threshold", 0.0),
        ("defence-attackers", 0),
        ("defence-attackers", 1.5),
    ],
)
def test_an_impossible_setting_is_refused_by_name(key: str, value: object) -> None:
    with pytest.raises(RunConfigError, match=f"'{key}' = "):
        parse_run_config({key: value})


def test_the_run_config_reaches_the_strategy_and_defends_nothing_by_default() -> None:
    config, _ = parse_run_config(
        {"defence": "krum", "defence-attackers": 2, "defence-threshold": 4.0, "defence-norm-factor": 2.0}
    )
    assert config.defence == DefenceSettings(name="krum", norm_factor=2.0, threshold=4.0, attackers=2)
    assert parse_run_config({})[0].defence.name == "none"
