"""The last look at what a round has made, before any of it is sent."""

from __future__ import annotations

import math

import numpy as np
import torch

from fmtl_strategies.contract.layout import FloatArray
from fmtl_strategies.maths.rows import as_tensor
from fmtl_strategies.round.store import PoolRound


class NonFiniteModelError(ArithmeticError):
    """A strategy has left NaN or infinite values in a model; the text names strategy, round and group."""


def require_finite(pool: PoolRound, strategy: str, server_round: int) -> None:
    """Refuse what a strategy has written to a pool if any row of it holds NaN or infinite values.

    Args:
        pool: after its aggregation.
        strategy: name of the strategy, for the error.
        server_round: number of the round, for the error.

    Raises:
        NonFiniteModelError: such a row.
    """
    for key, row in zip(pool.rows, pool.parameters_nd, strict=True):
        if not _is_finite(row):
            count = int(row.size - np.count_nonzero(np.isfinite(row)))
            raise NonFiniteModelError(
                f"round {server_round}: strategy {strategy} left NaN or infinite values in {count} of {row.size} "
                f"values of {key.group} of client {key.client}; nothing of this round was sent. Its parameters do not "
                f"suit these updates: `fmtl settings {strategy}` prints their ranges and defaults"
            )


def _is_finite(row: FloatArray) -> bool:
    tensor = as_tensor(row)
    # One pass without an array of its own; the sum of squares of large but finite values may overflow.
    if math.isfinite(float(torch.dot(tensor, tensor))):
        return True
    return bool(np.isfinite(row).all())
