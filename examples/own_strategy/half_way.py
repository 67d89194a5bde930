"""Half way: every client's encoder moves by its own update and by the mean update of all, in a share of your choice."""

from __future__ import annotations

import numpy as np

import fmtl


class HalfWayParameters(fmtl.StrategyParameters):
    """The share of one's own update: 1 trains alone, 0 is a plain mean of the updates."""

    own_share: float = fmtl.parameter(0.5, "share of one's own update", "ours", ge=0, le=1)


def half_way_weights(clients: int, own_share: float) -> np.ndarray:
    """Return the (N, N) float32 weights of N clients' updates; every row sums to one."""
    weights_nn = np.full((clients, clients), (1.0 - own_share) / clients, dtype=np.float32)
    weights_nn[np.diag_indices(clients)] += own_share
    return weights_nn


class HalfWay(fmtl.Strategy[HalfWayParameters]):
    """theta_i <- theta_i + s Delta_i + (1 - s) mean_j Delta_j for encoders; decoders and heads stay on the client.

    Partial participation: the clients that answered are averaged; the others keep their row.
    """

    name = "half-way"
    summary_line = "own encoder update and the mean of all, in a share of your choice"
    shared_kinds = ("encoder",)

    def aggregate_pool(self, pool: fmtl.Pool, server_round: int) -> dict[str, float]:
        """Write what every client gets next into the pool's rows; what is returned goes into the history."""
        weights_nn = half_way_weights(len(pool.rows), self.parameters.own_share)
        fmtl.add_combination(pool.parameters_nd, pool.updates_nd, weights_nn)
        norms_n = np.linalg.norm(pool.updates_nd, axis=1)
        return {f"{key.client}/update-norm": float(norm) for key, norm in zip(pool.rows, norms_n, strict=True)}
