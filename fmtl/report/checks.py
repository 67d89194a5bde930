"""Whether runs may stand in one table, and in what they differ besides strategy and seed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fmtl.errors import SettingError
from fmtl.report.run_reader import Measure, Pair, Run

_PER_RUN = frozenset({"seed", "strategy", "scenario", "num-server-rounds", "out-dir", "resume", "keep-checkpoints"})
"""Settings that a comparison shows anyway, or that cannot change the training."""


def check_comparable(runs: Sequence[Run]) -> None:
    """Make sure that all runs have the same scenario and the same clients, tasks and metrics.

    A run that did not complete may have scored only some of the tasks, but no others.

    Raises:
        SettingError: naming the first difference found.
    """
    if not runs:
        raise SettingError("no run was given; name at least one run folder.")
    folders = [run.folder.resolve() for run in runs]
    for index, folder in enumerate(folders):
        if folder in folders[:index]:
            raise SettingError(f"{runs[index].folder} was given twice; name each run once.")
    first = runs[0]
    for run in runs[1:]:
        if run.scenario != first.scenario:
            raise SettingError(
                f"{first.name} is a run of scenario {first.scenario!r} and {run.name} of {run.scenario!r}; "
                f"only runs of one scenario can be compared."
            )
    completed = [run for run in runs if run.status == "completed"]
    if completed:
        for run in runs:
            _check_same_pairs(completed[0], run)
    _check_same_measures(runs)


def measures_of(runs: Sequence[Run]) -> dict[Pair, Measure | None]:
    """All client-task pairs in the order of the first run that has them; None where no run names the metric."""
    measures: dict[Pair, Measure | None] = {}
    for run in sorted(runs, key=lambda run: run.status != "completed"):
        for pair in (*run.measures, *run.scores):
            measures[pair] = measures.get(pair) or run.measures.get(pair)
    return measures


def differing_settings(runs: Sequence[Run]) -> dict[str, tuple[object, ...]]:
    """Settings of the run config that are not the same in all runs, with the value in each (None where not set).

    Left out are settings that cannot change the training: those that name a file or a folder, and the parameters of
    strategies (``<strategy>.<parameter>``), which belong to each run on its own.
    """
    found: dict[str, tuple[object, ...]] = {}
    for key in dict.fromkeys(key for run in runs for key in run.run_config):
        values = tuple(run.run_config.get(key) for run in runs)
        if key in _PER_RUN or "." in key or any(isinstance(value, str) and "/" in value for value in values):
            continue
        if any(value != values[0] for value in values):
            found[key] = values
    return found


def _check_same_pairs(reference: Run, run: Run) -> None:
    surplus = [pair for pair in run.scores if pair not in reference.scores]
    lacking = [pair for pair in reference.scores if pair not in run.scores] if run.status == "completed" else []
    if not surplus and not lacking:
        return
    parts = []
    if surplus:
        parts.append(f"{run.name} has {_names(surplus)}, which {reference.name} has not")
    if lacking:
        parts.append(f"{reference.name} has {_names(lacking)}, which {run.name} has not")
    raise SettingError(f"these runs have different clients or tasks: {'; '.join(parts)}.")


def _check_same_measures(runs: Sequence[Run]) -> None:
    seen: dict[Pair, tuple[Run, Measure]] = {}
    for run in runs:
        for pair, measure in run.measures.items():
            earlier, expected = seen.setdefault(pair, (run, measure))
            if measure != expected:
                raise SettingError(
                    f"{_names([pair])} is scored by {_described(expected)} in {earlier.name} and by "
                    f"{_described(measure)} in {run.name}; such values cannot be compared."
                )


def _described(measure: Measure) -> str:
    return f"{measure.metric} ({'higher' if measure.higher_is_better else 'lower'} is better)"


def _names(pairs: Iterable[Pair]) -> str:
    return ", ".join(f"{client}/{task}" for client, task in pairs)


def differing_clients(runs: Sequence[Run]) -> list[str]:
    """Sentences on clients whose encoder, data set, initial weights or number of images is not the same in all runs."""
    sentences = []
    known = [run for run in runs if run.clients]
    for client in dict.fromkeys(name for run in known for name in run.clients):
        entries = {run.name: run.clients[client] for run in known if client in run.clients}
        for key in ("dataset", "encoder", "weights", "train_examples"):
            values: Mapping[str, object] = {name: getattr(entry, key) for name, entry in entries.items()}
            if len(set(values.values())) > 1:
                listed = ", ".join(f"{value} in {name}" for name, value in values.items())
                sentences.append(f"Client {client} has not the same {key.replace('_', ' ')} in all runs: {listed}.")
    return sentences
