"""Batch-norm statistics on the server: what is believed, in which number format, and that averages stay statistics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import hypothesis
import numpy as np
import pytest
from flwr.app import ArrayRecord
from hypothesis import strategies as st
from toy_federation import ToyFederation, profile, settings, start_of, update_of

from fmtl_strategies.contract.groups import GroupNameError, kind_of, task_of
from fmtl_strategies.contract.layout import ArraySpec, GroupLayout
from fmtl_strategies.contract.messages import PARAMETERS_RECORD
from fmtl_strategies.contract.profile import ClientProfile
from fmtl_strategies.contract.wire import encode_flat
from fmtl_strategies.methods.fedavg import FedAvg
from fmtl_strategies.round.store import ParameterStore, RowKey

STATISTICS = GroupLayout(
    arrays=(ArraySpec(name="norm.running_mean", shape=(3,)), ArraySpec(name="norm.running_var", shape=(3,)))
)
VARIANCES = np.array([0.5, 2.0, 1e-3], np.float32)


class AllMeans(FedAvg):
    shared_kinds = ("encoder", "decoders", "buffers")


def client(name: str, tasks: tuple[str, ...] = ("edge",), groups: tuple[str, ...] = ("buffers.encoder",)) -> Any:
    plain = profile(name, list(tasks))
    return plain.model_copy(update={"groups": {**plain.groups, **dict.fromkeys(groups, STATISTICS)}})


class Federation(ToyFederation):
    """Toy clients that start from variances of their own, not from any numbers."""

    def answer(self, message: Any, context: Any) -> Any:
        reply = super().answer(message, context)
        if message.metadata.message_type == "query.initial":
            record = reply.content.array_records[PARAMETERS_RECORD]
            start = encode_flat(np.concatenate([np.zeros(3, np.float32), VARIANCES]), "float32")
            changed = {group: start if group.startswith("buffers.") else array for group, array in record.items()}
            reply.content[PARAMETERS_RECORD] = ArrayRecord(changed)
        return reply


def updates(values: dict[str, list[float]]) -> Callable[[str, str, int, int], np.ndarray]:
    def make(name: str, group: str, number: int, size: int) -> np.ndarray:
        if group.startswith("buffers."):
            return np.array([*([0.0] * 3), *values.get(name, [0.0] * 3)], np.float32)
        return update_of(name, group, number, size)

    return make


def play(strategy: AllMeans, toys: ToyFederation, number: int = 1) -> None:
    toys.play(strategy, [number])


def statistics(strategy: AllMeans, name: str, group: str = "buffers.encoder") -> np.ndarray:
    return np.array(strategy.store.parameters(RowKey(name, group)))


def test_a_variance_that_would_become_negative_is_set_aside_and_the_round_goes_on() -> None:
    strategy = AllMeans(settings())
    play(strategy, Federation([client("a"), client("b")], updates=updates({"a": [0.5, 0, 0], "b": [0, 0, -2e-3]})))
    assert list(strategy.record.set_aside) == ["b"]
    assert "buffers.encoder: variance norm.running_var would be -0.001" in strategy.record.set_aside["b"]
    np.testing.assert_array_equal(statistics(strategy, "a")[3:], VARIANCES + np.array([0.5, 0, 0], np.float32))
    np.testing.assert_array_equal(statistics(strategy, "b"), statistics(strategy, "a"))


def test_a_mean_of_statistics_may_have_any_sign() -> None:
    def fall(name: str, group: str, number: int, size: int) -> np.ndarray:
        return np.array([-5.0] * 3 + [0.0] * 3, np.float32) if size == 6 else update_of(name, group, number, size)

    strategy = AllMeans(settings())
    play(strategy, Federation([client("a")], updates=fall))
    assert strategy.record.set_aside == {}
    np.testing.assert_array_equal(statistics(strategy, "a")[:3], [-5.0] * 3)


def test_a_client_that_starts_with_a_negative_variance_is_refused() -> None:
    strategy = AllMeans(settings(enrolment_timeout=0.1))
    toys = ToyFederation([client("a")])
    assert start_of("buffers.encoder", 6)[3:].min() < 0
    assert list(strategy.configure_train(1, None, None, toys.grid())) == []  # type: ignore[arg-type]
    assert "cannot be negative" in next(iter(strategy.roster.refused.values()))


@hypothesis.settings(max_examples=20, deadline=None)
@hypothesis.given(st.lists(st.lists(st.floats(0, 100, width=32), min_size=3, max_size=3), min_size=1, max_size=4))
def test_the_mean_of_variances_lies_between_them(after: list[list[float]]) -> None:
    names = [f"c{i}" for i in range(len(after))]
    made = {name: list(np.array(row, np.float32) - VARIANCES) for name, row in zip(names, after, strict=True)}
    strategy = AllMeans(settings())
    play(strategy, Federation([client(name) for name in names], updates=updates(made)))
    assert strategy.record.set_aside == {}
    found = statistics(strategy, "c0")[3:]
    assert (found >= 0).all()
    np.testing.assert_allclose(found, np.mean(after, axis=0), rtol=1e-4, atol=1e-5)


def test_statistics_of_encoder_decoders_and_tasks_are_never_mixed() -> None:
    groups = ("buffers.encoder", "buffers.decoders.edge", "buffers.decoders.depth")
    both = client("a", ("edge", "depth"), groups)
    one = client("b", ("edge",), groups[:2])

    def by_group(name: str, group: str, number: int, size: int) -> np.ndarray:
        step = {"buffers.encoder": 1.0, "buffers.decoders.edge": 2.0, "buffers.decoders.depth": 4.0}
        factor = step.get(group, 0.0) * (1 if name == "a" else 3)
        return np.full(size, factor, np.float32)

    strategy = AllMeans(settings())
    play(strategy, Federation([both, one], updates=by_group))
    for group, mean in (("buffers.encoder", 2.0), ("buffers.decoders.edge", 4.0), ("buffers.decoders.depth", 4.0)):
        np.testing.assert_allclose(statistics(strategy, "a", group)[:3], mean)


def test_a_client_without_batch_norm_takes_part_and_gets_none() -> None:
    strategy = AllMeans(settings())
    toys = Federation([client("a"), profile("b", ["edge"])])
    play(strategy, toys)
    assert strategy.record.participants == ["a", "b"]
    assert "buffers.encoder" in toys.received["a", 1]
    assert set(toys.received["b", 1]) == {"encoder", "decoders.edge"}


def test_statistics_in_another_number_format_are_refused() -> None:
    def rounded(body: Any, instruction: Any) -> Any:
        record = dict(body.array_records["updates"].items())
        record["buffers.encoder"] = encode_flat(np.zeros(6, np.float32), "bfloat16")
        body["updates"] = ArrayRecord(record)
        return body

    strategy = AllMeans(settings())
    play(strategy, Federation([client("a"), client("b")], spoil={"a": rounded}, updates=updates({})))
    assert list(strategy.record.set_aside) == ["a"]
    assert "update of buffers.encoder" in strategy.record.set_aside["a"]


def test_buffers_of_a_group_the_client_does_not_have_are_refused() -> None:
    text = client("a", groups=("buffers.decoders.depth",)).model_dump_json()
    with pytest.raises(ValueError, match=r"buffers of groups it does not have: \['buffers.decoders.depth'\]"):
        ClientProfile.model_validate_json(text)


def test_group_names_with_buffers_say_kind_and_task() -> None:
    assert (kind_of("buffers.encoder"), task_of("buffers.encoder")) == ("buffers", None)
    assert (kind_of("buffers.heads.edge"), task_of("buffers.heads.edge")) == ("buffers", "edge")
    for name in ("buffers", "buffers.", "buffers.buffers.encoder", "buffers.encoder.x", "encoder\n"):
        with pytest.raises(GroupNameError):
            kind_of(name)


def test_a_new_client_does_not_start_a_heads_statistics_from_those_of_a_decoder() -> None:
    store = ParameterStore()
    for group, value in (("buffers.decoders.edge", 1.0), ("buffers.heads.edge", 3.0)):
        store.add(RowKey("a", group), STATISTICS, np.full(STATISTICS.size, value, np.float32))
    for group, value in (("buffers.decoders.edge", 1.0), ("buffers.heads.edge", 3.0)):
        np.testing.assert_array_equal(store.start_for(group, STATISTICS), np.full(STATISTICS.size, value))
    assert store.start_for("buffers.encoder", STATISTICS) is None
