"""Local training: nothing is exchanged (methods.md 1.1). Every comparison is against it."""

from fmtl_strategies.round.base import PersonalizedStrategy
from fmtl_strategies.round.store import PoolRound


class Local(PersonalizedStrategy):
    """Every client trains alone: theta_i <- theta_i + Delta_i on the client itself; no array is sent either way."""

    name = "local"
    summary_line = "every client trains alone; the reference of delta_m"

    def aggregate_pool(self, pool: PoolRound, server_round: int) -> dict[str, float]:
        """Never called, for no kind of group is shared; keeps the update where a subclass shares one."""
        pool.parameters_nd += pool.updates_nd
        return {}
