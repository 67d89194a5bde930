"""Batch-norm statistics between a real client and the server: loaded, counted from, sent whole."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from client_app.round import local_round
from client_app.round.local_round import Received
from client_app.round.participant import Participant
from client_app.training.state import StateFolder
from client_app.training.vectors import buffer_layouts, read_groups
from fmtl_strategies.contract.layout import FloatArray
from tests.support import tiny_client as tiny

BUFFERS = ("buffers.encoder", "buffers.decoders.semseg", "buffers.decoders.depth")


def sent(participant: Participant, seed: int) -> dict[str, FloatArray]:
    """Return other statistics than the client's own, all positive."""
    random = np.random.default_rng(seed)
    layouts = participant.layouts()
    return {group: random.uniform(0.5, 2.0, layouts[group].size).astype(np.float32) for group in BUFFERS}


def own(participant: Participant, after_round: int) -> dict[str, np.ndarray]:
    state = StateFolder(participant.state_root, "test", participant.entry.name).restore(before=after_round + 1).state
    assert state is not None
    return dict(state.model.buffers)


def flat(participant: Participant, buffers: dict[str, np.ndarray], group: str) -> FloatArray:
    prefix = group.removeprefix("buffers.") + "."
    return participant.layouts()[group].pack({name.removeprefix(prefix): a for name, a in buffers.items()})


@pytest.mark.parametrize("number", [1, 2])
def test_statistics_that_arrive_are_loaded_and_the_update_is_counted_from_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    participant = tiny.participant(tmp_path)
    for earlier in range(1, number):
        participant.train(tiny.instruction(earlier), Received())
    arrived, at_start = sent(participant, number), {}
    train_round = local_round.train_round

    def noted(learner: Any, *arguments: Any) -> Any:
        at_start.update(read_groups(learner.model, BUFFERS))
        return train_round(learner, *arguments)

    monkeypatch.setattr(local_round, "train_round", noted)
    answer = participant.train(tiny.instruction(number, BUFFERS), Received(arrived))
    after = own(participant, number)
    for group in BUFFERS:
        np.testing.assert_array_equal(at_start[group], arrived[group])
        np.testing.assert_array_equal(answer.updates[group], flat(participant, after, group) - arrived[group])
        assert np.abs(answer.updates[group]).max() > 0


def test_counters_stay_on_the_client_and_go_on_counting(tmp_path: Path) -> None:
    participant = tiny.participant(tmp_path)
    for number in (1, 2):
        participant.train(tiny.instruction(number, BUFFERS), Received(sent(participant, number)))
    counters = {name: array for name, array in own(participant, 2).items() if name.endswith("num_batches_tracked")}
    assert counters
    assert {int(array) for array in counters.values()} == {4}
    names = {spec.name for group in BUFFERS for spec in participant.layouts()[group].arrays}
    assert {name.rpartition(".")[2] for name in names} == {"running_mean", "running_var"}


def test_what_the_server_adds_up_is_no_negative_variance(tmp_path: Path) -> None:
    participant = tiny.participant(tmp_path)
    arrived = {group: 1e3 * vector for group, vector in sent(participant, 3).items()}
    answer = participant.train(tiny.instruction(1, BUFFERS), Received(arrived))
    for group in BUFFERS:
        values = participant.layouts()[group].unpack(arrived[group] + answer.updates[group])
        assert all(array.min() >= 0 for name, array in values.items() if name.endswith("running_var"))


def test_scores_are_those_of_the_statistics_that_arrived(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    participant = tiny.participant(tmp_path)
    participant.train(tiny.instruction(1), Received())
    scored: list[dict[str, FloatArray]] = []
    evaluate = local_round.evaluate

    def noted(model: Any, *arguments: Any) -> Any:
        scored.append(read_groups(model, BUFFERS))
        return evaluate(model, *arguments)

    monkeypatch.setattr(local_round, "evaluate", noted)
    arrived = sent(participant, 4)
    participant.evaluate(tiny.instruction(1, ()), Received(arrived))
    participant.evaluate(tiny.instruction(1, ()), Received())
    for group in BUFFERS:
        np.testing.assert_array_equal(scored[0][group], arrived[group])
        np.testing.assert_array_equal(scored[1][group], flat(participant, own(participant, 1), group))


def test_buffers_that_are_no_statistics_of_the_state_have_no_group() -> None:
    class Strange(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder = torch.nn.BatchNorm2d(2)
            self.encoder.register_buffer("index", torch.arange(3))
            self.encoder.register_buffer("scratch", torch.zeros(3), persistent=False)
            self.encoder.register_buffer("nothing", torch.zeros(0))

    layouts = buffer_layouts(Strange())
    assert list(layouts) == ["buffers.encoder"]
    assert [spec.name for spec in layouts["buffers.encoder"].arrays] == ["running_mean", "running_var"]
    assert buffer_layouts(torch.nn.Sequential()) == {}
