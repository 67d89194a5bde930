"""The aggregation benchmark runs on a small problem, and its restated procedure is the one being compared."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from fmtl_strategies.maths.fedhca2 import EncoderState, encoder_round
from fmtl_strategies.maths.fedhca2_settings import FedHCA2Parameters


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    path = Path(__file__).resolve().parents[2] / "benchmarks" / "aggregation.py"
    spec = importlib.util.spec_from_file_location("aggregation", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["aggregation"] = module
    spec.loader.exec_module(module)
    return module


def test_restated_procedure_gives_the_result_of_the_reference_mode(benchmark: ModuleType) -> None:
    generator = np.random.default_rng(0)
    before = generator.standard_normal((4, 600), dtype=np.float32)
    updates = np.float32(0.1) * generator.standard_normal((4, 600), dtype=np.float32)
    tensors = [[list(torch.split(torch.from_numpy(row), 250)) for row in matrix] for matrix in (before, updates)]
    expected = np.stack([torch.cat(client).numpy() for client in benchmark.published_step(*tensors)])
    parameters = before.copy()
    encoder_round(parameters, updates, EncoderState(), FedHCA2Parameters(), row_keys=list("abcd"))
    np.testing.assert_allclose(parameters, expected, rtol=1e-5, atol=1e-5)


def test_solve_gap_of_the_benchmark_reaches_its_target(benchmark: ModuleType) -> None:
    assert benchmark.worst_gap(6) <= 1e-7


def test_times_are_measured_for_every_pass(benchmark: ModuleType) -> None:
    seconds = benchmark.measure_times(2, 50_000, 2)
    assert set(seconds) == {"memcpy", "gram", "solve", "combine", "step"}
    assert all(len(values) == 2 and min(values) > 0 for values in seconds.values())
