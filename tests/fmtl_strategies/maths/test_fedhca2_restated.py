"""FedHCA2 over several rounds against the equations in plain float64, also in modes without golden vectors."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize

from fmtl_strategies.maths.fedhca2 import DecoderState, EncoderState, decoder_round, encoder_round
from fmtl_strategies.maths.fedhca2_settings import FedHCA2Parameters, Mode
from fmtl_strategies.maths.segments import Segments

ROUNDS = 4
NAMES = ["a", "b", "c", "d"]
SEGMENTS = Segments.of([("linears.0.weight", 6), ("linears.0.bias", 2), ("fuse.weight", 5)])
LAYER = [0] * 8 + [1] * 5
SPANS = {"array": [(0, 6), (6, 8), (8, 13)], "layer": [(0, 8), (8, 13)]}


class Weights:
    """alpha or beta as torch's SGD would learn them: momentum 0.9, rate 0.01, decay 1e-4, and a clamp or projection."""

    def __init__(self, shape: tuple[int, ...], project: bool) -> None:
        self.values, self.momentum, self.project = np.full(shape, 0.1), np.zeros(shape), project

    def step(self, products: np.ndarray) -> None:
        inside = (self.values > 0) & (self.values < 1)
        gradient = -products if self.project else np.where(inside, -products, 0.0)
        self.momentum = 0.9 * self.momentum + gradient + 1e-4 * self.values
        self.values = self.values - 0.01 * self.momentum
        if self.project:
            self.values = np.clip(self.values, 0.0, 1.0)


def common_direction(updates: np.ndarray, c: float) -> np.ndarray:
    """Eq. 7-9 by a general solver, with updates of length about 1: g + c |g| / |g_w| g_w."""
    mean = updates.mean(axis=0)

    def objective(w: np.ndarray) -> float:
        return float(w @ updates @ mean + c * np.linalg.norm(mean) * np.linalg.norm(w @ updates))

    count = len(updates)
    found = minimize(
        objective,
        np.full(count, 1 / count),
        bounds=[(0, 1)] * count,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1},
        options={"ftol": 1e-14, "maxiter": 500},
    )
    weighted = found.x @ updates
    return np.asarray(mean + c * np.linalg.norm(mean) / np.linalg.norm(weighted) * weighted)


@pytest.mark.parametrize("mode", ["reference", "paper", "stable"])
def test_encoders_of_four_rounds_are_those_of_the_equations(mode: Mode) -> None:
    generator, size = np.random.default_rng(3), 40
    parameters = generator.standard_normal((4, size)).astype(np.float32)
    expected, state = parameters.astype(np.float64), EncoderState()
    alpha, last = Weights((4,), project=mode == "stable"), np.zeros(0)
    for _ in range(ROUNDS):
        updates = (0.3 * generator.standard_normal((4, size)) + 0.1).astype(np.float32)
        exact = updates.astype(np.float64)
        if last.size:
            alpha.step(exact @ last)
        last = common_direction(exact, 0.4) / (1.0 if mode == "paper" else 1.16)
        expected += exact + np.clip(alpha.values, 0, 1)[:, None] * last
        state, report = encoder_round(parameters, updates, state, FedHCA2Parameters(mode=mode), row_keys=NAMES)
        assert report is not None
        np.testing.assert_allclose(report.alpha, np.clip(alpha.values, 0, 1), rtol=0, atol=2e-4)
        np.testing.assert_allclose(parameters, expected, rtol=0, atol=2e-3)
        lengths = np.clip(alpha.values, 0, 1) * np.linalg.norm(last) / np.linalg.norm(exact, axis=1)
        np.testing.assert_allclose(report.step_ratio, lengths, rtol=5e-3)
    assert alpha.values.max() > 0.15


@pytest.mark.parametrize("mode", ["reference", "paper", "stable"])
def test_decoders_of_four_rounds_are_those_of_the_equations(mode: Mode) -> None:
    generator, size = np.random.default_rng(4), SEGMENTS.size
    parameters = generator.standard_normal((4, size)).astype(np.float32)
    expected, state = parameters.astype(np.float64), DecoderState()
    beta, last = Weights((4, 2), project=mode == "stable"), np.zeros(0)
    for _ in range(ROUNDS):
        updates = (0.5 * generator.standard_normal((4, size)) + 0.3).astype(np.float32)
        exact = updates.astype(np.float64)
        if last.size:
            products = np.zeros((4, 2))
            for column, layer in enumerate(LAYER):
                products[:, layer] += last[:, column] * exact[:, column]
            beta.step(products)
        last = np.zeros_like(exact)
        for start, stop in SPANS["layer" if mode == "paper" else "array"]:
            part = exact[:, start:stop]
            for k in range(4):
                scores = [math.exp(float(part[k] @ other) / math.sqrt(stop - start)) for other in part]
                last[k, start:stop] = sum(s / sum(scores) * other for s, other in zip(scores, part, strict=True))
        expected += exact + np.clip(beta.values, 0, 1)[:, LAYER] * last
        state, report = decoder_round(
            parameters, updates, state, FedHCA2Parameters(mode=mode), row_keys=NAMES, segments=SEGMENTS
        )
        assert report is not None
        np.testing.assert_allclose(report.beta, np.clip(beta.values, 0, 1), rtol=1e-5)
        np.testing.assert_allclose(parameters, expected, rtol=1e-5, atol=1e-5)
