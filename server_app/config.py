"""The run config: `[tool.flwr.app.config]` of pyproject.toml, overridden by `--run-config`, checked before a run."""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fmtl_strategies.building_blocks.wrapping import WrappingStrategy
from fmtl_strategies.contract.settings import LocalSettings, Precision, Schedule
from fmtl_strategies.contract.wire import NumberFormat
from fmtl_strategies.in_force import in_force
from fmtl_strategies.parameters import parameter_text, parse_parameter_text
from fmtl_strategies.registry import check_sections, is_outside, strategy_class, strategy_names
from fmtl_strategies.round.base import RoundSettings
from fmtl_strategies.round.defence import DefenceName, DefenceSettings
from fmtl_strategies.round.exchange import Patience


class RunConfigError(ValueError):
    """A run-config key that does not exist or has an impossible value."""


class RunConfig(BaseModel):
    """Settings of a run that do not belong to one strategy; names in the config are kebab-case.

    Attributes:
        strategy: name of the strategy; its parameters are the keys `<strategy>.<parameter>`. Or `module:Class` for one
            outside this project; its parameters are the text `strategy-parameters`.
        strategy_parameters: TOML pairs with commas between them, for a strategy outside this project only.
        scenario: name or absolute path of the scenario; read by clients, recorded by the server.
        num_server_rounds: number of rounds.
        seed: seed of the run.
        out_dir: absolute path of the run folder; empty for `~/fmtl-runs/<run id>`.
        resume: go on with the run in `out_dir`.
        encoder_learning_rate, decoder_learning_rate, weight_decay, schedule, warmup_epochs, precision: local training,
            see LocalSettings.
        upload_format: number format of updates: `bfloat16` or `float32`.
        evaluate_every: score the models after every so many rounds, and after the last.
        round_timeout: deadline of a round, seconds.
        retries: how often a client is asked again in a round in which its work was lost on the way: its process or its
            connection ended, or the link was started again.
        return_timeout: how long a round waits for a client whose connection ended while it was at work, seconds.
        enrolment_timeout: how long a new node may take to say who it is, seconds.
        min_clients: clients that must be enrolled before the first round; 0 for every node that is connected.
        wait_for_clients: how long to wait for them, seconds.
        quorum: share of good replies a round needs.
        max_skipped_rounds: the run fails after so many skipped rounds in a row.
        known_sites: absolute path of the coordinator's list of sites (sites.json); a node may only be the client whose
            name its key was registered for. Empty where nodes are not known by keys, as in a simulation.
        keep_checkpoints: how many checkpoints to keep.
        max_update_norm: largest norm of a group's update that is believed.
        defence: what is done about updates that may be poisoned: `none`, `norm-bound`, `outlier` or `krum`; see
            docs/robustness.md.
        defence_norm_factor: `norm-bound`: no update is longer than so many times the median.
        defence_threshold: `outlier`: score above which a client is set aside, in robust standard deviations.
        defence_attackers: `krum`: how many updates of a group may be poisoned.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        alias_generator=lambda name: name.replace("_", "-"),
        allow_inf_nan=False,  # config.json could not hold them
    )

    strategy: str = "fedhca2"
    strategy_parameters: str = ""
    scenario: str = "default"
    num_server_rounds: int = Field(default=5, ge=1, le=1_000_000)
    seed: int = Field(default=0, ge=0, lt=2**31)
    out_dir: str = ""
    resume: bool = False
    encoder_learning_rate: float = Field(default=2e-3, ge=0, le=10)
    decoder_learning_rate: float = Field(default=2e-3, ge=0, le=10)
    weight_decay: float = Field(default=1e-4, ge=0, le=10)
    schedule: Schedule = "cosine"
    warmup_epochs: int = Field(default=0, ge=0)
    precision: Precision = "auto"
    upload_format: NumberFormat = "bfloat16"
    evaluate_every: int = Field(default=1, ge=1)
    round_timeout: float = Field(default=3600.0, gt=0)
    retries: int = Field(default=1, ge=0, le=100)
    return_timeout: float = Field(default=60.0, ge=0)
    enrolment_timeout: float = Field(default=600.0, gt=0)
    min_clients: int = Field(default=0, ge=0)
    wait_for_clients: float = Field(default=600.0, gt=0)
    quorum: float = Field(default=0.5, gt=0, le=1)
    max_skipped_rounds: int = Field(default=3, ge=1)
    known_sites: str = ""
    keep_checkpoints: int = Field(default=2, ge=1)
    max_update_norm: float = Field(default=1e6, gt=0)
    defence: DefenceName = "none"
    defence_norm_factor: float = Field(default=3.0, ge=1, le=1e6)
    defence_threshold: float = Field(default=5.0, gt=0, le=1e6)
    defence_attackers: int = Field(default=1, ge=1, le=1_000_000)

    def local_settings(self) -> LocalSettings:
        """Return what clients are told about local training."""
        return LocalSettings(
            seed=self.seed,
            total_rounds=self.num_server_rounds,
            encoder_learning_rate=self.encoder_learning_rate,
            decoder_learning_rate=self.decoder_learning_rate,
            weight_decay=self.weight_decay,
            schedule=self.schedule,
            warmup_epochs=self.warmup_epochs,
            precision=self.precision,
        )

    def patience(self) -> Patience:
        """Return how long a round waits for replies, and how often it asks again."""
        return Patience(self.round_timeout, self.retries, self.return_timeout)

    def round_settings(self, experiment: str) -> RoundSettings:
        """Return what the strategy needs to run rounds."""
        return RoundSettings(
            experiment=experiment,
            local=self.local_settings(),
            upload_format=self.upload_format,
            evaluate_every=self.evaluate_every,
            timeout_seconds=self.round_timeout,
            enrolment_seconds=self.enrolment_timeout,
            retries=self.retries,
            quorum=self.quorum,
            max_update_norm=self.max_update_norm,
            defence=DefenceSettings(
                name=self.defence,
                norm_factor=self.defence_norm_factor,
                threshold=self.defence_threshold,
                attackers=self.defence_attackers,
            ),
            expected_names=partial(read_known_sites, Path(self.known_sites)) if self.known_sites else _anybody,
        )


def read_known_sites(path: Path) -> dict[int, str]:
    """Return the names of the sites by node id, as the coordinator has written them.

    Raises:
        RunConfigError: the file is missing or damaged; a run that cannot tell its sites apart must not go on.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {int(node): str(site["name"]) for node, site in content.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunConfigError(
            f"known-sites = {str(path)!r} cannot be read as the coordinator's list of sites ({error}); "
            f"`fmtl server start` writes it"
        ) from error


def _anybody() -> None:
    return None


def parse_run_config(values: Mapping[str, Any]) -> tuple[RunConfig, dict[str, Any]]:
    """Check a flat Flower run config.

    Args:
        values: values by key; keys with a dot are parameters of the strategy named before the dot. Those of a strategy
            outside this project may stand under its `name` too, where whoever gives them is not bound to the keys of
            pyproject.toml, as Flower is.

    Returns:
        The run config, and the chosen strategy's own parameters by kebab-case name. Parameters of other strategies are
        left out, unless the chosen one wraps another: then they stand beside as `<strategy>.<parameter>`.

    Raises:
        RunConfigError: an unknown key, or an impossible value; says what is known or allowed.
        UnknownStrategyError: no strategy of that name.
        StrategyParameterError: `strategy-parameters` cannot be read, or a parameter that the chosen strategy does not
            read is not at its default. At its default it cannot be told from one that nobody has set.
    """
    plain = {key: value for key, value in values.items() if "." not in key}
    known = [field.alias or name for name, field in RunConfig.model_fields.items()]
    for key in plain:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; known keys: {', '.join(sorted(known))}"
            raise RunConfigError(f"unknown run-config key {key!r}{hint}")
    try:
        config = RunConfig.model_validate(plain)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise RunConfigError(f"run-config key {first['loc'][0]!r} = {first['input']!r}: {first['msg']}") from error
    chosen = strategy_class(config.strategy)
    own_name = chosen.name
    owners = sorted({*strategy_names(), own_name})
    for key in values:
        owner = key.partition(".")[0]
        if "." in key and owner not in owners:
            raise RunConfigError(f"run-config key {key!r}: no strategy {owner!r}; known: {', '.join(owners)}")
    prefix = f"{own_name}."
    given = {key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)}
    if issubclass(chosen, WrappingStrategy):
        given |= {key: value for key, value in values.items() if "." in key and not key.startswith(prefix)}
    in_force(config.strategy, values).refuse_changed(values)
    return config, {**_parameters_in_text(config), **given}


def default_run_config() -> dict[str, bool | int | float | str]:
    """Return every run-config key with its default: general ones, and `<strategy>.<parameter>` of every strategy."""
    values: dict[str, bool | int | float | str] = RunConfig().model_dump(by_alias=True)
    for strategy in strategy_names():
        own = strategy_class(strategy).parameters_model().model_dump(by_alias=True)
        values |= {f"{strategy}.{name}": value for name, value in own.items()}
    return values


def effective_config(config: RunConfig, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return what config.json records of a run: every setting that can change it, with the defaults filled in.

    `parse_run_config` reads it back to the same.

    Args:
        config: the run config.
        parameters: the strategy's parameters as `parse_run_config` returns them; those left out take their defaults.

    Raises:
        StrategyParameterError: unknown parameter, impossible value, or one of a strategy outside this project that a
            run config cannot hold.
    """
    (_, chosen), *wrapped = check_sections(config.strategy, parameters).items()
    own = chosen.model_dump(by_alias=True)
    effective = config.model_dump(by_alias=True, exclude={"resume", "out_dir", "known_sites", "strategy_parameters"})
    for section, inner in wrapped:
        effective |= {f"{section}.{name}": value for name, value in inner.model_dump(by_alias=True).items()}
    if is_outside(config.strategy):
        return effective | {"strategy-parameters": parameter_text(own)}
    return effective | {f"{config.strategy}.{name}": value for name, value in own.items()}


def _parameters_in_text(config: RunConfig) -> dict[str, bool | int | float | str]:
    if config.strategy_parameters and not is_outside(config.strategy):
        raise RunConfigError(
            f"run-config key 'strategy-parameters' = {config.strategy_parameters!r} is for a strategy outside this "
            f"project; the parameters of {config.strategy} are keys of their own, {config.strategy}.<parameter>"
        )
    return dict(parse_parameter_text(config.strategy_parameters))
