"""All kinds of bad replies over the wire; test_closed_doors has one of a kind."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from bad_replies import NAMED
from federation import Federation, assert_set_aside, plan_bad_replies

pytestmark = pytest.mark.long

KINDS = tuple(NAMED)
PAIRS = [KINDS[i : i + 2] for i in range(0, len(KINDS), 2)]


@pytest.fixture(scope="module")
def history(running: Federation) -> list[dict[str, Any]]:
    """A run in which two of three clients send something bad in every round but the first."""
    plan_bad_replies(running, PAIRS)
    rounds = len(PAIRS) + 1
    assert running.run("spoiled", num_server_rounds=rounds, quorum=0.3, evaluate_every=rounds)["status"] == "completed"
    return running.history("spoiled")


def test_every_bad_reply_is_set_aside_and_named(history: list[dict[str, Any]]) -> None:
    for line, pair in zip(history[1:], PAIRS, strict=False):
        assert_set_aside(line, pair)


def test_models_stay_finite(running: Federation, history: list[dict[str, Any]]) -> None:
    for name, array in running.arrays("spoiled", len(PAIRS) + 1).items():
        assert np.isfinite(array).all(), name
