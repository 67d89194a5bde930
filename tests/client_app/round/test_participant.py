import logging
import math
import multiprocessing
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from errors import naming

from client_app.round.local_round import Received
from client_app.round.participant import Participant
from client_app.tasks.dense import Depth
from client_app.training import state as state_module
from client_app.training.errors import NonFiniteError, StateError
from client_app.training.state import StateFolder
from fmtl_strategies.contract.layout import FloatArray
from fmtl_strategies.contract.profile import ClientProfile
from tests.support import tiny_client as tiny

ALL_GROUPS = ("encoder", "decoders.semseg", "decoders.depth", "heads.semseg", "heads.depth")


def kept(participant: Participant, after_round: int) -> dict[str, FloatArray]:
    folder = StateFolder(participant.state_root, "test", participant.entry.name)
    state = folder.restore(before=after_round + 1).state
    assert state is not None
    assert state.counters.round == after_round
    return state.model.parameters


def equal(left: dict[str, FloatArray], right: dict[str, FloatArray]) -> bool:
    return left.keys() == right.keys() and all(np.array_equal(left[group], right[group]) for group in left)


def test_profile_describes_the_model_and_survives_the_wire(tmp_path: Path) -> None:
    participant = tiny.participant(tmp_path)
    profile = participant.profile(tiny.settings())
    assert ClientProfile.model_validate_json(profile.model_dump_json()) == profile
    buffers = {"buffers.encoder", "buffers.decoders.semseg", "buffers.decoders.depth"}
    assert set(profile.groups) == {*ALL_GROUPS, *buffers}
    start = participant.initial(tiny.settings(), ALL_GROUPS)
    assert {group: vector.shape for group, vector in start.items()} == {
        group: (layout.size,) for group, layout in profile.groups.items() if group not in buffers
    }
    assert [(task.name, task.higher_is_better) for task in profile.tasks] == [("semseg", True), ("depth", False)]
    assert (profile.train_examples, profile.validation_examples) == (6, 2)
    assert not list(tmp_path.iterdir())


def test_update_is_parameters_after_training_minus_parameters_received(tmp_path: Path) -> None:
    participant = tiny.participant(tmp_path)
    received = {"encoder": participant.initial(tiny.settings(seed=5), ["encoder"])["encoder"]}
    answer = participant.train(tiny.instruction(1, ALL_GROUPS), Received(received))
    after = kept(participant, 1)
    assert np.array_equal(answer.updates["encoder"], after["encoder"] - received["encoder"])
    own_start = participant.initial(tiny.settings(), ["heads.depth"])["heads.depth"]
    assert np.array_equal(answer.updates["heads.depth"], after["heads.depth"] - own_start)
    assert all(np.abs(update).max() > 0 for update in answer.updates.values())
    assert all(update.dtype == np.float32 for update in answer.updates.values())


def test_only_the_groups_asked_for_leave_and_own_groups_go_on_from_round_to_round(tmp_path: Path) -> None:
    participant = tiny.participant(tmp_path)
    encoder = participant.initial(tiny.settings(), ["encoder"])
    first = participant.train(tiny.instruction(1), Received(encoder))
    assert set(first.updates) == {"encoder"}
    head_after_first = kept(participant, 1)["heads.depth"]
    second = participant.train(tiny.instruction(2, ["heads.depth"]), Received(encoder))
    assert np.array_equal(kept(participant, 2)["heads.depth"], head_after_first + second.updates["heads.depth"])
    assert second.report.restored_round == 1


def test_same_round_asked_twice_gives_the_same_answer_without_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    participant = tiny.participant(tmp_path)
    first = participant.train(tiny.instruction(1, evaluate=True), Received())
    monkeypatch.setattr("client_app.round.local_round.train_round", None)
    again = participant.train(tiny.instruction(1, evaluate=True), Received())
    assert equal(dict(again.updates), dict(first.updates))
    assert again.report == first.report


def test_other_parameters_for_the_same_round_train_again_from_the_round_before(tmp_path: Path) -> None:
    participant = tiny.participant(tmp_path)
    encoder = participant.initial(tiny.settings(), ["encoder"])
    participant.train(tiny.instruction(1), Received(encoder))
    first = participant.train(tiny.instruction(2), Received(encoder))
    other = participant.train(tiny.instruction(2), Received({"encoder": encoder["encoder"] * 1.01}))
    assert other.report.restored_round == 1
    assert not equal(dict(other.updates), dict(first.updates))
    back = participant.train(tiny.instruction(2), Received(encoder))
    assert equal(dict(back.updates), dict(first.updates))


def test_update_depends_on_seed_client_and_round_and_nothing_else(tmp_path: Path) -> None:
    def update(name: str, seed: int, round_number: int) -> FloatArray:
        torch.rand(seed + round_number)  # whatever was drawn before must not matter
        root = tmp_path / str(len(list(tmp_path.iterdir())))
        participant = tiny.participant(root, name=name)
        received = participant.initial(tiny.settings(), ALL_GROUPS)
        asked = tiny.instruction(round_number, settings=tiny.settings(seed=seed))
        return participant.train(asked, Received(received)).updates["encoder"]

    reference = update("a", 0, 1)
    assert np.array_equal(update("a", 0, 1), reference)
    for other in (("b", 0, 1), ("a", 1, 1), ("a", 0, 2)):
        assert not np.array_equal(update(*other), reference)


def test_training_leaves_the_global_random_state_alone(tmp_path: Path) -> None:
    before = torch.random.get_rng_state()
    tiny.participant(tmp_path).train(tiny.instruction(1, evaluate=True), Received())
    assert torch.equal(torch.random.get_rng_state(), before)


def test_two_rounds_of_one_epoch_equal_one_round_of_two(tmp_path: Path) -> None:
    # Identical images take the order of the data out of the comparison; what is left is what survives a round.
    data = tiny.noise_data(identical=True)
    twice = tiny.participant(tmp_path / "twice", data, local_epochs=1)
    twice.train(tiny.instruction(1), Received())
    twice.train(tiny.instruction(2), Received())
    once = tiny.participant(tmp_path / "once", data, local_epochs=2)
    once.train(tiny.instruction(1), Received())
    assert equal(kept(twice, 2), kept(once, 1))


def test_schedule_follows_the_clients_own_epochs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    participant = tiny.participant(tmp_path, local_epochs=2)
    cosine = tiny.settings(schedule="cosine", total_rounds=10, decoder_learning_rate=1e-4, warmup_epochs=5)
    with caplog.at_level(logging.INFO, logger="flwr"):
        participant.train(tiny.instruction(1, settings=cosine), Received())
        participant.train(tiny.instruction(9, settings=cosine), Received())  # it was away in rounds 2 to 8
    rates = [record.getMessage().split("encoder, ")[1].split()[0] for record in caplog.records if "rate" in record.msg]
    assert rates == ["1.25e-07", "1.25e-07", "2.01e-05", "4.01e-05"]


def test_evaluation_scores_what_arrives_with_the_clients_own_groups(tmp_path: Path) -> None:
    participant = tiny.participant(tmp_path)
    participant.train(tiny.instruction(1), Received())
    after = kept(participant, 1)
    report = participant.evaluate(tiny.instruction(1, evaluate=True), Received({"encoder": after["encoder"]}))
    next_round = participant.train(tiny.instruction(2, evaluate=True), Received({"encoder": after["encoder"]}))
    assert report.scores == next_round.report.scores
    other = participant.evaluate(tiny.instruction(1, evaluate=True), Received({"encoder": after["encoder"] * 2}))
    assert other.scores["depth"].value != report.scores["depth"].value
    assert all(score.value is not None for score in report.scores.values())


def test_a_metric_without_valid_pixels_is_reported_missing_with_its_reason(tmp_path: Path) -> None:
    data = tiny.noise_data()
    for sample in data.validation._samples:  # type: ignore[attr-defined]
        sample["depth"].zero_()
    report = tiny.participant(tmp_path, data).evaluate(tiny.instruction(0, evaluate=True), Received())
    assert report.scores["depth"].value is None
    assert report.scores["depth"].missing_because
    assert report.scores["semseg"].value is not None


def test_a_loss_that_is_not_finite_names_task_epoch_and_step_and_keeps_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([1.0, 1.0, 1.0, math.nan])
    monkeypatch.setattr(Depth, "_loss", lambda self, prediction, label: prediction.mean() * 0 + next(losses))
    participant = tiny.participant(tmp_path, local_epochs=2)
    with pytest.raises(NonFiniteError, match=naming("tiny", "depth", "nan", "epoch 2", "step 2")):
        participant.train(tiny.instruction(1), Received())
    assert StateFolder(tmp_path, "test", "tiny").rounds() == []


def test_running_out_of_gpu_memory_names_the_settings_to_lower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("client_app.round.local_round.train_round", exhausted)
    with pytest.raises(RuntimeError, match=naming("tiny", "batch-size", "3", "[32, 32]")):
        tiny.participant(tmp_path).train(tiny.instruction(1), Received())


def test_state_of_another_model_is_refused(tmp_path: Path) -> None:
    tiny.participant(tmp_path).train(tiny.instruction(1), Received())
    with pytest.raises(StateError, match="decoders.depth, decoders.semseg, heads.depth, heads.semseg differ"):
        tiny.participant(tmp_path, decoder_width=8).train(tiny.instruction(2), Received())


def test_unreadable_state_falls_back_to_the_one_before_and_says_so(tmp_path: Path) -> None:
    participant = tiny.participant(tmp_path)
    for number in (1, 2):
        participant.train(tiny.instruction(number), Received())
    (tmp_path / "test/tiny/round-00002/state.safetensors").write_bytes(b"broken")
    report = participant.train(tiny.instruction(3), Received()).report
    assert report.restored_round == 1
    assert report.diagnostics == {"unreadable_states": 1.0}


def _train_and_die_while_saving(root: Path) -> None:
    participant = tiny.participant(root)
    participant.train(tiny.instruction(1), Received())
    state_module.write_json = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    participant.train(tiny.instruction(2), Received())


def test_a_client_killed_while_saving_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(
        target=_train_and_die_while_saving, args=(tmp_path / "killed",)
    )
    process.start()
    process.join(900)
    assert process.exitcode == -signal.SIGKILL
    resumed, straight = tiny.participant(tmp_path / "killed"), tiny.participant(tmp_path / "straight")
    straight.train(tiny.instruction(1), Received())
    answers = [participant.train(tiny.instruction(2, ALL_GROUPS), Received()) for participant in (resumed, straight)]
    assert answers[0].report.restored_round == 1
    assert equal(dict(answers[0].updates), dict(answers[1].updates))
