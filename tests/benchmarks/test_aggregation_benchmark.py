"""The aggregation benchmark runs on a small problem, and its restated procedure is the one being compared."""

import numpy as np
import torch

from benchmarks import aggregation
from fmtl_strategies.maths.fedhca2 import EncoderState, encoder_round
from fmtl_strategies.maths.fedhca2_settings import FedHCA2Parameters


def test_restated_procedure_gives_the_result_of_the_reference_mode() -> None:
    generator = np.random.default_rng(0)
    before = generator.standard_normal((4, 600), dtype=np.float32)
    updates = np.float32(0.1) * generator.standard_normal((4, 600), dtype=np.float32)
    tensors = [[list(torch.split(torch.from_numpy(row), 250)) for row in matrix] for matrix in (before, updates)]
    expected = np.stack([torch.cat(client).numpy() for client in aggregation.published_step(*tensors)])
    parameters = before.copy()
    encoder_round(parameters, updates, EncoderState(), FedHCA2Parameters(), row_keys=list("abcd"))
    np.testing.assert_allclose(parameters, expected, rtol=1e-5, atol=1e-5)


def test_solve_gap_of_the_benchmark_reaches_its_target() -> None:
    assert aggregation.worst_gap(6) <= 1e-7


def test_times_are_measured_for_every_pass() -> None:
    seconds = aggregation.measure_times(2, 50_000, 2)
    assert set(seconds) == {"memcpy", "gram", "solve", "combine", "step"}
    assert all(len(values) == 2 and min(values) > 0 for values in seconds.values())
