"""The learned weights' SGD against torch, and the rules at the bounds."""

import numpy as np
import pytest
import torch

from fmtl_strategies.maths.fedhca2_settings import FedHCA2Parameters
from fmtl_strategies.maths.hyper_weights import HyperWeights, step_weights


def test_clamped_steps_equal_torch_sgd_through_a_clamp() -> None:
    parameter = torch.nn.Parameter(torch.tensor([0.1, 0.9, 0.5], dtype=torch.float64))
    optimiser = torch.optim.SGD([parameter], lr=0.01, momentum=0.9, weight_decay=1e-4)
    weights = HyperWeights().with_rows(["a"], 0.1, 3)
    weights = HyperWeights({"a": np.array([0.1, 0.9, 0.5])}, {})
    for product in np.random.default_rng(0).normal(1.0, 4.0, (12, 3)):
        optimiser.zero_grad()
        (-(torch.clamp(parameter, 0, 1) * torch.from_numpy(product)).sum()).backward()
        optimiser.step()
        weights = step_weights(weights, {"a": product}, FedHCA2Parameters())
        np.testing.assert_allclose(weights.values["a"], parameter.detach().numpy(), rtol=1e-12)
    assert (weights.values["a"] > 1).any()


def test_projected_weights_leave_the_bound_when_the_gradient_turns() -> None:
    settings = FedHCA2Parameters(mode="stable")
    weights = HyperWeights().with_rows(["a"], 1.0, 1)
    weights = step_weights(weights, {"a": np.array([5.0])}, settings)
    assert weights.values["a"][0] == 1.0
    for _ in range(3):
        weights = step_weights(weights, {"a": np.array([-5.0])}, settings)
    assert 0 <= weights.values["a"][0] < 1


def test_clamped_weights_at_the_bound_get_no_gradient() -> None:
    weights = HyperWeights().with_rows(["a"], 1.0, 1)
    stepped = step_weights(weights, {"a": np.array([-5.0])}, FedHCA2Parameters(weight_decay=0.0))
    assert stepped.values["a"][0] == 1.0


def test_rows_without_product_keep_value_and_momentum() -> None:
    weights = step_weights(
        HyperWeights().with_rows(["a", "b"], 0.1, 1), {"a": np.ones(1), "b": np.ones(1)}, FedHCA2Parameters()
    )
    later = step_weights(weights, {"a": np.ones(1)}, FedHCA2Parameters())
    assert later.values["b"] == weights.values["b"]
    assert later.momenta["b"] == weights.momenta["b"]
    assert later.values["a"] > weights.values["a"]


def test_product_that_is_not_finite_raises_with_the_row() -> None:
    with pytest.raises(ValueError, match="'a'"):
        step_weights(HyperWeights().with_rows(["a"], 0.1, 1), {"a": np.array([np.nan])}, FedHCA2Parameters())
