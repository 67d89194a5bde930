"""Conflict-averse combination of client updates (FedHCA2 Eq. 6-9, after CAGrad), from their Gram matrix alone.

Minimise over the simplex  F(w) = <D w, g> + c |g| |D w|,  with D = [update_1 ... update_N] and g their mean.
The aggregate is (g + lambda g_w) / (1 + c^2) with g_w = D w and lambda = c |g| / |g_w|.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np

from fmtl_strategies.maths.rows import Float64Array, check_gram

Method = Literal["reference", "exact"]

REFERENCE_EPSILON = 1e-8
# The barrier weight falls from 1e-1 to at most 1e-11, until the certified gap suffices: smaller barriers only add
# rounding noise. Every stage is centred to the given squared Newton decrement.
SUFFICIENT_GAP = 1e-8
LAST_EXPONENT = 11
CENTRED = 1e-6
MAX_NEWTON_STEPS = 25
# Eigenvalues of the Gram matrix below this share of the largest are float64 rounding.
RELATIVE_RANK = 1e-13
# Mean update shorter than this, relative to the updates' root mean square length, is rounding noise.
NEGLIGIBLE_MEAN = 1e-9


@dataclass(frozen=True)
class ConflictAverseSolution:
    """Minimiser of the conflict-averse problem.

    weights: (N,) float64, >= 0, sum 1.
    mean_norm: |g|, norm of the mean update.
    weighted_norm: the norm that divides in lambda: |g_w| (plus the reference's 1e-8, or the barrier's offset).
    gap: upper bound of F(weights) - min F, in units of the mean squared update norm trace(G)/N.
    """

    weights: Float64Array
    mean_norm: float
    weighted_norm: float
    gap: float


def solve_conflict_averse(gram_nn: Float64Array, c: float, *, method: Method) -> ConflictAverseSolution:
    """Find the conflict-averse weights.

    "reference" repeats the published procedure: scipy's SLSQP from uniform weights, numerical gradient, default
    absolute tolerance, 1e-8 under both roots. It returns nearly uniform weights for updates shorter than about 0.1.
    "exact" is a barrier method on the problem divided by trace(G)/N: same weights at every scale of the updates,
    and a bound of the optimality gap from duality.

    Args:
        gram_nn: (N, N) float64 Gram matrix of the updates.
        c: radius of the search region relative to |g|, >= 0; the paper uses [0, 1].
        method: "reference" or "exact".

    Returns:
        Weights and diagnostics; the gap is a bound for both methods.

    Raises:
        ValueError: Gram matrix not square or not finite.
    """
    solve = _solve_reference if method == "reference" else _solve_exact
    return solve(check_gram(gram_nn), c)


def aggregate_coefficients(solution: ConflictAverseSolution, c: float, *, rescale: float) -> Float64Array:
    """Coefficients (N,) of the aggregate (g + lambda g_w) / rescale on the N updates.

    Args:
        solution: result of `solve_conflict_averse` for the same c.
        c: radius of the search region.
        rescale: divisor; 1 + c^2 in the authors' code, 1 in the paper's equations.
    """
    count = solution.weights.size
    ratio = c * solution.mean_norm / solution.weighted_norm if solution.weighted_norm > 0 else 0.0
    coefficients: Float64Array = (1.0 / count + ratio * solution.weights) / rescale
    return coefficients


def _solve_reference(gram: Float64Array, c: float) -> ConflictAverseSolution:
    count = gram.shape[0]
    start = np.full(count, 1.0 / count)
    mean_norm = math.sqrt(float(gram.mean()) + REFERENCE_EPSILON)

    def objective(w: Float64Array) -> float:
        quadratic = max(float(w @ gram @ w), 0.0)
        return float(w @ gram @ start) + c * mean_norm * math.sqrt(quadratic + REFERENCE_EPSILON)

    constraint = {"type": "eq", "fun": lambda w: 1.0 - w.sum()}
    from scipy.optimize import minimize  # a second of import that no other method needs

    found = minimize(objective, start, bounds=[(0.0, 1.0)] * count, constraints=constraint)
    weights = np.asarray(found.x, dtype=np.float64)
    weighted_norm = math.sqrt(max(float(weights @ gram @ weights), 0.0))
    return ConflictAverseSolution(
        weights, mean_norm, weighted_norm + REFERENCE_EPSILON, _gap(_factor(gram), weights, c, weighted_norm)
    )


def _solve_exact(gram: Float64Array, c: float) -> ConflictAverseSolution:
    count = gram.shape[0]
    uniform = np.full(count, 1.0 / count)
    scale = float(np.trace(gram)) / count
    if scale <= 0:
        return ConflictAverseSolution(uniform, 0.0, 0.0, 0.0)
    factor = _factor(gram / scale)
    mean = factor.mean(axis=1)
    root, mean_norm = math.sqrt(scale), float(np.linalg.norm(mean))
    if mean_norm <= NEGLIGIBLE_MEAN or count == 1:
        gap = 0.0 if count == 1 else 2 * (1 + c) * mean_norm * math.sqrt(count)
        return ConflictAverseSolution(uniform, mean_norm * root, mean_norm * root, gap)
    if c == 0:
        linear = factor.T @ mean / mean_norm
        weights = np.isclose(linear, linear.min(), rtol=0, atol=1e-12).astype(np.float64)
        weights /= weights.sum()
        norm = float(np.linalg.norm(factor @ weights))
    else:
        weights, norm = _follow_central_path(factor, mean / mean_norm, c)
    return ConflictAverseSolution(weights, mean_norm * root, norm * root, _gap(factor, weights, c, norm))


def _factor(gram: Float64Array) -> Float64Array:
    """(R, N) matrix F with F^T F = gram, eigenvalues at rounding level dropped.

    |D w| is computed as |F w|: the quadratic form w @ gram @ w would lose it to cancellation when updates oppose
    each other, and negative eigenvalues left by rounding would make the problem non-convex.
    """
    values, vectors = np.linalg.eigh((gram + gram.T) / 2)
    kept = values > RELATIVE_RANK * max(float(values[-1]), 0.0)
    factor: Float64Array = np.sqrt(values[kept])[:, None] * vectors[:, kept].T
    return factor


def _follow_central_path(factor: Float64Array, mean: Float64Array, c: float) -> tuple[Float64Array, float]:
    """Minimise mean @ F w + c |F w| over the simplex with a barrier method; `mean` has length 1.

    |F w| is written as the smallest s with |F w| <= s; for barrier weight m the best s is known in closed
    form, e + sqrt(e^2 + |F w|^2) with e = m / c, which leaves a smooth problem in w. Returns w and s; s stays
    above |F w|, so F w / s is a dual feasible direction even where |F w| = 0.
    """
    weights = np.full(factor.shape[1], 1.0 / factor.shape[1])
    best, smallest_gap = (weights, 1.0), math.inf
    for exponent in range(1, LAST_EXPONENT + 1):
        barrier = 10.0**-exponent
        for _ in range(MAX_NEWTON_STEPS):
            weights, decrement = _newton_step(factor, mean, c, weights, barrier)
            if decrement < CENTRED:
                break
        offset = barrier / c
        norm = offset + math.hypot(offset, float(np.linalg.norm(factor @ weights)))
        gap = _gap(factor, weights, c, norm)
        # Where |F w| is nearly 0 the last barriers can lie below rounding, so the best certified point is kept.
        if gap < smallest_gap:
            best, smallest_gap = (weights, norm), gap
        if gap <= SUFFICIENT_GAP:
            break
    return best


def _newton_step(
    factor: Float64Array, mean: Float64Array, c: float, weights: Float64Array, barrier: float
) -> tuple[Float64Array, float]:
    """One damped Newton step on the simplex; returns the weights and the squared Newton decrement.

    The Hessian in relative steps is S^T K S + barrier I with S = F diag(w), its gradient S^T r - barrier. Written
    as a least-squares problem its condition is the square root of the Hessian's, which near |F w| = 0 exceeds
    what float64 can hold.
    """
    count, offset = weights.size, barrier / c
    combined = factor @ weights
    length = float(np.linalg.norm(combined))
    root = math.hypot(offset, length)
    norm = offset + root
    unit = combined / length if length > 0 else combined
    scaled, residual = factor * weights, mean + c / norm * combined
    # K = c/norm (I - (1 - offset/root) unit unit^T), so both roots of K are known in closed form.
    bent = scaled - (1 - math.sqrt(offset / root)) * np.outer(unit, unit @ scaled)
    stretched = residual + (math.sqrt(root / offset) - 1) * (unit @ residual) * unit
    matrix = np.concatenate([math.sqrt(c / norm) * bent, math.sqrt(barrier) * np.eye(count)])
    target = np.concatenate([-math.sqrt(norm / c) * stretched, np.full(count, math.sqrt(barrier))])
    tangent = np.linalg.qr(weights[:, None], mode="complete")[0][:, 1:]
    step = tangent @ np.linalg.lstsq(matrix @ tangent, target, rcond=None)[0]
    decrement = float(np.sum((matrix @ step) ** 2)) / barrier
    # Damped steps of a self-concordant function stay inside and always descend.
    pace = 1.0 / (1.0 + math.sqrt(decrement)) if decrement > 0.0625 else 1.0
    moved = weights * np.maximum(1.0 + pace * step, 0.01)
    return moved / moved.sum(), decrement


def _gap(factor: Float64Array, weights: Float64Array, c: float, norm: float) -> float:
    """Bound F(weights) - min F by duality, in units of trace(gram)/N.

    Every z with |z| <= 1 gives min F >= min_i <update_i, g + c |g| z>; z = D w / norm is used.
    """
    scale = float((factor**2).sum()) / weights.size
    if scale <= 0:
        return 0.0
    mean, combined = factor.mean(axis=1), factor @ weights
    reach, length = c * float(np.linalg.norm(mean)), float(np.linalg.norm(combined))
    direction = combined / max(norm, length) if length > 0 else np.zeros_like(combined)
    value = float(mean @ combined) + reach * length
    bound = float((factor.T @ (mean + reach * direction)).min())
    return max(value - bound, 0.0) / scale
