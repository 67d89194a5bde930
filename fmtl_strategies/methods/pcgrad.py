"""PCGrad on client updates (Yu et al., NeurIPS 2020, arXiv 2001.06782; methods.md 1.9, 6.3)."""

import zlib
from collections.abc import Sequence
from typing import Literal

import numpy as np

from fmtl_strategies.building_blocks.common_update import DecoderScope, combine_within_tasks, kinds_in_scope
from fmtl_strategies.contract.groups import GroupKind
from fmtl_strategies.maths.gradient_surgery import project_conflicts, shuffled_orders
from fmtl_strategies.maths.rows import Float64Array
from fmtl_strategies.parameters import StrategyParameters, parameter
from fmtl_strategies.round.base import PersonalizedStrategy
from fmtl_strategies.round.store import PoolRound


class PCGradParameters(StrategyParameters):
    """Hyper-parameters of PCGrad."""

    reduction: Literal["mean", "sum"] = parameter(
        "mean",
        "what becomes of the projected updates: their `mean` (FedAvg where nothing conflicts) or their `sum`",
        "ours for updates; the paper sums gradients, FMTL-Bench takes the mean",
    )
    decoder_scope: DecoderScope = parameter(
        "none",
        "`none`: decoders stay; `same-task`: the same rule among the decoders of one task",
        "FMTL-Bench runs both (its rows with and without `-E`); same-task instead of whole models is ours",
    )


class PCGrad(PersonalizedStrategy[PCGradParameters]):
    """Conflicting updates are projected on each other's normal planes, then averaged; one common encoder.

    For every client i, g_i = Delta_i; for the other clients j in random order, where <g_i, Delta_j> < 0:
    g_i <- g_i - <g_i, Delta_j> / |Delta_j|^2 Delta_j. Everybody gets mean_i(theta_i) + mean_i(g_i).

    The paper projects gradients of one step; here, as in FMTL-Bench, the updates of a round of local training take
    their place. Deviations: FMTL-Bench divides every update by its norm and so loses the step size (methods.md 1.9);
    here it is kept, the result scales with the updates. Orders are drawn from run seed and round, not from a global
    state. Where clients hold different encoders (the first round), the common one starts from their mean.

    Partial participation: the clients that answered are combined among themselves; the absent get the same model next
    time, and so does a client that vanished and returns; a new client starts from the common model.
    """

    name = "pcgrad"
    summary_line = "mean of encoder updates projected where they conflict (gradient surgery)"
    shared_kinds = ("encoder", "decoders")

    def exchanged_kinds(self) -> tuple[GroupKind, ...]:
        """Return encoders, and decoders where `decoder-scope` says so."""
        return kinds_in_scope(self.parameters.decoder_scope)

    def aggregate_pool(self, pool: PoolRound, server_round: int) -> dict[str, float]:
        """Write the mean of the parameters plus the mean (or sum) of the projected updates to every row of a group."""
        reduction = self.parameters.reduction

        def solve(members: Sequence[int], gram_mm: Float64Array) -> tuple[Float64Array, dict[str, float]]:
            """Return the (M,) coefficients of the combined update of a group, and what is worth recording."""
            purpose = zlib.crc32(f"pcgrad/{pool.signature}/{pool.rows[members[0]].task}".encode())
            generator = np.random.default_rng([self.settings.local.seed, server_round, purpose])
            projected_mm = project_conflicts(gram_mm, shuffled_orders(len(members), generator))
            share = 1.0 if reduction == "sum" else 1.0 / len(members)
            return projected_mm.sum(axis=0) * share, {}

        return combine_within_tasks(pool, solve)
