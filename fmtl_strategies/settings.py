"""The settings of a run that do not belong to one strategy: one nested model, passed on as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import ConfigDict, ValidationError

from fmtl_strategies.contract.settings import LocalSettings, Settings, correction, flat, keys_of, nested, parameter

DefenceName = Literal["none", "norm-bound", "outlier", "krum"]


class RunConfigError(ValueError):
    """A run-config key that does not exist or has an impossible value."""


class RoundSettings(Settings):
    """What is exchanged in a round, and which replies count."""

    upload_format: Literal["float32", "bfloat16"] = parameter(
        "bfloat16", "number format of updates on the wire", "ours"
    )
    evaluate_every: int = parameter(1, "score the models after every so many rounds, and after the last", "ours", ge=1)
    quorum: float = parameter(0.5, "share of the clients asked whose good replies a round needs", "ours", gt=0, le=1)
    max_skipped_rounds: int = parameter(3, "the run fails after so many skipped rounds in a row", "ours", ge=1)
    max_update_norm: float = parameter(1e6, "updates with a larger norm are rejected, by group", "ours", gt=0)


class WaitingSettings(Settings):
    """How long clients are waited for, in seconds, and how often they are asked again."""

    round_timeout: float = parameter(3600.0, "deadline of a round, seconds", "ours", gt=0)
    retries: int = parameter(
        1, "how often a client is asked again in a round after its process or connection ended", "ours", ge=0, le=100
    )
    return_timeout: float = parameter(
        60.0, "how long a round waits for a client that disconnected while it trained, seconds", "ours", ge=0
    )
    enrolment_timeout: float = parameter(600.0, "how long a new node may take to say who it is, seconds", "ours", gt=0)
    min_clients: int = parameter(
        0, "clients that must be enrolled before the first round; 0 for every node that is connected", "ours", ge=0
    )
    wait_for_clients: float = parameter(600.0, "how long to wait for them, seconds", "ours", gt=0)


class DefenceSettings(Settings):
    """What is done about updates that may be poisoned; see docs/robustness.md."""

    model_config = ConfigDict(alias_generator=lambda name: f"defence-{name.replace('_', '-')}")

    name: DefenceName = parameter(
        "none",
        "defence against poisoned updates: `norm-bound` shortens long ones, `outlier` rejects unusual clients, `krum` "
        "the updates farthest from the others",
        "ours",
        alias="defence",
    )
    norm_factor: float = parameter(
        3.0, "`norm-bound`: no update is longer than so many times the median", "ours", ge=1, le=1e6
    )
    threshold: float = parameter(
        5.0, "`outlier`: score above which a client is rejected, in robust standard deviations", "ours", gt=0, le=1e6
    )
    attackers: int = parameter(
        1,
        "`krum`: how many updates of a group may be poisoned; below 2 attackers + 3 updates nothing is done",
        "ours",
        ge=1,
        le=1_000_000,
    )


class RunConfig(Settings):
    """All settings of a run but its strategy's parameters. Flower's run config holds them flat, by their keys."""

    strategy: str = parameter(
        "fedhca2", "strategy, see `fmtl strategies`; `module:Class` for one outside this project", "ours"
    )
    strategy_parameters: str = parameter(
        "", "parameters of a strategy outside this project: TOML pairs with commas between them", "ours"
    )
    scenario: str = parameter("default", "scenario, by name or absolute path; see `fmtl scenarios`", "ours")
    out_dir: str = parameter("", "absolute path of the run folder; empty for ~/fmtl-runs/<run id>", "ours")
    resume: bool = parameter(False, "go on with the run in out-dir", "ours")
    known_sites: str = parameter(
        "", "the coordinator's list of sites (sites.json), where nodes are known by their keys", "ours"
    )
    keep_checkpoints: int = parameter(2, "how many checkpoints to keep", "ours", ge=1)
    local: LocalSettings = LocalSettings()
    rounds: RoundSettings = RoundSettings()
    waiting: WaitingSettings = WaitingSettings()
    defence: DefenceSettings = DefenceSettings()

    @classmethod
    def from_flat(cls, values: Mapping[str, Any]) -> RunConfig:
        """Check values by run-config key.

        Raises:
            RunConfigError: an unknown key, or an impossible value; says what was probably meant or is allowed.
        """
        known = keys_of(cls)
        for key in values:
            if key not in known:
                near = correction(key, known)
                hint = "`fmtl settings` lists all keys" if near is None else f"did you mean {near!r}?"
                raise RunConfigError(f"unknown run-config key {key!r}; {hint}")
        try:
            return cls.model_validate(nested(cls, values))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            key = next(str(part) for part in reversed(first["loc"]) if part in known)
            raise RunConfigError(f"run-config key {key!r} = {values[key]!r}: {first['msg']}") from error

    def flat(self) -> dict[str, Any]:
        """Return the values by run-config key."""
        return flat(self)
