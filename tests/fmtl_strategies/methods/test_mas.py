import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from toy_federation import ToyFederation, profile, report_with, settings, start_of, update_of

from fmtl_strategies.contract.profile import ClientProfile
from fmtl_strategies.methods.mas import MAS
from fmtl_strategies.registry import make_strategy

ROUNDS = 4
CLIENTS = (
    profile("a", ["semseg"]),
    profile("b", ["semseg", "edge"], examples=30),
    profile("c", ["edge"]),
    profile("d", ["depth"], examples=20),
    profile("e", ["depth", "semseg"], dataset="other"),
)
# Depth and semseg help each other, edge and semseg do not.
AFFINITIES = {
    "b": {"semseg": {"edge": -0.1}, "edge": {"semseg": -0.2}},
    "e": {"depth": {"semseg": 0.3}, "semseg": {"depth": 0.2}},
}
# The best split is {depth, semseg}, {edge}; b has a task in each, and the first does more for its tasks.
SPLIT = {"a": "0", "b": "0", "c": "1", "d": "0", "e": "0"}
MERGED = dict.fromkeys("abcdef", "all")

Rows = dict[tuple[str, str], np.ndarray]


def made(rounds: int = ROUNDS, **values: object) -> MAS:
    named = {name.replace("_", "-"): value for name, value in values.items()}
    strategy = make_strategy("mas", settings(rounds=rounds), named)
    assert isinstance(strategy, MAS)
    return strategy


def federation(
    clients: Sequence[ClientProfile] = CLIENTS, affinities: Mapping[str, Any] = AFFINITIES, **changes: Any
) -> ToyFederation:
    def with_affinities(body: Any, instruction: Any) -> Any:
        client = json.loads(body.config_records["message"]["json"])["client"]
        measured = affinities.get(client, {}) if instruction.rule.look_ahead_every else {}
        return report_with(body, affinities=measured)

    return ToyFederation(list(clients), spoil={p.client: with_affinities for p in clients}, **changes)


def rows_of(strategy: MAS) -> Rows:
    return {
        (name.partition("/")[0], name.partition("/")[2]): np.array(row, np.float64)
        for name, row in strategy.store.arrays().items()
    }


def starts(clients: Sequence[ClientProfile] = CLIENTS) -> Rows:
    return {(p.client, g): start_of(g, p.groups[g].size).astype(np.float64) for p in clients for g in p.groups}


def restated(rows: Rows, server_round: int, circles: Mapping[str, str], absent: str = "", how: str = "") -> Rows:
    """One round in float64 by loops: the mean over the clients of one circle, group by group, heads by data set."""
    datasets = {p.client: p.dataset for p in CLIENTS}
    weights = {p.client: p.train_examples if how == "examples" else 1 for p in CLIENTS}
    trained = {
        (client, group): row + update_of(client, group, server_round, row.size)
        for (client, group), row in rows.items()
        if client not in absent
    }
    new = {}
    for client, group in rows:
        by_dataset = group.startswith("heads") or how == "same_dataset"
        same = [
            other
            for other, its_group in trained
            if its_group == group
            and circles[other] == circles[client]
            and (not by_dataset or datasets[other] == datasets[client])
        ]
        total = sum(weights[other] for other in same)
        new[client, group] = rows[client, group]
        if same:
            new[client, group] = np.sum([weights[o] / total * trained[o, group] for o in same], axis=0)
    return new


def assert_close(strategy: MAS, expected: Rows) -> None:
    found = rows_of(strategy)
    assert found.keys() == expected.keys()
    for key, row in expected.items():
        np.testing.assert_allclose(found[key], row, rtol=1e-5, atol=1e-6, err_msg=str(key))


@pytest.mark.parametrize("how", ["", "examples", "same_dataset"])
def test_four_rounds_of_merge_and_split_agree_with_float64(how: str) -> None:
    weighting = "examples" if how == "examples" else "uniform"
    strategy, toys = made(weighting=weighting, same_dataset=how == "same_dataset"), federation()
    expected = starts()
    for number, circles in ((1, MERGED), (2, MERGED), (3, SPLIT), (4, SPLIT)):
        toys.play(strategy, [number])
        expected = restated(expected, number, circles, how=how)
        assert_close(strategy, expected)


def test_identical_task_sets_are_aggregated_from_the_first_round() -> None:
    twins = (*CLIENTS, profile("f", ["edge", "semseg"], dataset="other"), profile("g", ["edge"]))
    strategy, toys = made(rule="identical-task-sets"), federation(twins)
    toys.play(strategy, [1])
    rows = rows_of(strategy)
    start, size = start_of("encoder", 16), 16
    for client, members in {"a": "a", "b": "bf", "c": "cg", "d": "d", "e": "e", "f": "bf", "g": "cg"}.items():
        mean = np.mean([update_of(member, "encoder", 1, size) for member in members], axis=0)
        np.testing.assert_allclose(rows[client, "encoder"], start + mean, rtol=1e-5, atol=1e-6)
    # Decoders follow; heads only within a data set.
    np.testing.assert_array_equal(rows["b", "decoders.edge"], rows["f", "decoders.edge"])
    assert not np.array_equal(rows["b", "heads.edge"], rows["f", "heads.edge"])
    np.testing.assert_array_equal(rows["c", "heads.edge"], rows["g", "heads.edge"])
    assert all(rule.look_ahead_every == 0 for rule in toys.rules.values())


def test_the_history_shows_affinities_and_split_once() -> None:
    strategy, toys = made(), federation()
    found = []
    for number in range(1, ROUNDS + 1):
        toys.play(strategy, [number])
        found.append(dict(strategy.record.diagnostics))
    assert found[0] == found[1] == found[3] == {}
    assert found[2] == {
        "affinity/depth/semseg": pytest.approx(0.3),
        "affinity/edge/semseg": pytest.approx(-0.2),
        "affinity/semseg/depth": pytest.approx(0.2),
        "affinity/semseg/edge": pytest.approx(-0.1),
        "split/depth": 0.0,
        "split/semseg": 0.0,
        "split/edge": 1.0,
    }


def test_only_clients_with_several_tasks_measure_and_only_while_merged() -> None:
    strategy, toys = made(look_ahead_every=3), federation()
    toys.play(strategy, [1, 2, 3, 4])
    asked = {key for key, rule in toys.rules.items() if rule.look_ahead_every}
    assert asked == {("b", 1), ("b", 2), ("e", 1), ("e", 2)}
    assert {toys.rules[key].look_ahead_every for key in asked} == {3}


def test_affinities_are_means_over_the_reports_that_hold_them() -> None:
    clients = [profile(client, ["semseg", "edge"]) for client in "abc"]
    measured = {"a": {"semseg": {"edge": 0.4}}, "b": {"semseg": {"edge": 0.1, "semseg": 9.0}}}
    strategy = made()
    federation(clients, measured, absent={"b": {2}}).play(strategy, [1, 2, 3])
    assert strategy.record.diagnostics["affinity/semseg/edge"] == pytest.approx((0.4 + 0.1 + 0.4) / 3)
    assert "affinity/semseg/semseg" not in strategy.record.diagnostics


def test_one_absurd_report_does_not_decide_the_split_alone() -> None:
    helpful = [profile(client, ["semseg", "depth", "edge"]) for client in "abcde"]
    honest = {"semseg": {"depth": 0.4}, "depth": {"semseg": 0.4}}
    liar = {"semseg": {"depth": -1e50}, "depth": {"semseg": -1e50, "edge": 1e50}, "edge": {"depth": 1e50}}
    reports: dict[str, Any] = {**dict.fromkeys("abcd", honest), "e": liar}
    strategy = made(splits=2)
    federation(helpful, reports).play(strategy, [1, 2, 3])
    assert strategy.measured.means()["semseg", "depth"] == pytest.approx((4 * 0.4 - 1.0) / 5)
    assert strategy.measured.means()["depth", "edge"] == pytest.approx(1.0)


def test_without_any_measurement_identical_task_sets_decide_and_the_run_says_so(
    caplog: pytest.LogCaptureFixture,
) -> None:
    single = [profile("a", ["semseg"]), profile("b", ["edge"]), profile("c", ["semseg"])]
    strategy, toys = made(), federation(single)
    logging.getLogger("flwr").addHandler(caplog.handler)
    try:
        toys.play(strategy, [1, 2])
        assert not caplog.messages
        toys.play(strategy, [3])
    finally:
        logging.getLogger("flwr").removeHandler(caplog.handler)
    assert strategy.record.diagnostics == {"split-fallback": 1.0}
    assert any("no affinity was measured" in text for text in caplog.messages)
    rows = rows_of(strategy)
    np.testing.assert_array_equal(rows["a", "encoder"], rows["c", "encoder"])
    assert not np.array_equal(rows["a", "encoder"], rows["b", "encoder"])
    toys.play(strategy, [4])
    assert strategy.record.diagnostics == {}


@pytest.mark.parametrize(("rounds", "given", "expected"), [(1, 0, 1), (2, 0, 1), (4, 0, 2), (100, 0, 70), (10, 3, 3)])
def test_length_of_the_merge_phase(rounds: int, given: int, expected: int) -> None:
    assert made(rounds, merge_rounds=given).merge_rounds == expected


def test_a_run_too_short_to_split_says_so(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, logger="flwr")
    logging.getLogger("flwr").addHandler(caplog.handler)
    try:
        made(4).summary()
        assert not any("never split" in text for text in caplog.messages)
        made(4, merge_rounds=4).summary()
    finally:
        logging.getLogger("flwr").removeHandler(caplog.handler)
    assert any("mas.merge-rounds" in text and "never split" in text for text in caplog.messages)


def test_an_absent_client_follows_all_while_merged_and_its_group_after_the_split() -> None:
    strategy, toys = made(), federation(absent={"a": {2, 3}, "c": {4}})
    expected = starts()
    for number, circles, absent in ((1, MERGED, ""), (2, MERGED, "a"), (3, SPLIT, "a"), (4, SPLIT, "c")):
        toys.play(strategy, [number])
        assert absent not in strategy.record.participants
        expected = restated(expected, number, circles, absent)
        assert_close(strategy, expected)
    rows = rows_of(strategy)
    np.testing.assert_array_equal(rows["a", "encoder"], rows["b", "encoder"])


def test_a_client_that_joins_after_the_split_starts_from_its_group_and_stays_with_it() -> None:
    strategy = made(rounds=5, merge_rounds=2)
    federation().play(strategy, [1, 2, 3])
    before = rows_of(strategy)
    joined = federation((*CLIENTS, profile("f", ["edge"])))
    joined.play(strategy, [4])
    for group in ("encoder", "decoders.edge", "heads.edge"):
        np.testing.assert_array_equal(joined.received["f", 4][group], before["c", group].astype(np.float32))
    after = rows_of(strategy)
    np.testing.assert_array_equal(after["f", "encoder"], after["c", "encoder"])
    assert not np.array_equal(after["f", "encoder"], after["a", "encoder"])


def test_a_task_that_appears_after_the_split_joins_identical_task_sets_and_a_client_with_a_known_task_too() -> None:
    strategy = made(rounds=5, merge_rounds=2)
    federation().play(strategy, [1, 2, 3])
    new = (profile("f", ["normals"]), profile("g", ["normals"]), profile("h", ["normals", "edge"]))
    federation((*CLIENTS, *new)).play(strategy, [4])
    rows = rows_of(strategy)
    np.testing.assert_array_equal(rows["f", "encoder"], rows["g", "encoder"])
    np.testing.assert_array_equal(rows["h", "encoder"], rows["c", "encoder"])
    for other in "ac":
        assert not np.array_equal(rows["f", "encoder"], rows[other, "encoder"])


def test_a_new_clients_head_never_starts_from_another_data_set() -> None:
    strategy = made()
    federation(CLIENTS[:1]).play(strategy, [1])
    joined = federation((CLIENTS[0], profile("f", ["semseg"], dataset="other")))
    joined.play(strategy, [2])
    received = joined.received["f", 2]
    np.testing.assert_array_equal(received["heads.semseg"], start_of("heads.semseg", received["heads.semseg"].size))
    assert not np.array_equal(received["encoder"], start_of("encoder", 16))


@pytest.mark.parametrize("cut", [2, 3])
def test_sums_counts_and_split_survive_a_restart(cut: int) -> None:
    straight, before, after = made(), made(), made()
    federation(absent={"b": {2}}).play(straight, [1, 2, 3, 4])
    federation(absent={"b": {2}}).play(before, range(1, cut + 1))
    arrays, values = before.state()
    after.load_state({name: np.array(array) for name, array in arrays.items()}, json.loads(json.dumps(values)))
    federation(absent={"b": {2}}).play(after, range(cut + 1, 5))
    assert straight.state()[1] == after.state()[1]
    for key, row in rows_of(straight).items():
        np.testing.assert_array_equal(row, rows_of(after)[key])
