"""Refuses, before a run starts, a decoupled pull so strong that its step would go beyond the anchor."""

from collections.abc import Sequence

from fmtl_strategies.contract.rule import PullForm
from fmtl_strategies.parameters import StrategyParameterError


def require_stable_pull(
    key: str, value: float, form: PullForm, rates: Sequence[tuple[str, float]], *, factor: float = 1.0
) -> None:
    """Check that a step of a decoupled pull goes at most all the way to the anchor: rate * strength <= 1.

    Args:
        key: run-config key that sets the strength.
        value: its value.
        form: how the pull acts; a coupled one is always let through.
        rates: learning rates of the groups that are pulled, with the run-config keys that set them.
        factor: the pull's largest strength is the value times this.

    Raises:
        StrategyParameterError: it would go beyond; says by how much, and what to set.
    """
    rate = max(rate for _, rate in rates)
    share = rate * value * factor
    if form == "decoupled" and share > 1:
        raise StrategyParameterError(
            f"{key} = {value:g} as a decoupled pull: a step at learning rate {rate:g} would go {share:.3g} times the "
            f"way to what it is drawn to, at most 1 is stable. Set {key} to {value / share:g} or less, or lower "
            f"{' and '.join(name for name, _ in rates)}."
        )
