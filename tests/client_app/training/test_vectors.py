import numpy as np
import pytest
import torch
from errors import naming
from torch import nn

from client_app.training.optimiser import build_optimiser, load_optimiser, optimiser_arrays, set_rates
from client_app.training.vectors import group_layouts, load_buffers, load_groups, read_buffers, read_groups
from fmtl_strategies.contract.settings import LocalSettings


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.decoders = nn.ModuleDict({"depth": nn.Linear(4, 2)})
        self.heads = nn.ModuleDict({"depth": nn.Linear(2, 1)})

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        pooled = self.encoder(image).mean(dim=(2, 3))
        prediction: torch.Tensor = self.heads["depth"](self.decoders["depth"](pooled))
        return prediction


SETTINGS = LocalSettings(total_rounds=1, encoder_learning_rate=1e-2, decoder_learning_rate=1e-1)


def step(model: nn.Module, optimiser: torch.optim.Optimizer, seed: int) -> None:
    optimiser.zero_grad()
    model(torch.randn(2, 3, 5, 5, generator=torch.Generator().manual_seed(seed))).square().sum().backward()
    optimiser.step()


def test_vectors_written_into_another_model_make_it_equal() -> None:
    source, target = Small(), Small()
    vectors = read_groups(source, group_layouts(source))
    load_groups(target, vectors)
    for left, right in zip(source.parameters(), target.parameters(), strict=True):
        assert torch.equal(left, right)


def test_vectors_follow_the_layout_also_for_channels_last_models() -> None:
    model = Small()
    before = read_groups(model, ["encoder"])["encoder"]
    model.to(memory_format=torch.channels_last)
    assert np.array_equal(read_groups(model, ["encoder"])["encoder"], before)


def test_unknown_groups_and_wrong_lengths_are_refused_and_change_nothing() -> None:
    model = Small()
    before = read_groups(model, group_layouts(model))
    with pytest.raises(ValueError, match=naming("heads.edge")):
        load_groups(model, {"encoder": np.zeros(120, np.float32), "heads.edge": np.zeros(3, np.float32)})
    with pytest.raises(ValueError, match="needs"):
        load_groups(model, {"heads.depth": np.zeros(3, np.float32), "encoder": np.zeros(7, np.float32)})
    with pytest.raises(ValueError, match=naming("heads.edge")):
        read_groups(model, ["heads.edge"])
    after = read_groups(model, before)
    assert all(np.array_equal(before[group], after[group]) for group in before)


def test_buffers_come_back_with_their_integer_counter() -> None:
    source, target = Small(), Small()
    source(torch.randn(2, 3, 5, 5))
    load_buffers(target, read_buffers(source))
    assert int(target.encoder[1].num_batches_tracked) == 1  # type: ignore[arg-type]
    assert torch.equal(target.encoder[1].running_mean, source.encoder[1].running_mean)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=naming("sides")):
        load_buffers(target, {})


def test_optimiser_put_back_goes_on_exactly_as_if_never_left() -> None:
    straight = Small()
    optimiser = build_optimiser(straight, SETTINGS)
    step(straight, optimiser, 1)
    resumed = Small()
    load_groups(resumed, read_groups(straight, group_layouts(straight)))
    load_buffers(resumed, read_buffers(straight))
    other = build_optimiser(resumed, SETTINGS)
    load_optimiser(resumed, other, optimiser_arrays(straight, optimiser))
    step(straight, optimiser, 2)
    step(resumed, other, 2)
    for left, right in zip(straight.parameters(), resumed.parameters(), strict=True):
        assert torch.equal(left, right)


def test_optimiser_state_of_another_model_is_refused() -> None:
    model = Small()
    optimiser = build_optimiser(model, SETTINGS)
    step(model, optimiser, 1)
    arrays = optimiser_arrays(model, optimiser)
    with pytest.raises(ValueError, match=naming("parameter")):
        load_optimiser(model, optimiser, {**arrays, "step/encoder.9.weight": np.array(1.0)})
    with pytest.raises(ValueError, match="incomplete"):
        load_optimiser(model, optimiser, {key: value for key, value in arrays.items() if not key.startswith("step/")})
    with pytest.raises(ValueError, match=naming("shape")):
        load_optimiser(model, optimiser, {**arrays, "exp_avg/encoder.0.bias": np.zeros(9)})


def test_weight_decay_is_decoupled_and_reaches_every_parameter() -> None:
    model = Small()
    decaying = LocalSettings(total_rounds=1, encoder_learning_rate=0.1, decoder_learning_rate=0.2, weight_decay=0.5)
    optimiser = build_optimiser(model, decaying)
    set_rates(optimiser, decaying, 0.5)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    for name, parameter in model.named_parameters():
        rate = 0.05 if name.startswith("encoder") else 0.1
        torch.testing.assert_close(parameter.detach(), before[name] * (1 - rate * 0.5))
