"""Who takes part: starts of new clients, refused nodes, clients that come back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from errors import naming
from flwr.app import Error, Message
from toy_federation import ToyFederation, profile, settings, start_of, update_of

from fmtl_strategies.contract.layout import ArraySpec, FloatArray, GroupLayout
from fmtl_strategies.contract.profile import ClientProfile
from fmtl_strategies.flower_compat import ErrorCode
from fmtl_strategies.methods.fedavg import FedAvg
from fmtl_strategies.methods.fedhca2 import FedHCA2
from fmtl_strategies.methods.fedper import FedPer
from fmtl_strategies.methods.local import Local
from fmtl_strategies.registry import make_strategy
from fmtl_strategies.round.enrolment import Roster, RosterError
from fmtl_strategies.round.store import RowKey


def _train(strategy: Any, grid: Any, server_round: int) -> None:
    messages = strategy.configure_train(server_round, None, None, grid)
    strategy.aggregate_train(server_round, grid.send_and_receive(messages))


def test_every_client_of_a_family_starts_from_one_encoder_asked_of_one_client() -> None:
    federation = ToyFederation([profile("b", ["edge"]), profile("a", ["depth"]), profile("c", ["edge"])])
    asked: list[tuple[str, tuple[str, ...]]] = []
    answer = federation.answer

    def watch(message: Any, context: Any) -> Any:
        if message.metadata.message_type == "query.initial":
            asked.append((federation.profiles[context.node_config["partition-id"]].client, message.content))
        return answer(message, context)

    federation.answer = watch  # type: ignore[method-assign]
    strategy = FedAvg(settings())
    _train(strategy, federation.grid(), 1)
    assert [client for client, _ in asked] == ["b", "a"] or [client for client, _ in asked] == ["a", "b"]
    for client in "abc":
        np.testing.assert_array_equal(federation.received[client, 1]["encoder"], start_of("encoder", 16))
    np.testing.assert_array_equal(
        federation.received["b", 1]["decoders.edge"], federation.received["c", 1]["decoders.edge"]
    )


def test_heads_are_never_sent_and_local_sends_nothing() -> None:
    for strategy_class, groups in ((FedAvg, {"encoder", "decoders.edge"}), (FedPer, {"encoder"}), (Local, set())):
        federation = ToyFederation([profile("a", ["edge"]), profile("b", ["edge"])])
        strategy = strategy_class(settings())
        _train(strategy, federation.grid(), 1)
        assert set(federation.received["a", 1]) == groups
        assert strategy.record.participants == ["a", "b"]


def test_client_that_joins_later_starts_from_the_mean_encoder_and_its_tasks_decoder() -> None:
    first = ToyFederation([profile("a", ["edge"]), profile("b", ["depth"])])
    strategy = make_strategy("fedavg", settings(rounds=3), {"decoder-scope": "same-task"})
    _train(strategy, first.grid(), 1)
    later = ToyFederation([*first.profiles, profile("new", ["edge", "parts"])])
    mean = np.mean([strategy.store.parameters(RowKey(c, "encoder")) for c in "ab"], axis=0)
    edge = strategy.store.parameters(RowKey("a", "decoders.edge")).copy()
    _train(strategy, later.grid(), 2)
    np.testing.assert_allclose(later.received["new", 2]["encoder"], mean, rtol=1e-6)
    np.testing.assert_array_equal(later.received["new", 2]["decoders.edge"], edge)
    np.testing.assert_array_equal(later.received["new", 2]["decoders.parts"], start_of("decoders.parts", 12))


@pytest.mark.parametrize("shares_one_model", [True, False])
def test_vanished_client_gets_the_common_model_or_keeps_its_own_and_the_others_go_on(shares_one_model: bool) -> None:
    federation = ToyFederation([profile(c, ["edge"]) for c in "abc"], absent={"b": {2}})
    strategy = (FedPer if shares_one_model else FedHCA2)(settings(rounds=3))
    grid = federation.grid()
    _train(strategy, grid, 1)
    before = strategy.store.parameters(RowKey("b", "encoder")).copy()
    _train(strategy, grid, 2)
    after = {client: strategy.store.parameters(RowKey(client, "encoder")) for client in "ab"}
    np.testing.assert_array_equal(after["b"], after["a"] if shares_one_model else before)
    assert not np.array_equal(after["a"], before)
    _train(strategy, grid, 3)
    assert strategy.record.participants == ["a", "b", "c"]


def test_second_node_with_a_taken_name_is_refused_and_named() -> None:
    federation = ToyFederation([profile("a", ["edge"]), profile("a", ["depth"]), profile("c", ["edge"])])
    strategy = FedPer(settings())
    _train(strategy, federation.grid(), 1)
    assert strategy.record.participants == ["a", "c"]
    (reason,) = strategy.record.set_aside.values()
    assert "'a' is claimed by two new nodes" in reason


def test_client_that_comes_back_with_other_tasks_is_refused() -> None:
    roster = Roster()
    roster.bind(1, profile("a", ["edge"]))
    with pytest.raises(RosterError, match=naming("tasks")):
        roster.check(2, profile("a", ["depth"]), alive=[2])
    with pytest.raises(RosterError, match=naming("connected")):
        roster.check(2, profile("a", ["edge"]), alive=[1, 2])
    roster.check(2, profile("a", ["edge"]), alive=[2])
    roster.bind(2, profile("a", ["edge"]))
    assert roster.present([1, 2]) == [("a", 2)]


def test_spoilt_starting_parameters_refuse_that_client_and_another_provides_them() -> None:
    federation = ToyFederation([profile("a", ["edge"]), profile("b", ["edge"])])
    answer = federation.answer

    def spoil(message: Any, context: Any) -> Any:
        reply = answer(message, context)
        if message.metadata.message_type == "query.initial" and context.node_config["partition-id"] == 0:
            from flwr.app import Array, ArrayRecord

            reply.content["parameters"] = ArrayRecord({"encoder": Array(np.full(16, np.nan, np.float32))})
        return reply

    federation.answer = spoil  # type: ignore[method-assign]
    strategy = FedPer(settings())
    _train(strategy, federation.grid(), 1)
    assert strategy.record.participants == ["b"]
    assert any("starting parameters" in reason for reason in strategy.record.set_aside.values())
    np.testing.assert_array_equal(federation.received["b", 1]["encoder"], start_of("encoder", 16))


def test_refused_node_is_not_asked_again_every_round() -> None:
    federation = ToyFederation([profile("a", ["edge"]), profile("b", ["edge"])])
    answer, asked = federation.answer, []

    def refuse(message: Any, context: Any) -> Any:
        if message.metadata.message_type == "query" and context.node_config["partition-id"] == 1:
            asked.append(message)
            raise ValueError("x" * 5000)
        return answer(message, context)

    federation.answer = refuse  # type: ignore[method-assign]
    strategy, grid = FedPer(settings(rounds=3)), federation.grid()
    for server_round in (1, 2, 3):
        _train(strategy, grid, server_round)
        (reason,) = strategy.record.set_aside.values()
        assert len(reason) <= 600
    assert len(asked) == 1


@pytest.mark.parametrize("kind", ["query", "query.initial"])
def test_node_that_goes_away_while_it_is_asked_is_no_refusal_and_is_asked_again(kind: str) -> None:
    federation = ToyFederation([profile("a", ["edge"]), profile("b", ["edge"])])
    answer, away = federation.answer, [True]

    def go_away_once(message: Any, context: Any) -> Any:
        if message.metadata.message_type == kind and context.node_config["partition-id"] == 0 and away:
            away.clear()
            return Message(Error(ErrorCode.NODE_UNAVAILABLE, "no heartbeat"), reply_to=message)
        return answer(message, context)

    federation.answer = go_away_once  # type: ignore[method-assign]
    strategy, grid = FedPer(settings(rounds=3)), federation.grid()
    _train(strategy, grid, 1)
    assert strategy.record.participants == ["b"]
    assert not strategy.record.set_aside
    _train(strategy, grid, 2)
    assert strategy.record.participants == ["a", "b"]


def test_two_encoder_families_are_averaged_apart() -> None:
    other = GroupLayout(arrays=(ArraySpec(name="stem.weight", shape=(5,)),))
    profiles = [profile(c, ["edge"]) for c in "abcd"]
    for i in (1, 3):
        profiles[i] = profiles[i].model_copy(update={"groups": {**profiles[i].groups, "encoder": other}})
    strategy = FedPer(settings())
    _train(strategy, ToyFederation(profiles).grid(), 1)
    rows = {c: strategy.store.parameters(RowKey(c, "encoder")) for c in "abcd"}
    assert [len(rows[c]) for c in "abcd"] == [16, 5, 16, 5]
    for one, two, size in (("a", "c", 16), ("b", "d", 5)):
        mean = (update_of(one, "encoder", 1, size) + update_of(two, "encoder", 1, size)) / 2
        np.testing.assert_allclose(rows[one], start_of("encoder", size) + mean, rtol=1e-6)
        np.testing.assert_array_equal(rows[one], rows[two])


def test_a_strategy_may_say_what_a_new_client_starts_from_or_leave_it_to_the_client() -> None:
    class OwnDecoders(FedAvg):
        def start_for(self, profile: ClientProfile, group: str) -> FloatArray | None:
            if group == "encoder":
                return np.full(profile.groups[group].size, 7.0, np.float32)
            return None

    federation = ToyFederation([profile("a", ["edge"]), profile("b", ["edge"])])
    strategy, grid = OwnDecoders(settings()), federation.grid()
    list(strategy.configure_train(1, None, None, grid))  # type: ignore[arg-type]
    for client in "ab":
        assert (strategy.store.parameters(RowKey(client, "encoder")) == 7.0).all()
        own = strategy.store.parameters(RowKey(client, "decoders.edge"))
        np.testing.assert_array_equal(own, start_of("decoders.edge", own.size))
