"""The run config: `[tool.flwr.app.config]` of pyproject.toml, overridden by `--run-config`, checked before a run."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fmtl_strategies.base import RoundSettings
from fmtl_strategies.contract.settings import LocalSettings, Precision, Schedule
from fmtl_strategies.contract.wire import NumberFormat
from fmtl_strategies.registry import strategy_class, strategy_names


class RunConfigError(ValueError):
    """A run-config key that does not exist or has an impossible value."""


class RunConfig(BaseModel):
    """Settings of a run that do not belong to one strategy; names in the config are kebab-case.

    Attributes:
        strategy: name of the strategy; its parameters are the keys `<strategy>.<parameter>`.
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
        enrolment_timeout: how long a new node may take to say who it is, seconds.
        min_clients: clients that must be enrolled before the first round; 0 for every node that is connected.
        wait_for_clients: how long to wait for them, seconds.
        quorum: share of good replies a round needs.
        max_skipped_rounds: the run fails after so many skipped rounds in a row.
        keep_checkpoints: how many checkpoints to keep.
        max_update_norm: largest norm of a group's update that is believed.
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, alias_generator=lambda name: name.replace("_", "-")
    )

    strategy: str = "fedhca2"
    scenario: str = "default"
    num_server_rounds: int = Field(default=5, ge=1, le=1_000_000)
    seed: int = Field(default=0, ge=0, lt=2**31)
    out_dir: str = ""
    resume: bool = False
    encoder_learning_rate: float = Field(default=1e-4, ge=0, le=10)
    decoder_learning_rate: float = Field(default=1e-4, ge=0, le=10)
    weight_decay: float = Field(default=1e-4, ge=0, le=10)
    schedule: Schedule = "cosine"
    warmup_epochs: int = Field(default=5, ge=0)
    precision: Precision = "auto"
    upload_format: NumberFormat = "bfloat16"
    evaluate_every: int = Field(default=1, ge=1)
    round_timeout: float = Field(default=3600.0, gt=0)
    enrolment_timeout: float = Field(default=600.0, gt=0)
    min_clients: int = Field(default=0, ge=0)
    wait_for_clients: float = Field(default=600.0, gt=0)
    quorum: float = Field(default=0.5, gt=0, le=1)
    max_skipped_rounds: int = Field(default=3, ge=1)
    keep_checkpoints: int = Field(default=2, ge=1)
    max_update_norm: float = Field(default=1e6, gt=0)

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

    def round_settings(self, experiment: str) -> RoundSettings:
        """Return what the strategy needs to run rounds."""
        return RoundSettings(
            experiment=experiment,
            local=self.local_settings(),
            upload_format=self.upload_format,
            evaluate_every=self.evaluate_every,
            timeout_seconds=self.round_timeout,
            enrolment_seconds=self.enrolment_timeout,
            quorum=self.quorum,
            max_update_norm=self.max_update_norm,
        )


def parse_run_config(values: Mapping[str, Any]) -> tuple[RunConfig, dict[str, Any]]:
    """Check a flat Flower run config.

    Args:
        values: values by key; keys with a dot are parameters of the strategy named before the dot.

    Returns:
        The run config, and the chosen strategy's own parameters by kebab-case name. Parameters of other strategies are
        checked for their names and left out.

    Raises:
        RunConfigError: an unknown key or strategy, or an impossible value; says what is known or allowed.
    """
    plain = {key: value for key, value in values.items() if "." not in key}
    known = [field.alias or name for name, field in RunConfig.model_fields.items()]
    for key in plain:
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; known keys: {', '.join(sorted(known))}"
            raise RunConfigError(f"unknown run-config key {key!r}{hint}")
    for key in values:
        owner = key.partition(".")[0]
        if "." in key and owner not in strategy_names():
            raise RunConfigError(f"run-config key {key!r}: no strategy {owner!r}; known: {', '.join(strategy_names())}")
    try:
        config = RunConfig.model_validate(plain)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise RunConfigError(f"run-config key {first['loc'][0]!r} = {first['input']!r}: {first['msg']}") from error
    strategy_class(config.strategy)
    prefix = f"{config.strategy}."
    return config, {key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)}
