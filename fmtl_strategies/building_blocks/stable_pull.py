"""Refuses, before a run starts, a decoupled pull so strong that its step would go beyond the anchor."""

from collections.abc import Sequence
from dataclasses import dataclass

from fmtl_strategies.contract.rule import PullForm
from fmtl_strategies.parameters import StrategyParameterError


@dataclass(frozen=True)
class PullSetting:
    """The settings a pull comes from.

    Attributes:
        name: run-config key that sets the strength.
        value: its value.
        strength: largest strength s of the pull that it leads to.
        form_name: run-config key that sets the form.
        form: its value.
    """

    name: str
    value: float
    strength: float
    form_name: str
    form: PullForm


def require_stable_pull(setting: PullSetting, rates: Sequence[tuple[str, float]]) -> None:
    """Check that a step of a decoupled pull goes at most all the way to the anchor: rate * s <= 1.

    Args:
        setting: where the pull comes from.
        rates: learning rates of the groups that are pulled, with the run-config keys that set them.

    Raises:
        StrategyParameterError: it would go beyond; says by how much, and what to set.
    """
    rate = max(value for _, value in rates)
    share = rate * setting.strength
    if setting.form == "decoupled" and share > 1:
        raise StrategyParameterError(
            f"{setting.name} = {setting.value:g} with {setting.form_name} = 'decoupled': a step at learning rate "
            f"{rate:g} would go {share:.3g} times the way to what it is drawn to, at most 1 is stable. Set "
            f"{setting.name} to {setting.value / share:g} or less, or lower {' and '.join(key for key, _ in rates)}."
        )
