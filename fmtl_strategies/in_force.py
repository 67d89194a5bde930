"""Which parameters in a run config its strategy reads; what is set beside them would be dropped without a word."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from fmtl_strategies.building_blocks.wrapping import WrappingParameters
from fmtl_strategies.parameters import StrategyParameterError, parse_parameter_text, parse_parameters
from fmtl_strategies.registry import check_parameters, strategy_class


@dataclass(frozen=True)
class InForce:
    """What a strategy reads.

    Attributes:
        strategy: its name in the run config.
        sections: its own section, and that of the strategy it wraps.
        imposed: values it sets itself in the section of the strategy it wraps, by run-config key.
    """

    strategy: str
    sections: tuple[str, ...]
    imposed: Mapping[str, object] = field(default_factory=dict)

    def reads(self, key: str) -> bool:
        """Whether the value of a key `<section>.<parameter>` can change the run."""
        return key.partition(".")[0] in self.sections and key not in self.imposed

    def refuse(self, given: Mapping[str, object]) -> None:
        """Refuse values that the user has set and the strategy does not read.

        Args:
            given: values by run-config key, without defaults; keys without a dot are no strategy's.

        Raises:
            StrategyParameterError: names the key, the strategy, and the sections it reads.
        """
        for key, value in given.items():
            if "." in key and not self.reads(key):
                raise StrategyParameterError(self._why(key, value))

    def refuse_changed(self, values: Mapping[str, object]) -> None:
        """Refuse values that the strategy does not read and that are not their defaults.

        For run configs in which defaults and what the user has set have been merged, as Flower does.

        Args:
            values: values by run-config key; keys without a dot are no strategy's.

        Raises:
            StrategyParameterError: such a value, or one of another strategy that does not exist or is impossible.
        """
        for key, value in values.items():
            if "." not in key or self.reads(key) or self.imposed.get(key) == value:
                continue
            if not _is_default(key, value):
                raise StrategyParameterError(self._why(key, value))

    def _why(self, key: str, value: object) -> str:
        if key in self.imposed:
            return (
                f"{key} = {value!r} has no effect: strategy {self.strategy} sets it to {self.imposed[key]!r} itself. "
                f"Leave it out; `fmtl settings {self.strategy}` prints what can be set"
            )
        sections = " and ".join(f"{section}.<parameter>" for section in self.sections)
        return (
            f"{key} = {value!r} has no effect: strategy {self.strategy}, as it is set, reads {sections} only. "
            f"Leave it out, or choose the strategy it belongs to"
        )


def in_force(strategy: str, values: Mapping[str, object]) -> InForce:
    """Return what a strategy reads of a run config.

    Args:
        strategy: its name, or `module:Class`.
        values: the run config by key; of a strategy that wraps another, its own parameters say which.

    Raises:
        UnknownStrategyError: no strategy of that name.
        StrategyParameterError: a parameter of a strategy that wraps another does not exist or is impossible.
    """
    cls = strategy_class(strategy)
    if not issubclass(cls.parameters_model, WrappingParameters):
        return InForce(strategy, (cls.name,))
    prefix = f"{cls.name}."
    own: dict[str, object] = {**parse_parameter_text(str(values.get("strategy-parameters", "")))}
    own |= {key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)}
    checked = check_parameters(strategy, own)
    assert isinstance(checked, WrappingParameters)
    base, imposed = checked.wraps()
    return InForce(strategy, (cls.name, base), {f"{base}.{name}": value for name, value in imposed.items()})


def _is_default(key: str, value: object) -> bool:
    section, _, name = key.partition(".")
    model = strategy_class(section).parameters_model
    parsed = parse_parameters(section, model, {name: value})
    return bool(parsed.model_dump(by_alias=True)[name] == model().model_dump(by_alias=True)[name])
