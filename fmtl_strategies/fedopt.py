"""FedAdam, FedYogi, FedAdagrad and FedAvgM: the mean update is a gradient for an optimiser on the server."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, cast

import numpy as np
import numpy.typing as npt

from fmtl_strategies.averaging import followed_rows, mixing_matrix, rows_by_task
from fmtl_strategies.base import PersonalizedStrategy, RoundSettings, StateArrays
from fmtl_strategies.contract.groups import GroupKind
from fmtl_strategies.fedavg import FedAvgBasedParameters, FedAvgParameters
from fmtl_strategies.maths.server_optimiser import OptimiserConstants, OptimiserState, optimiser_step
from fmtl_strategies.parameters import StrategyParameters, parameter
from fmtl_strategies.pools import PoolRound

_PAPER = "paper (section 5, all experiments)"
_REDDI = "Reddi et al. 2021 (section 5)"
_TAU = "size of sqrt(v) below which a step is no longer divided by it; v starts at its square"


def _rate(default: float, origin: str) -> Any:
    return parameter(default, "learning rate of the server", origin, ge=0, le=1e3)


class FedAdamParameters(FedAvgBasedParameters):
    """Hyper-parameters of FedAdam."""

    server_learning_rate: float = _rate(0.1, "Flower's FedAdam; the paper tunes it")
    beta1: float = parameter(0.9, "decay of the mean of past updates", _PAPER, ge=0, lt=1)
    beta2: float = parameter(0.99, "decay of the mean of past squared updates", _PAPER, ge=0, lt=1)
    tau: float = parameter(1e-3, _TAU, _PAPER, ge=1e-12, le=1e6)


class FedYogiParameters(FedAdamParameters):
    """Hyper-parameters of FedYogi."""

    server_learning_rate: float = _rate(0.01, "Flower's FedYogi; the paper tunes it")


class FedAdagradParameters(FedAvgBasedParameters):
    """Hyper-parameters of FedAdagrad."""

    server_learning_rate: float = _rate(0.1, "Flower's FedAdagrad; the paper tunes it")
    beta1: float = parameter(0.0, "decay of the mean of past updates", _PAPER, ge=0, lt=1)
    tau: float = parameter(1e-3, _TAU, _PAPER, ge=1e-12, le=1e6)


class FedAvgMParameters(FedAvgBasedParameters):
    """Hyper-parameters of FedAvgM."""

    server_learning_rate: float = _rate(1.0, "Flower's FedAvgM; the paper tunes it")
    momentum: float = parameter(0.9, "share of the last step that is repeated", _REDDI, ge=0, lt=1)


class _ServerOptimiser(PersonalizedStrategy):
    """What the four have in common: one model and one optimiser state for every group of rows.

    Attributes:
        optimisers: state by kind of group, layout and task (`all` for a group over all tasks).
    """

    shared_kinds: ClassVar[tuple[GroupKind, ...]] = ("encoder", "decoders")

    def __init__(self, settings: RoundSettings, parameters: StrategyParameters | None = None) -> None:
        super().__init__(settings, parameters)
        self.optimisers: dict[str, OptimiserState] = {}

    @abstractmethod
    def constants(self) -> OptimiserConstants:
        """Return the constants of the optimiser."""

    def aggregate_pool(self, pool: PoolRound, server_round: int) -> dict[str, float]:
        """Write the stepped common model of its group to every row."""
        parameters, constants = cast(FedAvgParameters, self.parameters), self.constants()
        together = pool.kind == "encoder" or (pool.kind == "decoders" and parameters.decoder_scope == "all")
        groups = [list(range(len(pool.rows)))] if together else rows_by_task(pool)
        weights_nn = mixing_matrix(pool, groups, parameters.weighting)
        found: dict[str, float] = {}
        for members in groups:
            group = "all" if together else pool.rows[members[0]].task or "all"
            key = f"{pool.kind}/{pool.signature}/{group}"
            if key not in self.optimisers:
                self.optimisers[key] = OptimiserState.start(pool.layout.size, constants)
            weights_n = weights_nn[members[0]]
            state = self.optimisers[key]
            norms = optimiser_step(pool.parameters_nd, pool.updates_nd, weights_n, state, constants)
            if norms.mean_update > 0:
                found[f"{pool.kind}/{group}/server-step-ratio"] = norms.step / norms.mean_update
        pool.follow.update(followed_rows(pool, groups, by="pool" if together else "task"))
        return pool.labelled(found)

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


class FedAdam(_ServerOptimiser):
    """Adam on the server: m and v follow the mean update and its square, and x <- x + rate m / (sqrt(v) + tau).

    Reddi, Charles, Zaheer, Garrett, Rush, Konecny, Kumar, McMahan: Adaptive Federated Optimization, ICLR 2021,
    arXiv 2003.00295, Algorithm 2. Equations in `fmtl_strategies/maths/server_optimiser.py`; m starts at 0, v at tau^2
    (the paper asks for at least tau^2), without bias correction, as in the paper. Flower's FedAdam starts v at 0 and
    corrects the bias; with those two changes made, the steps agree.

    Groups are FedAvg's: encoders, and decoders as `decoder-scope` says, each with an m and v of its own. Deviations:
    the mean is over rows that may differ at first (decoders of different tasks start apart), so x is their weighted
    mean, as FedAvg's mean is; the weights are FedAvg's `weighting`, the paper leaves them open. Heads stay.

    Partial participation: the mean is over the clients that answered; a client that is away, or new, gets the common
    model of its group, a new one also counts in x. A group of which no client answered keeps its m and v as they were.
    """

    name: ClassVar[str] = "fedadam"
    summary_line: ClassVar[str] = "fedavg's mean update through Adam on the server"
    parameters_model: ClassVar[type[StrategyParameters]] = FedAdamParameters

    def constants(self) -> OptimiserConstants:
        """Return the constants of the optimiser."""
        chosen = cast(FedAdamParameters, self.parameters)
        return OptimiserConstants("adam", chosen.server_learning_rate, chosen.beta1, chosen.beta2, chosen.tau)


class FedYogi(_ServerOptimiser):
    """Yogi on the server: as FedAdam, but v moves towards the squared mean update by a step of that square's size.

    Reddi et al., ICLR 2021, arXiv 2003.00295, Algorithm 2; deviations as in FedAdam. Flower's FedYogi starts v at 0.

    Partial participation: as in FedAdam.
    """

    name: ClassVar[str] = "fedyogi"
    summary_line: ClassVar[str] = "fedavg's mean update through Yogi on the server"
    parameters_model: ClassVar[type[StrategyParameters]] = FedYogiParameters

    def constants(self) -> OptimiserConstants:
        """Return the constants of the optimiser."""
        chosen = cast(FedYogiParameters, self.parameters)
        return OptimiserConstants("yogi", chosen.server_learning_rate, chosen.beta1, chosen.beta2, chosen.tau)


class FedAdagrad(_ServerOptimiser):
    """Adagrad on the server: v sums the squared mean updates of all rounds, so steps become smaller.

    Reddi et al., ICLR 2021, arXiv 2003.00295, Algorithm 2; deviations as in FedAdam. `beta1` is 0 in the paper's
    experiments. Flower's FedAdagrad starts v at 0.

    Partial participation: as in FedAdam.
    """

    name: ClassVar[str] = "fedadagrad"
    summary_line: ClassVar[str] = "fedavg's mean update through Adagrad on the server"
    parameters_model: ClassVar[type[StrategyParameters]] = FedAdagradParameters

    def constants(self) -> OptimiserConstants:
        """Return the constants of the optimiser."""
        chosen = cast(FedAdagradParameters, self.parameters)
        return OptimiserConstants("adagrad", chosen.server_learning_rate, chosen.beta1, tau=chosen.tau)


class FedAvgM(_ServerOptimiser):
    """Momentum on the server: m <- momentum m + mean update, x <- x + rate m.

    Hsu, Qi, Brown: Measuring the Effects of Non-Identical Data Distribution for Federated Visual Classification, 2019,
    arXiv 1909.06335; momentum 0.9 as in Reddi et al. With momentum 0 and rate 1 it is FedAvg. Deviations as in FedAdam.

    Partial participation: as in FedAdam.
    """

    name: ClassVar[str] = "fedavgm"
    summary_line: ClassVar[str] = "fedavg's mean update with momentum on the server"
    parameters_model: ClassVar[type[StrategyParameters]] = FedAvgMParameters

    def constants(self) -> OptimiserConstants:
        """Return the constants of the optimiser."""
        chosen = cast(FedAvgMParameters, self.parameters)
        return OptimiserConstants("momentum", chosen.server_learning_rate, chosen.momentum)
