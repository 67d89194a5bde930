"""Phases of a round (FedRep): exact against the equations, and on a real client of small size."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from errors import naming
from pydantic import ValidationError
from torch import Tensor, nn

from client_app.round.local_model import reusable_model
from client_app.round.local_round import Received
from client_app.round.participant import Participant
from client_app.tasks.dense import Depth
from client_app.training import loop
from client_app.training.batches import LocalData
from client_app.training.device import Arithmetic
from client_app.training.loop import Learner, RoundPlan, train_round
from client_app.training.optimiser import build_optimiser, rate_factor
from client_app.training.state import ClientState, StateFolder
from fmtl_strategies.contract.rule import LocalRule, Phase
from fmtl_strategies.contract.settings import LocalSettings
from tests.support import tiny_client as tiny

PERSONAL = Phase(kinds=("decoders", "heads"))
SHARED = Phase(kinds=("encoder",))
KINDS = ("encoder", "decoders", "heads")
FEDREP = LocalRule(phases=(PERSONAL, SHARED))


class Chain(nn.Module):
    """Predicts x * encoder * decoder * head: the gradient of each depends on all three, so the order shows."""

    def __init__(self) -> None:
        super().__init__()
        parts = [nn.Linear(1, 1, bias=False).to(torch.float64) for _ in KINDS]
        for part, start in zip(parts, (0.7, -0.4, 1.3), strict=True):
            nn.init.constant_(part.weight, start)
        self.encoder = nn.Sequential(parts[0])
        self.decoders, self.heads = nn.ModuleDict({"t": parts[1]}), nn.ModuleDict({"t": parts[2]})

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        return {"t": self.heads["t"](self.decoders["t"](self.encoder(image)))}


class Squares:
    loss_weight = 1.0

    def loss(self, prediction: Tensor, label: Tensor) -> Tensor:
        return ((prediction - label) ** 2).mean()


IMAGES, LABELS = np.array([0.5, -1.0, 2.0]), np.array([1.0, 0.3, -0.8])
SETTINGS = LocalSettings(
    total_rounds=1, schedule="constant", encoder_learning_rate=0.03, decoder_learning_rate=0.05, weight_decay=0.2
)


def chain_data() -> LocalData:
    samples = [{"image": torch.tensor([x]), "t": torch.tensor([y])} for x, y in zip(IMAGES, LABELS, strict=True)]
    return LocalData(samples, samples, tiny.unchanged, dict, tiny.stack, {})


def train_chain(phases: tuple[Phase, ...], local_epochs: int) -> dict[str, float]:
    model = Chain()
    scaler = torch.amp.GradScaler("cpu", enabled=False)
    learner = Learner(model, build_optimiser(model, SETTINGS), scaler, Arithmetic(torch.device("cpu"), None))
    plan = RoundPlan("chain", 1, 0, local_epochs, len(IMAGES), SETTINGS, phases)
    train_round(learner, {"t": Squares()}, chain_data(), plan)  # type: ignore[dict-item]
    return {name.partition(".")[0]: float(p.detach()) for name, p in model.named_parameters()}


def restated(phases: tuple[Phase, ...], local_epochs: int) -> dict[str, float]:
    """AdamW as in its paper, every part with its own step count, over the parts that the phase trains."""
    w = dict(zip(KINDS, (0.7, -0.4, 1.3), strict=True))
    first, second, steps = (dict.fromkeys(KINDS, 0.0) for _ in range(3))
    for phase in phases:
        for _ in range(local_epochs * phase.passes):
            product = w["encoder"] * w["decoders"] * w["heads"]
            slope = float(np.mean([2 * (x * product - y) * x for x, y in zip(IMAGES, LABELS, strict=True)]))
            gradient = {kind: slope * product / w[kind] for kind in KINDS}
            for kind in phase.kinds:
                rate = 0.03 if kind == "encoder" else 0.05
                steps[kind] += 1
                first[kind] = 0.9 * first[kind] + 0.1 * gradient[kind]
                second[kind] = 0.999 * second[kind] + 0.001 * gradient[kind] ** 2
                mean, square = first[kind] / (1 - 0.9 ** steps[kind]), second[kind] / (1 - 0.999 ** steps[kind])
                w[kind] = w[kind] * (1 - rate * 0.2) - rate * mean / (np.sqrt(square) + 1e-8)
    return w


@pytest.mark.parametrize("local_epochs", [1, 2])
@pytest.mark.parametrize(
    "phases",
    [
        (PERSONAL, SHARED),
        (SHARED, PERSONAL),
        (PERSONAL.model_copy(update={"passes": 3}), SHARED.model_copy(update={"passes": 2})),
        (PERSONAL, SHARED, PERSONAL),
    ],
)
def test_a_round_in_phases_equals_the_equations_in_float64(phases: tuple[Phase, ...], local_epochs: int) -> None:
    expected = restated(phases, local_epochs)
    assert train_chain(phases, local_epochs) == pytest.approx(expected, rel=1e-10)
    together = restated((Phase(kinds=KINDS),), local_epochs * sum(phase.passes for phase in phases))
    assert abs(together["encoder"] - expected["encoder"]) > 1e-3


def kept(participant: Participant, after_round: int) -> ClientState:
    folder = StateFolder(participant.state_root, "test", participant.entry.name)
    state = folder.restore(before=after_round + 1).state
    assert state is not None
    assert state.counters.round == after_round
    return state


def kind_of_array(name: str) -> str:
    return name.partition(".")[0].rpartition("/")[2]


def changed(before: Mapping[str, np.ndarray], after: Mapping[str, np.ndarray]) -> set[str]:
    assert before.keys() == after.keys()
    return {kind_of_array(name) for name in before if not np.array_equal(before[name], after[name])}


@pytest.mark.parametrize("phase", [PERSONAL, SHARED])
def test_what_a_phase_freezes_keeps_every_bit_of_weights_and_moments(tmp_path: Path, phase: Phase) -> None:
    participant, settings = tiny.participant(tmp_path), tiny.settings(weight_decay=0.5)
    participant.train(tiny.instruction(1, settings=settings), Received())
    participant.train(tiny.instruction(2, settings=settings, rule=LocalRule(phases=(phase,))), Received())
    before, after = kept(participant, 1).model, kept(participant, 2).model
    assert changed(before.parameters, after.parameters) == set(phase.kinds)
    assert changed(before.optimiser, after.optimiser) == set(phase.kinds)


def test_epochs_of_all_phases_count_and_set_the_place_in_the_schedule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    factors: list[float] = []
    set_rates = loop.set_rates

    def noted(optimiser: Any, settings: LocalSettings, factor: float) -> tuple[float, float]:
        factors.append(factor)
        return set_rates(optimiser, settings, factor)

    monkeypatch.setattr(loop, "set_rates", noted)
    participant = tiny.participant(tmp_path, local_epochs=2)
    settings = tiny.settings(total_rounds=2, schedule="cosine", warmup_epochs=2)
    rule = LocalRule(phases=(PERSONAL.model_copy(update={"passes": 2}), SHARED))
    for number in (1, 2):
        participant.train(tiny.instruction(number, settings=settings, rule=rule), Received())
    assert kept(participant, 2).counters.completed_epochs == 12
    assert factors == [rate_factor(epoch, 12, settings) for epoch in range(12)]


def test_everything_can_be_trained_again_after_a_phase_and_after_a_failure_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    participant = tiny.participant(tmp_path)
    model = reusable_model(participant.entry, participant.data.num_classes)
    participant.train(tiny.instruction(1, rule=FEDREP), Received())
    assert all(parameter.requires_grad for parameter in model.parameters())

    def failing(*_: Any) -> Tensor:
        assert not any(parameter.requires_grad for parameter in model.encoder.parameters())
        raise RuntimeError("labels are on fire")

    with monkeypatch.context() as patched:
        patched.setattr(Depth, "loss", failing)
        with pytest.raises(RuntimeError, match="on fire"):
            participant.train(tiny.instruction(2, rule=FEDREP), Received())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert kept(participant, 1).counters.completed_epochs == 2


def test_a_weight_that_was_frozen_before_the_round_is_frozen_after_it() -> None:
    model = Chain()
    fixed = model.encoder[0].weight
    fixed.requires_grad_(False)
    for phase in (PERSONAL, SHARED):
        with loop._only_trained(model, phase):
            assert not fixed.requires_grad
        assert [p.requires_grad for p in model.parameters()] == [False, True, True]


def test_phases_that_cannot_be_trained_are_refused() -> None:
    with pytest.raises(ValidationError):
        Phase(kinds=("buffers",))  # type: ignore[arg-type]
    with pytest.raises(ValidationError):
        Phase(kinds=())
    with pytest.raises(ValidationError):
        Phase(kinds=("encoder",), passes=0)
    with pytest.raises(ValidationError, match=naming("phase")):
        LocalRule(phases=(PERSONAL, SHARED), look_ahead_every=1)
