"""What methods with one common model per group and one combined update have in common: PCGrad, CAGrad, FedBone."""

import math
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from fmtl_strategies.building_blocks.averaging import followed_rows, rows_by_task
from fmtl_strategies.contract.groups import GroupKind
from fmtl_strategies.contract.layout import FloatArray
from fmtl_strategies.maths.common_model import CommonModel, write_common_model
from fmtl_strategies.maths.gradient_surgery import conflict_share
from fmtl_strategies.maths.gram import gram_matrix
from fmtl_strategies.maths.rows import Float64Array
from fmtl_strategies.round.store import PoolRound

DecoderScope = Literal["none", "same-task"]
Solve = Callable[[Sequence[int], Float64Array], tuple[Float64Array, dict[str, float]]]


def kinds_in_scope(scope: DecoderScope) -> tuple[GroupKind, ...]:
    """Return the kinds of groups that a strategy with this `decoder-scope` exchanges."""
    return ("encoder",) if scope == "none" else ("encoder", "decoders")


def combine_within_tasks(pool: PoolRound, solve: Solve) -> dict[str, float]:
    """Give all encoders of a pool one model, or all decoders of each task one model, in two passes.

    Args:
        pool: its `parameters_nd` is overwritten with the mean of the parameters plus the combined update.
        solve: from the M row numbers of a group and the (M, M) Gram matrix of their updates to the (M,) coefficients
            of the combined update, and numbers worth recording by name.

    Returns:
        What `solve` and `conflict_diagnostics` returned, by name; decoders' names start with their task, and all but
        those of a client with the pool's prefix.
    """
    gram_nn = gram_matrix(pool.updates_nd, known_nn=pool.gram_nn)
    models: list[CommonModel] = []
    found: dict[str, float] = {}
    for members in rows_by_task(pool):
        gram_mm = gram_nn[np.ix_(members, members)]
        coefficients_m, solved = solve(members, gram_mm)
        models.append(CommonModel(members, uniform_weights(len(members)), coefficients_m))
        task = pool.rows[members[0]].task
        prefix = "" if task is None else f"{task}/"
        recorded = conflict_diagnostics(gram_mm, coefficients_m) | solved
        found.update({f"{prefix}{name}": value for name, value in recorded.items()})
    send_common_models(pool, models)
    return pool.labelled(found)


def send_common_models(pool: PoolRound, models: Sequence[CommonModel], update_d: FloatArray | None = None) -> None:
    """Write the common model of every group to its rows; rows that were away follow, where it is clear which.

    Args:
        pool: its `parameters_nd` is overwritten.
        models: one per group; every row stands in exactly one.
        update_d: (D,) float32, overwritten with the combined update; only where there is one group.
    """
    for model in models:
        write_common_model(pool.parameters_nd, pool.updates_nd, model, update_d)
    pool.follow.update(followed_rows(pool, [model.members for model in models], by="task"))


def uniform_weights(count: int) -> Float64Array:
    """Return (N,) weights of the plain mean."""
    return np.full(count, 1.0 / count)


def conflict_diagnostics(gram_nn: Float64Array, coefficients_n: Float64Array) -> dict[str, float]:
    """Return what shows whether a combination of updates did more than a mean.

    Args:
        gram_nn: (N, N) float64 Gram matrix of the updates.
        coefficients_n: (N,) float64 coefficients of the combined update.

    Returns:
        `conflicting-pairs`, share of the pairs with a negative inner product; and, unless all updates are zero,
        `update-length`, norm of the combined update over the root mean square norm of the updates.
    """
    found = {"conflicting-pairs": conflict_share(gram_nn)}
    mean_square = float(np.trace(gram_nn)) / len(gram_nn)
    if mean_square > 0:
        square = float(coefficients_n @ gram_nn @ coefficients_n)
        found["update-length"] = math.sqrt(max(square, 0.0) / mean_square)
    return found
