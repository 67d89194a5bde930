from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from errors import naming

from client_app.training.errors import StateError
from client_app.training.state import Answer, ClientState, Counters, ModelState, StateFolder
from fmtl_strategies.contract.messages import Report


def state(number: int, restored: int, value: float = 0.0, request: str = "r") -> ClientState:
    return ClientState(
        counters=Counters(
            round=number, restored_round=restored, completed_epochs=number, model={"encoder": "s"}, request=request
        ),
        model=model_state(value),
    )


def model_state(value: float) -> ModelState:
    return ModelState(
        parameters={"encoder": np.full(3, value, dtype=np.float32)},
        buffers={"encoder.bn.num_batches_tracked": np.array(7, dtype=np.int64)},
        optimiser={"step/encoder.w": np.array(2.0, dtype=np.float32)},
    )


def answer(number: int) -> Answer:
    report = Report(client="c", round=number, train_examples=4)
    return Answer(report, {"encoder": np.arange(3, dtype=np.float32)})


@pytest.fixture
def folder(tmp_path: Path) -> StateFolder:
    return StateFolder(tmp_path, "experiment", "c")


def save_chain(folder: StateFolder, *numbers: int) -> None:
    before = 0
    for number in numbers:
        folder.save(state(number, before, value=number), answer(number))
        before = number


def test_what_is_saved_comes_back_with_shapes_and_dtypes(folder: StateFolder) -> None:
    folder.save(state(1, 0, value=0.5), answer(1))
    restored = folder.restore(before=2).state
    assert restored is not None
    assert restored.counters == state(1, 0).counters
    assert restored.model.parameters["encoder"].tolist() == [0.5] * 3
    counter = restored.model.buffers["encoder.bn.num_batches_tracked"]
    assert (counter.shape, counter.dtype, int(counter)) == ((), np.int64, 7)


def test_newest_earlier_round_is_restored_not_the_round_itself(folder: StateFolder) -> None:
    save_chain(folder, 1, 2, 4)
    assert [folder.restore(before=number).state.counters.round for number in (5, 4, 3)] == [4, 2, 2]  # type: ignore[union-attr]


def test_the_two_newest_rounds_are_kept_and_updates_of_the_newest_only(folder: StateFolder) -> None:
    save_chain(folder, 1, 2, 3)
    assert folder.rounds() == [2, 3]
    assert [(folder.path / f"round-0000{n}" / "updates.safetensors").exists() for n in (2, 3)] == [False, True]


def test_training_a_round_anew_removes_what_grew_out_of_the_old_one(folder: StateFolder) -> None:
    save_chain(folder, 1, 2, 3)
    folder.save(state(2, 0, value=9), answer(2))
    assert folder.rounds() == [2]


def test_an_answer_is_given_again_only_to_the_same_request(folder: StateFolder) -> None:
    folder.save(state(1, 0, request="same"), answer(1))
    again = folder.answer(1, "same")
    assert again is not None
    assert again.report == answer(1).report
    assert again.updates["encoder"].tolist() == [0, 1, 2]
    assert folder.answer(1, "other") is None
    assert folder.answer(2, "same") is None


@pytest.mark.parametrize("name", ["state.json", "state.safetensors"])
@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe garbage"])
def test_unreadable_newest_state_is_skipped_and_named(folder: StateFolder, name: str, content: bytes) -> None:
    save_chain(folder, 1, 2)
    (folder.path / "round-00002" / name).write_bytes(content)
    restored = folder.restore(before=3)
    assert restored.unreadable == (2,)
    assert restored.state is not None
    assert restored.state.counters.round == 1


def test_no_readable_state_is_an_error_not_a_fresh_start(folder: StateFolder) -> None:
    save_chain(folder, 1)
    (folder.path / "round-00001" / "state.json").write_text("no json")
    with pytest.raises(StateError, match=naming("states", "1")):
        folder.restore(before=2)


def test_going_back_further_than_the_kept_rounds_is_an_error(folder: StateFolder) -> None:
    save_chain(folder, 1, 2, 3, 4)
    with pytest.raises(StateError, match=naming("checkpoint", "3")):
        folder.restore(before=2)


def test_going_back_to_the_clients_first_round_starts_anew(folder: StateFolder) -> None:
    save_chain(folder, 5, 6)
    assert folder.restore(before=5).state is None


def test_a_half_written_folder_is_not_a_state(folder: StateFolder) -> None:
    save_chain(folder, 1)
    (folder.path / ".round-00002.77.tmp").mkdir()
    assert folder.rounds() == [1]
    assert folder.restore(before=3).state.counters.round == 1  # type: ignore[union-attr]


def test_state_of_the_loss_scaler_survives_the_way_to_disk() -> None:
    scaler = torch.amp.GradScaler("cpu", enabled=True)
    weight = torch.nn.Parameter(torch.ones(1))
    optimiser = torch.optim.SGD([weight], 0.1)
    scaler.scale(weight.sum()).backward()
    scaler.step(optimiser)
    scaler.update()
    counters = Counters(round=1, restored_round=0, completed_epochs=1, model={}, scaler=scaler.state_dict(), request="")
    restored = torch.amp.GradScaler("cpu", enabled=True)
    restored.load_state_dict(Counters.model_validate_json(counters.model_dump_json()).scaler)
    restored.scale(weight.sum()).backward()
    restored.step(optimiser)
    restored.update()
    assert restored.state_dict()["_growth_tracker"] == 2
    assert restored.state_dict()["growth_interval"] == scaler.state_dict()["growth_interval"]


def test_the_exchanged_model_is_kept_beside_the_clients_own(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path, "e", "c")
    folder.save(replace(state(1, 0, value=0.5), exchanged=model_state(2.0)), answer(1))
    restored = folder.restore(before=2).state
    assert restored is not None
    assert restored.exchanged is not None
    assert restored.model.parameters["encoder"].tolist() == [0.5] * 3
    assert restored.exchanged.parameters["encoder"].tolist() == [2.0] * 3
    assert set(restored.exchanged.optimiser) == {"step/encoder.w"}
