"""M-Fed against a plain restatement of its two tiers, through messages."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from toy_federation import BUFFERS, DECODER, ToyFederation, head, profile, settings, start_of, update_of

from fmtl_strategies.contract.layout import ArraySpec, GroupLayout
from fmtl_strategies.contract.profile import ClientProfile
from fmtl_strategies.methods.m_fed import MFed
from fmtl_strategies.registry import make_strategy
from fmtl_strategies.round.store import RowKey

A = profile("a", ["semseg"], examples=30, buffers=True)
B = profile("b", ["semseg"], examples=10, buffers=True)
C = profile("c", ["edge"], examples=50, buffers=True)
D = profile("d", ["semseg", "edge"], examples=20)
TASKS = {"a": "semseg", "b": "semseg", "c": "edge", "d": "both"}


def m_fed(rounds: int = 4, **parameters: object) -> MFed:
    strategy = make_strategy("m-fed", settings(rounds=rounds), parameters)
    assert isinstance(strategy, MFed)
    return strategy


def row(strategy: MFed, client: str, group: str) -> np.ndarray:
    return np.array(strategy.store.parameters(RowKey(client, group)))


def restated(
    clients: Sequence[ClientProfile], rounds: int, away: Mapping[str, set[int]], examples: bool, tasks_by_examples: bool
) -> tuple[dict[tuple[str, str], np.ndarray], np.ndarray]:
    """Both tiers in float64, with loops: models by (task, group), and g."""
    models: dict[tuple[str, str], np.ndarray] = {}
    for one in clients:
        for group, layout in one.groups.items():
            models[TASKS[one.client], group] = start_of(group, layout.size).astype(np.float64)
    trained: set[str] = set()
    common = np.zeros(0)
    for number in range(1, rounds + 1):
        here = [one for one in clients if number not in away.get(one.client, set())]
        new: dict[tuple[str, str], np.ndarray] = {}
        for task, group in models:
            mine = [one for one in here if TASKS[one.client] == task and group in one.groups]
            total = sum(one.train_examples if examples else 1 for one in mine)
            for one in mine:
                share = (one.train_examples if examples else 1) / total
                after = models[task, group] + update_of(one.client, group, number, models[task, group].size)
                new[task, group] = new.get((task, group), 0.0) + share * after
                trained.add(task)
        models.update(new)
        weights = {
            task: sum(one.train_examples for one in clients if TASKS[one.client] == task) if tasks_by_examples else 1
            for task in trained
        }
        common = sum(weights[task] * models[task, "encoder"] for task in trained) / sum(weights.values())  # type: ignore[assignment]
    return models, common


@pytest.mark.parametrize(("weighting", "task_weighting"), [("examples", "uniform"), ("uniform", "examples")])
@pytest.mark.parametrize("away", [{}, {"b": {2}}, {"c": {2, 3}}, {"c": {1}}, {"a": {3}, "b": {3}}])
def test_both_tiers_are_the_papers_also_when_clients_stay_away(
    weighting: str, task_weighting: str, away: dict[str, set[int]]
) -> None:
    strategy = m_fed(**{"weighting": weighting, "task-weighting": task_weighting})
    ToyFederation([A, B, C, D], absent=away).play(strategy, [1, 2, 3])
    models, common = restated([A, B, C, D], 3, away, weighting == "examples", task_weighting == "examples")
    for one in (A, B, C, D):
        for group in one.groups:
            np.testing.assert_allclose(
                row(strategy, one.client, group), models[TASKS[one.client], group], rtol=1e-5, atol=1e-6, err_msg=group
            )
    found = strategy.common_encoders[A.groups["encoder"].signature]
    np.testing.assert_allclose(found, common, rtol=1e-5, atol=1e-6)


def test_the_model_of_the_task_overwrites_and_g_is_only_drawn_to() -> None:
    strategy, toys = m_fed(), ToyFederation([A, C])
    toys.play(strategy, [1, 2])
    first = {c: start_of("encoder", 16) + update_of(c, "encoder", 1, 16) for c in "ac"}
    common = (first["a"] + first["c"]) / 2
    for client in "ac":
        np.testing.assert_allclose(toys.received[client, 2]["encoder"], first[client], rtol=1e-6)
        np.testing.assert_allclose(toys.anchors[client, 2]["encoder"], common, rtol=1e-6)
        assert set(toys.anchors[client, 2]) == {"encoder"}
        assert np.abs(first[client] - common).max() > 1e-3
    np.testing.assert_allclose(row(strategy, "a", "encoder"), first["a"] + update_of("a", "encoder", 2, 16), rtol=1e-5)


def test_the_pull_is_two_lambda_over_the_encoder_from_round_two_on() -> None:
    toys = ToyFederation([A, C])
    toys.play(m_fed(rounds=4, **{"lambda-max": 0.3, "kappa": 2.0}), [1, 2, 3, 4])
    assert toys.rules["a", 1].pull is None
    assert toys.anchors["a", 1] == {}
    for number in (2, 3, 4):
        pull = toys.rules["a", number].pull
        assert pull is not None
        assert pull.groups == ("encoder",)
        assert pull.form == "coupled"
        expected = 2 * 0.3 * (np.exp(2.0 * number / 4) - 1) / (np.exp(2.0) - 1)
        assert pull.strength == pytest.approx(expected)
    assert pull.strength == pytest.approx(0.6)


def test_local_rounds_are_passes_and_lambda_zero_sends_no_g() -> None:
    toys = ToyFederation([A, C])
    strategy = m_fed(**{"lambda-max": 0.0, "local-rounds": 5})
    toys.play(strategy, [1, 2])
    assert {toys.rules["a", number].passes for number in (1, 2)} == {5}
    assert toys.rules["a", 2].pull is None
    assert toys.anchors["a", 2] == {}


def test_the_final_evaluation_carries_no_g() -> None:
    strategy, toys = m_fed(rounds=1), ToyFederation([A, C])
    toys.play(strategy, [1])
    grid = toys.grid()
    messages = strategy.configure_evaluate(1, None, None, grid)  # type: ignore[arg-type]
    strategy.aggregate_evaluate(1, grid.send_and_receive(messages))
    assert toys.anchors["a", 2] == {}
    np.testing.assert_array_equal(toys.received["a", 2]["encoder"], row(strategy, "a", "encoder"))


def test_other_class_counts_are_another_task_and_other_data_sets_only_if_asked() -> None:
    strategy, shared = m_fed(), m_fed(**{"same-dataset": False})
    more = A.model_copy(update={"groups": {**A.groups, "heads.semseg": head(40)}})
    abroad = A.model_copy(update={"dataset": "other"})
    for one in (strategy, shared):
        assert one.task_of_client(A) == one.task_of_client(B)
        assert one.task_of_client(A) != one.task_of_client(more)
        assert one.task_of_client(A) != one.task_of_client(D)
    assert strategy.task_of_client(A) != strategy.task_of_client(abroad)
    assert shared.task_of_client(A) == shared.task_of_client(abroad)


def test_a_client_without_batch_norm_is_of_the_same_task_and_takes_part() -> None:
    without = profile("w", ["semseg"], examples=40)
    strategy = m_fed()
    assert strategy.task_of_client(without) == strategy.task_of_client(A)
    ToyFederation([A, B, without]).play(strategy, [1])
    expected = start_of("buffers.encoder", 3) + 0.75 * update_of("a", "buffers.encoder", 1, 3)
    expected = expected + 0.25 * update_of("b", "buffers.encoder", 1, 3)
    np.testing.assert_allclose(row(strategy, "a", "buffers.encoder"), expected, rtol=1e-6)


def test_there_is_one_g_for_every_architecture() -> None:
    other = GroupLayout(arrays=(ArraySpec(name="stem.weight", shape=(5, 3)),))
    groups = {"encoder": other, "decoders.edge": DECODER, "heads.edge": head(1), "buffers.encoder": BUFFERS}
    big = C.model_copy(update={"client": "big", "groups": groups})
    strategy, toys = m_fed(), ToyFederation([A, C, big])
    toys.play(strategy, [1, 2])
    assert set(strategy.common_encoders) == {A.groups["encoder"].signature, other.signature}
    np.testing.assert_array_equal(toys.anchors["a", 2]["encoder"], toys.anchors["c", 2]["encoder"])
    np.testing.assert_array_equal(toys.anchors["big", 2]["encoder"], toys.received["big", 2]["encoder"])


def test_a_new_client_of_a_known_task_starts_from_its_model_and_of_a_new_task_from_g() -> None:
    strategy = m_fed()
    ToyFederation([A, C]).play(strategy, [1, 2])
    models = {(c, g): row(strategy, c, g) for c, p in (("a", A), ("c", C)) for g in p.groups}
    common = strategy.common_encoders[A.groups["encoder"].signature].copy()
    later = ToyFederation([A, C, B, D])
    later.play(strategy, [3])
    for group in B.groups:
        np.testing.assert_array_equal(later.received["b", 3][group], models["a", group], err_msg=group)
    np.testing.assert_array_equal(later.received["d", 3]["encoder"], common)
    np.testing.assert_allclose(later.received["d", 3]["decoders.edge"], models["c", "decoders.edge"], rtol=1e-6)


def test_a_task_that_never_answered_is_not_in_g_and_one_that_fell_silent_is() -> None:
    strategy = m_fed()
    ToyFederation([A, C], absent={"c": {1}}).play(strategy, [1])
    signature = A.groups["encoder"].signature
    np.testing.assert_array_equal(strategy.common_encoders[signature], row(strategy, "a", "encoder"))
    ToyFederation([A, C], absent={"c": {3}}).play(strategy, [2, 3])
    both = (row(strategy, "a", "encoder") + row(strategy, "c", "encoder")) / 2
    np.testing.assert_allclose(strategy.common_encoders[signature], both, rtol=1e-6)
