"""A client with two models (Ditto): which one is scored, which one is sent, and that neither leaks into the other."""

import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from errors import naming

from client_app.round import local_model
from client_app.round.local_round import Received
from client_app.round.participant import Participant
from client_app.tasks.dense import Depth
from client_app.training.errors import NonFiniteError
from client_app.training.look_ahead import LookAhead
from client_app.training.state import Answer, ClientState, ModelState, StateFolder
from fmtl_strategies.contract.layout import FloatArray
from fmtl_strategies.contract.rule import LocalRule, Personal, Pull, Sparsify
from tests.support import tiny_client as tiny

EXCHANGED = ("encoder", "decoders.semseg", "decoders.depth")
HEADS = ("heads.semseg", "heads.depth")
PLAIN = LocalRule()
ALONE = LocalRule(personal=Personal())


def ditto(strength: float) -> LocalRule:
    return LocalRule(personal=Personal(pull=Pull(strength=strength, groups=EXCHANGED)))


def sent(round_number: int) -> Received:
    """What the server sends: the common start, then something else in every round."""
    start = tiny.participant(Path("/unused")).initial(tiny.settings(), EXCHANGED)
    if round_number == 1:
        return Received(start)
    draw = np.random.default_rng(round_number)
    noise = {group: 0.02 * draw.standard_normal(vector.size).astype(np.float32) for group, vector in start.items()}
    return Received({group: vector + noise[group] for group, vector in start.items()})


def train(
    client: Participant, round_number: int, rule: LocalRule, received: Received | None = None, **changes: Any
) -> Answer:
    asked = tiny.instruction(round_number, changes.pop("upload", EXCHANGED), rule=rule, **changes)
    return client.train(asked, sent(round_number) if received is None else received)


def play(root: Path, rule: LocalRule, rounds: Sequence[int] = (1, 2, 3)) -> list[Answer]:
    return [train(tiny.participant(root), number, rule) for number in rounds]


def state(root: Path, round_number: int) -> ClientState:
    kept = StateFolder(root, "test", "tiny").restore(before=round_number + 1).state
    assert kept is not None
    assert kept.counters.round == round_number
    return kept


def exchanged(root: Path, round_number: int) -> ModelState:
    found = state(root, round_number).exchanged
    assert found is not None
    return found


def assert_same_model(one: ModelState, other: ModelState) -> None:
    for section in ("parameters", "buffers", "optimiser"):
        left, right = getattr(one, section), getattr(other, section)
        assert left
        assert left.keys() == right.keys()
        for name, array in left.items():
            np.testing.assert_array_equal(array, right[name], err_msg=f"{section} {name}")


def differ(one: dict[str, FloatArray], other: dict[str, FloatArray], groups: Sequence[str]) -> list[str]:
    return [group for group in groups if not np.array_equal(one[group], other[group])]


@pytest.mark.parametrize("strength", [0.1, 100.0])
def test_the_exchanged_model_and_what_is_sent_are_those_of_a_client_without_a_personal_model(
    tmp_path: Path, strength: float
) -> None:
    with_personal, without = play(tmp_path / "ditto", ditto(strength)), play(tmp_path / "fedavg", PLAIN)
    for one, other in zip(with_personal, without, strict=True):
        assert one.updates.keys() == other.updates.keys()
        assert not differ(dict(one.updates), dict(other.updates), EXCHANGED)
    assert_same_model(exchanged(tmp_path / "ditto", 3), state(tmp_path / "fedavg", 3).model)


def test_without_a_pull_the_personal_model_is_what_a_client_trains_that_gets_nothing(tmp_path: Path) -> None:
    for number in (1, 2, 3):
        personal = train(tiny.participant(tmp_path / "ditto"), number, ALONE, evaluate=True).report
        alone = train(tiny.participant(tmp_path / "local"), number, PLAIN, Received(), evaluate=True).report
        assert (personal.scores, personal.losses) == (alone.scores, alone.losses)
    assert_same_model(state(tmp_path / "ditto", 3).model, state(tmp_path / "local", 3).model)
    assert state(tmp_path / "ditto", 3).counters.completed_epochs == 3


def test_the_personal_model_is_the_one_that_is_scored(tmp_path: Path) -> None:
    for root, rule in ((tmp_path / "ditto", ALONE), (tmp_path / "fedavg", PLAIN), (tmp_path / "local", PLAIN)):
        for number in (1, 2):
            train(tiny.participant(root), number, rule, Received() if root.name == "local" else None)
    last = tiny.instruction(2, (), evaluate=True, rule=ALONE)
    scores = tiny.participant(tmp_path / "ditto").evaluate(last, sent(3)).scores
    alone = tiny.instruction(2, (), evaluate=True)
    assert scores == tiny.participant(tmp_path / "local").evaluate(alone, Received()).scores
    assert scores != tiny.participant(tmp_path / "fedavg").evaluate(alone, sent(3)).scores


def test_the_pull_changes_the_personal_model_and_a_stronger_one_keeps_it_nearer_to_what_arrived(
    tmp_path: Path,
) -> None:
    far = {group: vector + 0.05 for group, vector in sent(1).parameters.items()}
    distances = {}
    for strength in (0.0, 0.01, 1000.0):
        client = tiny.participant(tmp_path / str(strength), local_epochs=4)
        rule = ditto(strength)
        train(client, 1, rule)
        train(client, 2, rule, Received(far))
        personal = state(client.state_root, 2).model.parameters
        distances[strength] = {group: float(np.linalg.norm(personal[group] - far[group])) for group in EXCHANGED}
    for group in EXCHANGED:
        free, weak, strong = (distances[strength][group] for strength in (0.0, 0.01, 1000.0))
        assert strong < weak < free, group
    assert distances[1000.0]["decoders.depth"] < 0.9 * distances[0.0]["decoders.depth"]


def test_heads_of_the_two_models_are_separate(tmp_path: Path) -> None:
    for name in ("untouched", "global", "personal"):
        train(tiny.participant(tmp_path / name), 1, ditto(1.0))
    changed = {
        "global": lambda kept: replace(kept, exchanged=_other_heads(kept.exchanged)),
        "personal": lambda kept: replace(kept, model=_other_heads(kept.model)),
    }
    for name, change in changed.items():
        kept = state(tmp_path / name, 1)
        answer = StateFolder(tmp_path / name, "test", "tiny").answer(1, kept.counters.request)
        assert answer is not None
        StateFolder(tmp_path / name, "test", "tiny").save(change(kept), answer)
    updates = {
        name: dict(train(tiny.participant(tmp_path / name), 2, ditto(1.0)).updates)
        for name in ("untouched", "global", "personal")
    }
    assert_same_model(state(tmp_path / "global", 2).model, state(tmp_path / "untouched", 2).model)
    assert_same_model(exchanged(tmp_path / "personal", 2), exchanged(tmp_path / "untouched", 2))
    assert not differ(updates["personal"], updates["untouched"], EXCHANGED)
    assert differ(updates["global"], updates["untouched"], EXCHANGED) == list(EXCHANGED)
    assert differ(
        state(tmp_path / "personal", 2).model.parameters, state(tmp_path / "untouched", 2).model.parameters, HEADS
    ) == list(HEADS)


def _other_heads(model: ModelState | None) -> ModelState:
    assert model is not None
    return replace(model, parameters={g: v + 0.5 if g in HEADS else v for g, v in model.parameters.items()})


def test_both_models_survive_a_restart_to_the_same_bits(tmp_path: Path) -> None:
    straight, restarted = tmp_path / "straight", tmp_path / "restarted"
    client = tiny.participant(straight)
    for number in (1, 2, 3):
        train(client, number, ditto(1.0))
    for number in (1, 2, 3):
        local_model._cached_model.cache_clear()  # what a process keeps is gone after a restart
        train(tiny.participant(restarted), number, ditto(1.0))
    assert_same_model(state(straight, 3).model, state(restarted, 3).model)
    assert_same_model(exchanged(straight, 3), exchanged(restarted, 3))
    assert differ(state(straight, 3).model.parameters, exchanged(straight, 3).parameters, (*EXCHANGED, *HEADS))


def test_a_client_that_was_away_goes_on_with_the_personal_model_it_had(tmp_path: Path) -> None:
    client = tiny.participant(tmp_path)
    train(client, 1, ditto(1.0))
    before = state(tmp_path, 1).model.parameters
    frozen = tiny.settings(encoder_learning_rate=0.0, decoder_learning_rate=0.0)
    answer = train(client, 7, ditto(1.0), settings=frozen)
    assert answer.report.restored_round == 1
    assert not differ(state(tmp_path, 7).model.parameters, before, (*EXCHANGED, *HEADS))
    assert not differ(exchanged(tmp_path, 7).parameters, dict(sent(7).parameters), EXCHANGED)
    assert not any(update.any() for update in answer.updates.values())


def test_messages_say_which_of_the_two_models_is_meant(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with caplog.at_level(logging.INFO, logger="flwr"):
        train(tiny.participant(tmp_path), 1, ditto(1.0))
        train(tiny.participant(tmp_path / "plain"), 1, PLAIN)
    said = [record.getMessage().partition(": round")[0] for record in caplog.records if "rate" in record.msg]
    assert said == ["tiny (personal model)", "tiny (exchanged model)", "tiny"]
    losses = iter([1.0, 1.0, 1.0, math.nan])
    monkeypatch.setattr(Depth, "_loss", lambda self, prediction, label: prediction.mean() * 0 + next(losses))
    with pytest.raises(NonFiniteError, match=naming("tiny", "exchanged", "depth", "nan")):
        train(tiny.participant(tmp_path), 2, ditto(1.0))
    assert StateFolder(tmp_path, "test", "tiny").rounds() == [1]


def test_only_the_exchanged_model_makes_updates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    monkeypatch.setattr(
        "client_app.round.local_round.sparsify", lambda updates, layouts, rule: made.append(set(updates)) or updates
    )
    train(tiny.participant(tmp_path), 1, ditto(1.0).model_copy(update={"sparsify": Sparsify(fraction=0.5)}))
    assert made == [set(EXCHANGED)]


@pytest.mark.parametrize("upload", [(), ("buffers.encoder",)])
def test_a_sparse_rule_with_nothing_to_make_sparse_sends_what_is_asked(tmp_path: Path, upload: tuple[str, ...]) -> None:
    rule = LocalRule(sparsify=Sparsify(fraction=0.5))
    assert set(train(tiny.participant(tmp_path), 1, rule, upload=upload).updates) == set(upload)


def test_affinities_are_measured_on_the_personal_model_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    observe, calls = LookAhead.observe, []
    monkeypatch.setattr(LookAhead, "observe", lambda self, *args: (calls.append(self), observe(self, *args))[1])
    answer = train(tiny.participant(tmp_path), 1, ditto(1.0).model_copy(update={"look_ahead_every": 1}))
    assert len(calls) == 2  # steps of one epoch, of one model
    assert len(set(map(id, calls))) == 1
    assert set(answer.report.affinities) == {"semseg", "depth"}
