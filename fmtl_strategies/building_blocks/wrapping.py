"""Strategies around another strategy: what they do not do themselves, the wrapped one does."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import TypeVar

from fmtl_strategies.contract.layout import FloatArray
from fmtl_strategies.contract.messages import Report
from fmtl_strategies.contract.profile import ClientProfile
from fmtl_strategies.contract.rule import LocalRule
from fmtl_strategies.parameters import Origin, StrategyParameters
from fmtl_strategies.round.base import PersonalizedStrategy, StateArrays
from fmtl_strategies.round.store import PoolRound
from fmtl_strategies.settings import RunConfig


class WrappingParameters(StrategyParameters):
    """Hyper-parameters of a strategy around another: they say which."""

    @abstractmethod
    def wraps(self) -> tuple[str, dict[str, object]]:
        """Return the name of the strategy to be wrapped, and the parameters imposed on it by kebab-case name."""


WrappingT = TypeVar("WrappingT", bound=WrappingParameters, default=WrappingParameters, covariant=True)


class WrappingStrategy(PersonalizedStrategy[WrappingT]):
    """A strategy that runs the rounds and asks a wrapped one for aggregation, local rule and state.

    The wrapped strategy's parameters are those of its own section of the run config, but for the ones this strategy
    imposes. It never runs a round itself: it sees this strategy's clients, rows and record.
    """

    wrapped: PersonalizedStrategy

    def __init__(self, settings: RunConfig, parameters: WrappingT, wrapped: PersonalizedStrategy) -> None:
        super().__init__(settings, parameters)
        self.wrapped = wrapped
        wrapped.roster, wrapped.store = self.roster, self.store

    def sections(self) -> dict[str, StrategyParameters]:
        """Return the parameters in force, its own and those of the wrapped strategy."""
        return {**super().sections(), **self.wrapped.sections()}

    def origins(self) -> dict[str, dict[str, Origin]]:
        """Return whose value every hyper-parameter has; what is imposed on the wrapped one is of this one's paper."""
        base, imposed = self.parameters.wraps()
        origins = super().origins()
        of_paper: dict[str, Origin] = dict.fromkeys(imposed, "paper")
        return {**origins, base: {**origins[base], **of_paper}}

    def aggregate_pool(self, pool: PoolRound, server_round: int) -> dict[str, float]:
        """Let the wrapped strategy aggregate the pool."""
        return self._informed().aggregate_pool(pool, server_round)

    def aggregate_buffers(self, pool: PoolRound, server_round: int) -> dict[str, float]:
        """Let the wrapped strategy aggregate the pool of buffers."""
        return self._informed().aggregate_buffers(pool, server_round)

    def local_rule(self, profile: ClientProfile, server_round: int) -> LocalRule:
        """Return the wrapped strategy's rule."""
        return self._informed().local_rule(profile, server_round)

    def anchors(self, profile: ClientProfile, server_round: int) -> Mapping[str, FloatArray]:
        """Return the wrapped strategy's anchors."""
        return self._informed().anchors(profile, server_round)

    def start_for(self, profile: ClientProfile, group: str) -> FloatArray | None:
        """Return what a new client starts from under the wrapped strategy."""
        return self._informed().start_for(profile, group)

    def observe(self, report: Report) -> None:
        """Let the wrapped strategy look at an admitted report."""
        self._informed().observe(report)

    def method_state(self) -> tuple[StateArrays, dict[str, Any]]:
        """Return what the wrapped strategy remembers."""
        return self.wrapped.method_state()

    def load_method_state(self, arrays: Mapping[str, npt.NDArray[np.generic]], values: Mapping[str, Any]) -> None:
        """Give the wrapped strategy back what it remembered."""
        self.wrapped.load_method_state(arrays, values)

    def _informed(self) -> PersonalizedStrategy:
        self.wrapped.present, self.wrapped.record = self.present, self.record
        return self.wrapped
