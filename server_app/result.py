"""result.json: what a run says about itself at its end."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fmtl_strategies.contract.messages import Score
from fmtl_strategies.contract.profile import ClientProfile
from fmtl_strategies.contract.settings import flat
from fmtl_strategies.round.base import PersonalizedStrategy
from fmtl_strategies.round.record import RoundRecord
from fmtl_strategies.settings import RunConfig

FORMAT = 1


def final_result(
    strategy: PersonalizedStrategy, config: Mapping[str, Any], record: RoundRecord | None, reason: str | None
) -> dict[str, Any]:
    """Return the content of result.json, without the totals of the history.

    Args:
        strategy: the strategy after the last round.
        config: content of config.json.
        record: the final scores, or why there are none; None where the run failed before.
        reason: why the run failed; None where it completed.
    """
    run_config = config["run_config"]
    scores = {} if record is None else record.scores
    set_aside = {} if record is None else record.set_aside
    local_epochs = {name: profile.local_epochs for name, profile in sorted(strategy.roster.profiles.items())}
    training, plain = _training(strategy.settings, local_epochs), _training(RunConfig(), {"any": 1})
    return {
        "format": FORMAT,
        "status": "completed" if reason is None else "failed",
        "reason": reason,
        "strategy": run_config["strategy"],
        "strategy_parameters": _by_name(
            strategy, {section: values.model_dump(by_alias=True) for section, values in strategy.sections().items()}
        ),
        "strategy_parameter_origins": _by_name(strategy, strategy.origins()),
        "training_settings": training,
        "training_setting_origins": {n: "ours" if value == plain[n] else "given" for n, value in training.items()},
        "scenario": run_config["scenario"],
        "seed": run_config["seed"],
        "rounds": run_config["num-server-rounds"],
        "experiment": config["experiment"],
        "versions": config["versions"],
        "clients": {
            name: _client(profile, scores.get(name, {}), set_aside.get(name))
            for name, profile in sorted(strategy.roster.profiles.items())
        },
    }


def _by_name(strategy: PersonalizedStrategy, sections: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return values of all parameters by name; those of a wrapped strategy as `<strategy>.<parameter>`."""
    found: dict[str, Any] = {}
    for section, values in sections.items():
        prefix = "" if section == strategy.name else f"{section}."
        found |= {prefix + name: value for name, value in values.items()}
    return found


def totals(history: Sequence[Mapping[str, Any]]) -> dict[str, float | int]:
    """Return bytes and seconds summed over the lines of a history."""
    return {
        "bytes_up": sum(int(line["bytes_up"]) for line in history),
        "bytes_down": sum(int(line["bytes_down"]) for line in history),
        "seconds": round(sum(float(line["seconds"].get(k, 0.0)) for line in history for k in _PHASES), 3),
    }


_PHASES = ("clients", "aggregation")


def _client(profile: ClientProfile, scores: Mapping[str, Score], set_aside: str | None) -> dict[str, Any]:
    absent = Score(missing_because=(set_aside or "the client was not there to be scored")[:500])
    return {
        "dataset": profile.dataset,
        "encoder": profile.encoder,
        "train_examples": profile.train_examples,
        "validation_examples": profile.validation_examples,
        "weights": profile.weights_report,
        "tasks": {
            task.name: {
                "metric": task.metric,
                "higher_is_better": task.higher_is_better,
                **scores.get(task.name, absent).model_dump(),
            }
            for task in profile.tasks
        },
    }


def _training(config: RunConfig, local_epochs: Mapping[str, int]) -> dict[str, Any]:
    """Return how clients train, by name, with the epochs of a round by client, as its scenario says."""
    values, same = flat(config.local), set(local_epochs.values())
    names = ("encoder-learning-rate", "decoder-learning-rate", "weight-decay", "schedule", "warmup-epochs")
    return {
        "optimiser": "AdamW",
        **{name: values[name] for name in names},
        "local-epochs": same.pop() if len(same) == 1 else dict(local_epochs),
    }
