"""FedBone's gradient aggregation on client updates (Chen et al. 2023, arXiv 2306.17465; methods.md 1.9)."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fmtl_strategies.building_blocks.averaging import Weighting, mixing_matrix
from fmtl_strategies.building_blocks.common_update import conflict_diagnostics, send_common_models
from fmtl_strategies.contract.layout import FloatArray
from fmtl_strategies.maths.common_model import CommonModel
from fmtl_strategies.maths.gradient_surgery import history_factors, rescaled_projection
from fmtl_strategies.maths.gram import gram_matrix
from fmtl_strategies.parameters import StrategyParameters, parameter
from fmtl_strategies.round.base import PersonalizedStrategy, StateArrays
from fmtl_strategies.round.store import PoolRound
from fmtl_strategies.settings import RunConfig


class FedBoneParameters(StrategyParameters):
    """Hyper-parameters of FedBone."""

    history: bool = parameter(
        True,
        "rescale each update by how well it agrees with the last combined update; false: only project",
        "paper; its exact form is not known, N softmax over clients is from gabriel1ns/FedBone-clustered-robotics",
    )
    weighting: Weighting = parameter(
        "uniform",
        "weights of the mean: `uniform` over clients, or by number of training `examples`",
        "ours; the re-implementation allows both",
    )


class FedBone(PersonalizedStrategy[FedBoneParameters]):
    """Updates rescaled by their agreement with the last combined one, projected where they conflict, averaged.

    GPAggregation with g_i = -Delta_i (both signs cancel) and h the last combined update of this encoder architecture:
    a_i = N softmax_i(cos(Delta_i, h)), 1 where there is no h yet; s_i = a_i Delta_i; for the other clients j in the
    order of their names, where <s_i, s_j> < 0: s_i <- s_i - <s_i, s_j> / |s_j|^2 s_j with s_j as it was before any
    projection. U = sum_i p_i s_i is the next h, and everybody gets sum_i p_i theta_i + U.

    Deviations: FedBone is split learning (the encoder lives on the server and gets a gradient at every step); here
    whole clients train, and their updates of a round take the place of gradients, as in FedHCA2's adaptation. Its
    task adaptation module and patch embedding on the client have no counterpart. There is no code of the authors, and
    the exact form of the attention is not known. The one used here, and the projection in index order on scaled
    updates, are those of a public re-implementation, github.com/gabriel1ns/FedBone-clustered-robotics: up to
    March 2026 it took the softmax over each client's own single score, which is always 1; since July 2026
    (commit 8e0aa19) it takes it over clients, times N.

    Partial participation: the clients that answered are combined among themselves and h is theirs; the absent get the
    same model next time, and so does a client that vanished and returns; a new client starts from the common model.
    """

    name = "fedbone"
    summary_line = "encoder updates scaled by agreement with the last round's, then projected; mean"
    shared_kinds = ("encoder",)

    def __init__(self, settings: RunConfig, parameters: FedBoneParameters | None = None) -> None:
        super().__init__(settings, parameters)
        self.history: dict[str, FloatArray] = {}

    def aggregate_pool(self, pool: PoolRound, server_round: int) -> dict[str, float]:
        """Write the mean of the parameters plus the combined update to every row, and remember the latter."""
        parameters = self.parameters
        count = len(pool.rows)
        last_d = self.history.get(pool.signature)
        extra = () if last_d is None or not parameters.history else (last_d,)
        gram = gram_matrix(pool.updates_nd, extra, known_nn=pool.gram_nn)
        gram_nn = gram[:count, :count]
        factors_n = np.ones(count) if len(gram) == count else history_factors(gram)
        weights_n = mixing_matrix(pool, [range(count)], parameters.weighting)[0]
        coefficients_n = weights_n @ rescaled_projection(gram_nn, factors_n)
        update_d = self.history.setdefault(pool.signature, np.empty(pool.layout.size, np.float32))
        send_common_models(pool, [CommonModel(range(count), weights_n, coefficients_n)], update_d)
        found = conflict_diagnostics(gram_nn, coefficients_n)
        for key, factor in zip(pool.rows, factors_n, strict=True):
            found[f"{key.client}/history-factor"] = float(factor)
        return pool.labelled(found)

    def method_state(self) -> tuple[StateArrays, dict[str, Any]]:
        """Return the last combined update of every encoder architecture."""
        return {f"history/{signature}": update_d for signature, update_d in self.history.items()}, {}

    def load_method_state(self, arrays: Mapping[str, npt.NDArray[np.generic]], values: Mapping[str, Any]) -> None:
        """Take back what `method_state` returned."""
        self.history = {
            name.removeprefix("history/"): np.array(array, dtype=np.float32) for name, array in arrays.items()
        }
