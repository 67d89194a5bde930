"""MaT-FL: encoders averaged inside dynamic groups of clients (Cai et al. 2023; methods.md 1.7)."""

from typing import Literal

import numpy as np

from fmtl_strategies.maths.combine import group_mean_coefficients, mix_rows
from fmtl_strategies.maths.deviations import deviation_gram
from fmtl_strategies.maths.gram import cosine_matrix
from fmtl_strategies.maths.grouping import hard_groups, soft_scores
from fmtl_strategies.maths.rows import Float64Array
from fmtl_strategies.parameters import StrategyParameters, parameter
from fmtl_strategies.round.base import PersonalizedStrategy
from fmtl_strategies.round.store import PoolRound


class MaTFLParameters(StrategyParameters):
    """Hyper-parameters of MaT-FL."""

    grouping: Literal["hard", "soft"] = parameter(
        "hard",
        "`hard`: means inside clusters; `soft`: every client its own mixture, by similarity",
        "FMTL-Bench's code; which one the paper's table used is unknown",
    )
    groups: int = parameter(2, "number of clusters of `hard`", "the authors' code", ge=1)
    threshold: float = parameter(
        0.0,
        "added to the cosine in `soft`: shares are max(cosine + threshold, 0)",
        "the authors' function has 0, their command line no default",
        ge=-0.99,
        le=1e3,
    )


class MaTFL(PersonalizedStrategy[MaTFLParameters]):
    """Every round, clients are grouped by how their trained encoders deviate from the mean of all, then mixed.

    Cai, Chen, Liu, Srinivasa, Lee, Kompella, Wang: Many-Task Federated Learning: A New Problem Setting and A Simple
    Baseline, CVPR Workshops 2023; code github.com/VITA-Group/MaT-FL. With trained encoders w_j = theta_j + Delta_j and
    delta_i = w_i - mean_j w_j (deviations of weights, as in the code, though the abstract says updates):

    - `hard`: agglomerative clustering of the delta_i, cosine affinity, average linkage, `groups` clusters (default 2);
      theta_i <- mean of w_j over i's cluster.
    - `soft`: s_ij = max(cos(delta_i, delta_j) + threshold, 0), rows divided by their sum; theta_i <- sum_j s_ij w_j.

    Decoders and heads stay on the client. Deviations: clients train as the run config says (the code: a new Adam
    every round); encoders are grouped within one architecture; batch-norm statistics stay on the client (the code
    compares and mixes those of the encoder like weights); cosines are exact at every length (in `soft` the code
    divides by at least 1e-8, which makes them smaller between deviations shorter than 1e-4). No row of `soft` sums to
    zero, as `threshold` is at least -0.99 and a client's cosine with itself is 1. The code's other ways to aggregate
    (such as `rws`, for fixed numbers of clients) are left out. Where the code has no answer:
    all encoders equal (every deviation zero): nothing to group, all keep what they have; no more clients than
    `groups`: each is its own group; one client exactly at the mean: cosine 0 with everybody else.

    Partial participation (undefined in the paper): those who answered are grouped among themselves. An absent client
    keeps its encoder, since its group is unknown; a client that vanished changes the mean only from the round it is
    missing in; a new one starts from the mean encoder and is grouped like all others.
    """

    name = "mat-fl"
    summary_line = "mean of encoders inside clusters found every round, or a mixture by similarity"
    shared_kinds = ("encoder",)

    def aggregate_pool(self, pool: PoolRound, server_round: int) -> dict[str, float]:
        """Give every row the mixture of trained encoders that its group, or its similarities, ask for."""
        gram_nn = deviation_gram(pool.parameters_nd, pool.updates_nd)
        np.add(pool.parameters_nd, pool.updates_nd, out=pool.parameters_nd)
        if not np.diag(gram_nn).any():
            return {}
        clients = [key.client for key in pool.rows]
        mixing_nn, found = self._mixing(cosine_matrix(gram_nn), clients)
        mix_rows(pool.parameters_nd, mixing_nn)
        return found

    def _mixing(self, cosines_nn: Float64Array, clients: list[str]) -> tuple[Float64Array, dict[str, float]]:
        """Return the (N, N) mixing coefficients and the numbers worth recording."""
        parameters = self.parameters
        if parameters.grouping == "hard":
            groups = hard_groups(cosines_nn, parameters.groups)
            found = {f"{client}/group": float(group) for client, group in zip(clients, groups, strict=True)}
            return group_mean_coefficients([str(group) for group in groups]), found
        scores_nn = soft_scores(cosines_nn, parameters.threshold)
        return scores_nn, {f"{client}/own-share": float(scores_nn[i, i]) for i, client in enumerate(clients)}
