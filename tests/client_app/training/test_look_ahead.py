from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from tiny_client import instruction, participant, settings
from torch import Tensor, nn

from client_app.round.local_round import Received
from client_app.tasks.base import DenseTask, Task
from client_app.training.device import Arithmetic
from client_app.training.look_ahead import LookAhead, look_ahead
from fmtl_strategies.contract.rule import LocalRule

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU"))]
CPU = Arithmetic(torch.device("cpu"), None)
RATE = 0.05


class Squared(DenseTask):
    """Mean squared error, so that gradients can be written down by hand."""

    name: ClassVar[str] = "squared"
    loss_weight: ClassVar[float] = 1.0
    channels = 1

    def _loss(self, prediction: Tensor, label: Tensor) -> Tensor:
        return ((prediction - label) ** 2).mean()


class Heavy(Squared):
    loss_weight: ClassVar[float] = 7.0


class Net(nn.Module):
    """One convolution of 1x1 as encoder, one as decoder of each task; with norm and dropout if asked."""

    def __init__(self, tasks: Mapping[str, Task], noisy: bool = False) -> None:
        super().__init__()
        torch.manual_seed(0)
        extra = [nn.BatchNorm2d(4), nn.Dropout(0.5)] if noisy else []
        self.encoder = nn.Sequential(nn.Conv2d(3, 4, 1, bias=False), *extra)
        self.decoders = nn.ModuleDict({name: nn.Conv2d(4, 2, 1, bias=False) for name in tasks})

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        features = self.encoder(image)
        return {name: decoder(features) for name, decoder in self.decoders.items()}


TASKS: dict[str, Task] = {"one": Squared(), "two": Heavy(), "three": Squared()}


def batch_of(device: str = "cpu") -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    batch = {"image": torch.randn((2, 3, 4, 5), generator=generator)}
    batch |= {name: torch.randn((2, 2, 4, 5), generator=generator) for name in TASKS}
    return {name: value.to(device) for name, value in batch.items()}


def matrix(weight: Tensor) -> np.ndarray:
    return weight.detach().double().numpy()[:, :, 0, 0]


def loss_of(encoder: np.ndarray, decoder: np.ndarray, pixels: np.ndarray, labels: np.ndarray) -> float:
    return float(((decoder @ encoder @ pixels - labels) ** 2).mean())


def columns(images: Tensor) -> np.ndarray:
    return images.double().permute(1, 0, 2, 3).flatten(1).numpy()


def restated(net: Net, batch: Mapping[str, Tensor], rate: float) -> dict[tuple[str, str], float]:
    """The formula in float64, with the gradient of the mean square written out: 2 D^T (D E x - y) x^T / count."""
    encoder, pixels = matrix(net.encoder[0].weight), columns(batch["image"])  # type: ignore[arg-type]
    decoders = {name: matrix(decoder.weight) for name, decoder in net.decoders.items()}  # type: ignore[arg-type]
    labels = {name: columns(batch[name]) for name in TASKS}
    found = {}
    for i, task in TASKS.items():
        error = decoders[i] @ encoder @ pixels - labels[i]
        gradient = 2 * decoders[i].T @ error @ pixels.T / error.size
        moved = encoder - rate * task.loss_weight * gradient
        for j in TASKS:
            if j != i:
                after = loss_of(moved, decoders[j], pixels, labels[j])
                found[i, j] = 1 - after / loss_of(encoder, decoders[j], pixels, labels[j])
    return found


def test_affinities_are_what_the_formula_gives_in_float64() -> None:
    net, batch = Net(TASKS), batch_of()
    found, expected = look_ahead(net, TASKS, batch, CPU, RATE), restated(net, batch, RATE)
    assert found.keys() == expected.keys()
    assert len(found) == 6
    for pair, value in expected.items():
        assert abs(value) > 1e-4
        assert found[pair] == pytest.approx(value, abs=2e-6)


def test_convolutions_are_not_rounded_to_tf32_while_looking_ahead() -> None:
    net, allowed = Net(TASKS), []
    net.encoder.register_forward_hook(lambda *_: allowed.append(torch.backends.cudnn.allow_tf32))
    before = torch.backends.cudnn.allow_tf32
    look_ahead(net, TASKS, batch_of(), CPU, RATE)
    assert allowed == [False] * 4
    assert torch.backends.cudnn.allow_tf32 == before


def test_a_loss_of_zero_has_nothing_to_be_relative_to_and_only_its_pairs_are_left_out() -> None:
    net, batch = Net(TASKS), batch_of()
    batch["three"] = net(batch["image"])["three"].detach()
    measured = LookAhead(1, TASKS)
    measured.observe(net, batch, CPU, RATE)
    affinities = measured.affinities()
    assert {(i, j) for i in affinities for j in affinities[i]} == {
        ("one", "two"),
        ("two", "one"),
        ("three", "one"),
        ("three", "two"),
    }
    # A second batch measures what the first could not; every pair is a mean over its own measurements.
    measured.observe(net, batch_of(), CPU, RATE)
    second = look_ahead(net, TASKS, batch_of(), CPU, RATE)
    assert measured.affinities()["one"]["three"] == pytest.approx(second["one", "three"])
    assert measured.affinities()["one"]["two"] == pytest.approx((affinities["one"]["two"] + second["one", "two"]) / 2)


@pytest.mark.parametrize(("every", "expected"), [(1, 5), (2, 3), (5, 1), (0, 0)])
def test_measures_at_the_first_step_and_every_so_many_after_it(
    every: int, expected: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def count(*_: object) -> dict[tuple[str, str], float]:
        calls.append(1)
        return {("one", "two"): float(len(calls))}

    monkeypatch.setattr("client_app.training.look_ahead.look_ahead", count)
    measured = LookAhead(every, TASKS)
    for _ in range(5):
        measured.observe(Net(TASKS), batch_of(), CPU, RATE)
    assert len(calls) == expected
    means = {"one": {"two": (1 + expected) / 2}} if expected else {}
    assert measured.affinities() == means


def test_nothing_is_measured_without_a_step_to_take() -> None:
    net = Net(TASKS)
    measured = LookAhead(1, TASKS)
    measured.observe(net, batch_of(), CPU, 0.0)
    net.encoder.requires_grad_(False)
    measured.observe(net, batch_of(), CPU, RATE)
    single = LookAhead(1, {"one": TASKS["one"]})
    single.observe(Net(TASKS), batch_of(), CPU, RATE)
    assert measured.affinities() == single.affinities() == {}


def test_every_step_sees_the_same_random_draws() -> None:
    # With a step of next to nothing, only other draws of dropout could change a loss.
    found = look_ahead(Net(TASKS, noisy=True).train(), TASKS, batch_of(), CPU, 1e-12)
    assert set(found.values()) == {0.0}


@pytest.mark.parametrize("device", DEVICES)
def test_model_buffers_gradients_and_random_state_are_bit_for_bit_as_before(device: str) -> None:
    net = Net(TASKS, noisy=True).train().to(device)
    arithmetic = Arithmetic(torch.device(device, 0) if device == "cuda" else torch.device("cpu"), None)
    for parameter in net.parameters():
        parameter.grad = torch.randn_like(parameter)
    random = [torch.random.get_rng_state(), *([torch.cuda.get_rng_state()] if device == "cuda" else [])]
    before = {name: value.clone() for name, value in net.state_dict().items()}
    gradients = [parameter.grad.clone() for parameter in net.parameters() if parameter.grad is not None]
    found = look_ahead(net, TASKS, batch_of(device), arithmetic, RATE)
    assert any(abs(value) > 1e-4 for value in found.values())
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(torch.equal(p.grad, g) for p, g in zip(net.parameters(), gradients, strict=True) if p.grad is not None)
    now = [torch.random.get_rng_state(), *([torch.cuda.get_rng_state()] if device == "cuda" else [])]
    assert all(torch.equal(one, other) for one, other in zip(random, now, strict=True))


def test_what_was_moved_is_put_back_when_measuring_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    net, batch = Net(TASKS, noisy=True), batch_of()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    calls: list[int] = []

    def fail_later(self: Squared, prediction: Tensor, label: Tensor) -> Tensor:
        calls.append(1)
        if len(calls) > len(TASKS):
            raise RuntimeError("out of memory")
        return ((prediction - label) ** 2).mean()

    monkeypatch.setattr(Squared, "_loss", fail_later)
    with pytest.raises(RuntimeError, match="out of memory"):
        look_ahead(net, TASKS, batch, CPU, RATE)
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_training_ends_with_the_same_bits_with_and_without_measuring(tmp_path: Path, precision: str) -> None:
    answers: list[Any] = []
    for every in (0, 1):
        client = participant(tmp_path / str(every))
        order = instruction(
            1,
            upload=("encoder", "decoders.semseg", "decoders.depth"),
            settings=settings(precision=precision),
            rule=LocalRule(look_ahead_every=every),
        )
        answers.append(client.train(order, Received()))
    plain, measured = answers
    assert plain.report.affinities == {}
    assert set(measured.report.affinities) == {"semseg", "depth"}
    assert set(measured.report.affinities["semseg"]) == {"depth"}
    assert all(np.isfinite(value) for row in measured.report.affinities.values() for value in row.values())
    assert plain.report.losses == measured.report.losses
    for group, update in plain.updates.items():
        assert np.abs(update).max() > 0
        np.testing.assert_array_equal(update, measured.updates[group], err_msg=group)
    kept = sorted((tmp_path / "0").rglob("*.safetensors"))
    assert kept
    for one in kept:
        other = tmp_path / "1" / one.relative_to(tmp_path / "0")
        assert one.read_bytes() == other.read_bytes(), one.name
