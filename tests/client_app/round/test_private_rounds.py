"""What leaves a client that asks for privacy, whatever a coordinator asks of it."""

import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from errors import naming
from fmtl_datasets.shared.privacy import Privacy

from client_app.privacy import Account, account_file, read_account, write_account
from client_app.round import local_round
from client_app.round import participant as participant_module
from client_app.round.local_round import Received
from client_app.round.participant import Participant
from client_app.training import state as state_module
from client_app.training.errors import NonFiniteError, PrivacyError
from client_app.training.state import StateFolder
from fmtl_strategies.contract.files import DiskFullError, save_arrays
from fmtl_strategies.contract.layout import FloatArray
from fmtl_strategies.contract.rule import LocalRule, Sparsify
from tests.support import tiny_client as tiny

ROOT = Path(__file__).parents[3]
BUFFERS = ("buffers.encoder", "buffers.decoders.semseg", "buffers.decoders.depth")


def careful(root: Path, **privacy: Any) -> Participant:
    """Return a client that asks for privacy."""
    return tiny.participant(root, privacy=Privacy(**{"clip": 1.0, "noise": 1.0, **privacy}))


def own_variances(participant: Participant, group: str, after_round: int) -> dict[str, FloatArray]:
    """Return the variances that a client keeps, by name inside a group of buffers."""
    state = StateFolder(participant.state_root, "test", participant.entry.name).restore(before=after_round + 1).state
    assert state is not None
    prefix = group.removeprefix("buffers.") + "."
    return {
        name.removeprefix(prefix): np.asarray(array, dtype=np.float32)
        for name, array in state.model.buffers.items()
        if name.startswith(prefix) and name.endswith("running_var")
    }


@pytest.mark.parametrize("number", [1, 2])
def test_statistics_that_were_not_sent_down_never_come_out_without_noise(tmp_path: Path, number: int) -> None:
    participant = careful(tmp_path)
    for earlier in range(1, number):
        participant.train(tiny.instruction(earlier), Received())
    updates = participant.train(tiny.instruction(number, BUFFERS), Received()).updates
    for group in BUFFERS:
        sent = participant.layouts()[group].unpack(updates[group])
        # In round 1 they are counted from 1, in later rounds from what the round before has left.
        kept = own_variances(participant, group, number - 1) if number > 1 else {}
        same = [
            array == -kept.get(name, np.float32(1.0)) for name, array in sent.items() if name.endswith("running_var")
        ]
        # One of thousands may be equal by chance.
        assert np.mean(np.concatenate(same)) < 0.01


@pytest.mark.parametrize("record", ["parameters", "anchors"])
def test_a_receiver_adds_noisy_statistics_to_what_it_sent_and_gets_no_negative_variance(
    tmp_path: Path, record: str
) -> None:
    participant = careful(tmp_path)
    participant.train(tiny.instruction(1), Received())
    layouts = participant.layouts()
    arrived = {group: np.full(layouts[group].size, 0.25, np.float32) for group in BUFFERS}
    updates = participant.train(tiny.instruction(2, BUFFERS), Received(**{record: arrived})).updates
    smallest = np.concatenate(
        [
            array.reshape(-1)
            for group in BUFFERS
            for name, array in layouts[group].unpack(arrived[group] + updates[group]).items()
            if name.endswith("running_var")
        ]
    )
    assert smallest.min() == 0
    assert np.count_nonzero(smallest == 0) > 100


def test_starting_parameters_are_the_same_after_training_as_before(tmp_path: Path) -> None:
    participant = careful(tmp_path)
    groups = tuple(participant.layouts())
    before = participant.initial(tiny.settings(), groups)
    for number in (1, 2):
        participant.train(tiny.instruction(number, evaluate=True), Received())
    participant.evaluate(tiny.instruction(2, ()), Received())
    after = participant.initial(tiny.settings(), groups)
    for group in groups:
        np.testing.assert_array_equal(after[group], before[group])


def test_a_report_holds_nothing_that_was_computed_from_the_data(tmp_path: Path) -> None:
    participant = careful(tmp_path)
    instruction = tiny.instruction(1, evaluate=True)
    asks_everything = instruction.model_copy(
        update={"rule": instruction.rule.model_copy(update={"look_ahead_every": 1})}
    )
    trained = participant.train(asks_everything, Received()).report
    scored = participant.evaluate(tiny.instruction(1, ()), Received())
    for report in (trained, scored):
        assert (report.losses, report.affinities) == ({}, {})
        assert {score.value for score in report.scores.values()} == {None}
        assert set(report.diagnostics) == {"privacy_epsilon", "privacy_uploads"}


def _account(participant: Participant) -> dict[float, int]:
    return dict(read_account(account_file(participant.state_root, participant.entry.name)).uploads)


@pytest.fixture
def without_accounting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python that lacks dp-accounting."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "dp_accounting"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "dp_accounting", None)


@pytest.mark.usefixtures("without_accounting")
@pytest.mark.parametrize("limit", [None, 20.0])
def test_a_client_that_cannot_account_does_not_train_and_books_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: float | None
) -> None:
    monkeypatch.setattr(local_round, "train_round", None)
    participant = careful(tmp_path, epsilon=limit)
    for number in (1, 1, 2):
        with pytest.raises(PrivacyError, match=naming("dp-accounting", "uploaded")):
            participant.train(tiny.instruction(number), Received())
    assert _account(participant) == {}


@pytest.mark.parametrize("module", ["client_app.app", "client_app.round.participant", "fmtl.network.site"])
def test_the_accounting_is_not_loaded_where_nobody_asks_for_privacy(module: str) -> None:
    code = f"import sys, {module}; sys.exit('dp_accounting' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.usefixtures("without_accounting")
def test_a_client_without_privacy_needs_no_accounting(tmp_path: Path) -> None:
    assert tiny.participant(tmp_path).train(tiny.instruction(1), Received()).updates


@pytest.mark.parametrize("step", ["train_round", "privatise", "sparsify"])
def test_a_round_that_fails_books_nothing_and_keeps_the_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*arguments: Any) -> None:
        raise NonFiniteError("the loss of patient-7.png is 12.5")

    participant = careful(tmp_path)
    asked = tiny.instruction(1, rule=LocalRule(sparsify=Sparsify(fraction=0.1)))
    with monkeypatch.context() as patch:
        patch.setattr(local_round, step, fail)
        caplog.set_level(logging.INFO, logger="flwr")
        patch.setattr(logging.getLogger("flwr"), "propagate", True)
        with pytest.raises(PrivacyError, match=naming("log")) as told:
            participant.train(asked, Received())
    assert "patient" not in str(told.value)
    assert "12.5" in caplog.text
    assert _account(participant) == {}
    participant.train(asked, Received())
    assert _account(participant) == {1.0: 1}


def test_a_round_whose_state_does_not_fit_the_disk_books_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, arrays: object) -> None:
        if path.name == "updates.safetensors":
            raise DiskFullError("the disk is full")
        save_arrays(path, arrays)  # type: ignore[arg-type]

    participant = careful(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(state_module, "save_arrays", full)
        with pytest.raises(DiskFullError):
            participant.train(tiny.instruction(1), Received())
    assert _account(participant) == {}


def test_an_answer_is_booked_before_it_can_be_read_back_and_once_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    participant = careful(tmp_path)
    place = tmp_path / "test" / "tiny" / "round-00001"
    visible: list[bool] = []

    def noted(path: Path, account: Account) -> None:
        visible.append(place.exists())
        write_account(path, account)

    monkeypatch.setattr(participant_module, "write_account", noted)
    first = participant.train(tiny.instruction(1), Received())
    again = participant.train(tiny.instruction(1), Received())
    assert visible == [False]
    assert place.exists()
    np.testing.assert_array_equal(first.updates["encoder"], again.updates["encoder"])
    assert first.report.diagnostics["privacy_uploads"] == 1
    assert _account(participant) == {1.0: 1}


def test_an_account_that_cannot_be_written_lets_no_answer_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, account: Account) -> None:
        raise DiskFullError("the disk is full")

    participant = careful(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(participant_module, "write_account", full)
        for _ in range(2):
            with pytest.raises(DiskFullError):
                participant.train(tiny.instruction(1), Received())
    assert participant.train(tiny.instruction(1), Received()).report.diagnostics["privacy_uploads"] == 1


def test_training_without_an_upload_books_nothing(tmp_path: Path) -> None:
    participant = careful(tmp_path)
    report = participant.train(tiny.instruction(1, ()), Received()).report
    assert (report.diagnostics["privacy_epsilon"], report.diagnostics["privacy_uploads"]) == (0, 0)
    assert _account(participant) == {}
