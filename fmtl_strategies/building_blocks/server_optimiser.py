"""The mean update as the gradient of an optimiser on the server: shared by FedAdam, FedYogi, FedAdagrad, FedAvgM."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import TypeVar

from fmtl_strategies.building_blocks.averaging import MeanParameters, followed_rows, mixing_matrix, rows_by_task
from fmtl_strategies.contract.groups import GroupKind
from fmtl_strategies.maths.server_optimiser import OptimiserConstants, OptimiserState, optimiser_step
from fmtl_strategies.parameters import parameter
from fmtl_strategies.round.base import PersonalizedStrategy, StateArrays
from fmtl_strategies.round.store import PoolRound
from fmtl_strategies.settings import RunConfig

MeanT = TypeVar("MeanT", bound=MeanParameters, default=MeanParameters, covariant=True)
PAPER = "paper (section 5, all experiments)"
TAU = "size of sqrt(v) below which a step is no longer divided by it; v starts at its square"


def server_rate(default: float, origin: str) -> Any:
    """Return the declaration of the server's learning rate."""
    return parameter(default, "learning rate of the server", origin, ge=0, le=1e3)


class ServerOptimiserStrategy(PersonalizedStrategy[MeanT]):
    """One model and one optimiser state for every group of rows; a method says which optimiser.

    Attributes:
        optimisers: state by kind of group, layout and task (`all` for a group over all tasks).
    """

    shared_kinds = ("encoder", "decoders")

    def __init__(self, settings: RunConfig, parameters: MeanT | None = None) -> None:
        super().__init__(settings, parameters)
        self.optimisers: dict[str, OptimiserState] = {}

    @abstractmethod
    def constants(self) -> OptimiserConstants:
        """Return the constants of the optimiser."""

    def aggregate_pool(self, pool: PoolRound, server_round: int) -> dict[str, float]:
        """Write the stepped common model of its group to every row."""
        constants, together = self.constants(), self.is_common(pool.kind)
        groups = [list(range(len(pool.rows)))] if together else rows_by_task(pool)
        weights_nn = mixing_matrix(pool, groups, self.parameters.weighting)
        found: dict[str, float] = {}
        for members in groups:
            group = "all" if together else pool.rows[members[0]].task or "all"
            key = f"{pool.kind}/{pool.signature}/{group}"
            if key not in self.optimisers:
                self.optimisers[key] = OptimiserState.start(pool.layout.size, constants)
            weights_n = weights_nn[members[0]]
            state = self.optimisers[key]
            mean_update, step = optimiser_step(pool.parameters_nd, pool.updates_nd, weights_n, state, constants)
            if mean_update > 0:
                found[f"{pool.kind}/{group}/server-step-ratio"] = step / mean_update
        pool.follow.update(followed_rows(pool, groups, by="pool" if together else "task"))
        return pool.labelled(found)

    def is_common(self, kind: GroupKind) -> bool:
        """Whether one step is made for all tasks."""
        return self.parameters.spans_tasks(kind)

    def method_state(self) -> tuple[StateArrays, dict[str, Any]]:
        """Return m and v of every group."""
        arrays: StateArrays = {}
        for key, state in self.optimisers.items():
            arrays[f"m/{key}"] = state.m_d
            if state.v_d is not None:
                arrays[f"v/{key}"] = state.v_d
        return arrays, {}

    def load_method_state(self, arrays: Mapping[str, npt.NDArray[np.generic]], values: Mapping[str, Any]) -> None:
        """Take back what `method_state` returned."""
        owned = {name: np.array(array, dtype=np.float32) for name, array in arrays.items()}
        for name, array in owned.items():
            moment, _, key = name.partition("/")
            if moment == "m":
                self.optimisers[key] = OptimiserState(array, owned.get(f"v/{key}"))
