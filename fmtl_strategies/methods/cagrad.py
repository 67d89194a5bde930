"""CAGrad on client updates (Liu et al., NeurIPS 2021, arXiv 2110.14048; methods.md 1.10, 6.3)."""

from collections.abc import Sequence
from typing import Literal

from fmtl_strategies.building_blocks.common_update import DecoderScope, combine_within_tasks, kinds_in_scope
from fmtl_strategies.contract.groups import GroupKind
from fmtl_strategies.maths.conflict_averse import aggregate_coefficients, solve_conflict_averse
from fmtl_strategies.maths.rows import Float64Array
from fmtl_strategies.parameters import StrategyParameters, parameter
from fmtl_strategies.round.base import PersonalizedStrategy
from fmtl_strategies.round.store import PoolRound


class CAGradParameters(StrategyParameters):
    """Hyper-parameters of CAGrad."""

    c: float = parameter(
        0.4,
        "radius of the search around the mean update, in lengths of the mean; 0: the mean",
        "authors' NYUv2 script, FMTL-Bench",
        ge=0,
        lt=1,
    )
    rescale: Literal["none", "one-plus-c-squared", "one-plus-c"] = parameter(
        "one-plus-c-squared",
        "the result is divided by 1 (`none`, as the paper's equations), 1 + c^2, or 1 + c",
        "the authors' code (its rescale = 1) and FMTL-Bench",
    )
    decoder_scope: DecoderScope = parameter(
        "none",
        "`none`: decoders stay; `same-task`: the same rule among the decoders of one task",
        "FMTL-Bench runs both (its rows with and without `-E`); same-task instead of whole models is ours",
    )

    def divisor(self) -> float:
        """Return what the combined update is divided by."""
        return {"none": 1.0, "one-plus-c-squared": 1.0 + self.c**2, "one-plus-c": 1.0 + self.c}[self.rescale]


class CAGrad(PersonalizedStrategy[CAGradParameters]):
    """Among the updates near the mean, the one that serves the worst-off client best; one common encoder.

    g = mean_i(Delta_i). Maximise over d with |d - g| <= c |g| the smallest <Delta_i, d>. By duality d = g +
    c |g| / |g_w| g_w, where g_w = sum_i w_i Delta_i and w minimises <g_w, g> + c |g| |g_w| over the simplex.
    Everybody gets mean_i(theta_i) + d / divisor, with the divisor that `rescale` names.

    The paper combines gradients of one step; here, as in FMTL-Bench, the updates of a round of local training take
    their place. Default c = 0.4 is that of the authors' script for NYUv2, and FMTL-Bench's. Deviations: the authors'
    code and FMTL-Bench solve for w with absolute tolerances, which returns nearly uniform weights for short updates;
    here the solve is exact at every length (optimality gap at most 1e-7, recorded as `solve-gap`). Where clients hold
    different encoders (the first round), the common one starts from their mean.

    Partial participation: the clients that answered are combined among themselves; the absent get the same model next
    time, and so does a client that vanished and returns; a new client starts from the common model.
    """

    name = "cagrad"
    summary_line = "near the mean of encoder updates, the direction that serves the worst-off best"
    shared_kinds = ("encoder", "decoders")

    def exchanged_kinds(self) -> tuple[GroupKind, ...]:
        """Return encoders, and decoders where `decoder-scope` says so."""
        return kinds_in_scope(self.parameters.decoder_scope)

    def aggregate_pool(self, pool: PoolRound, server_round: int) -> dict[str, float]:
        """Write the mean of the parameters plus the conflict-averse update to every row of a group."""
        parameters = self.parameters

        def solve(members: Sequence[int], gram_mm: Float64Array) -> tuple[Float64Array, dict[str, float]]:
            """Return the (M,) coefficients of the combined update of a group, and what is worth recording."""
            solution = solve_conflict_averse(gram_mm, parameters.c, method="exact")
            coefficients_m = aggregate_coefficients(solution, parameters.c, rescale=parameters.divisor())
            found = {"solve-gap": float(solution.gap)}
            for row, weight in zip(members, solution.weights, strict=True):
                found[f"{pool.rows[row].client}/conflict-weight"] = float(weight)
            return coefficients_m, found

        return combine_within_tasks(pool, solve)
