"""Runs side by side: one row for each task of each client, one column for each run, and delta_m below.

Several seeds of one strategy (same parameters, same settings, same number of rounds) also get a column of their mean
and sample standard deviation. A value that is missing in one seed is missing in the mean: an average over fewer seeds
beside one over all of them would compare different things.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fmtl.report.checks import check_comparable, differing_clients, differing_settings, measures_of
from fmtl.report.run_reader import Measure, Pair, Run
from fmtl_strategies.maths.delta_m import delta_m

LOCAL = "local"


@dataclass(frozen=True)
class Cell:
    """A value over seeds, or the reason why there is none.

    Attributes:
        values: of the seeds that have one.
        missing_because: given exactly when there is no value.
    """

    values: tuple[float, ...] = ()
    missing_because: str | None = None

    @property
    def value(self) -> float | None:
        """Mean over seeds."""
        return statistics.fmean(self.values) if self.values else None

    @property
    def spread(self) -> float | None:
        """Sample standard deviation over seeds; None for fewer than two."""
        return statistics.stdev(self.values) if len(self.values) > 1 else None


@dataclass(frozen=True)
class Column:
    """One run, or several seeds of one strategy.

    Attributes:
        label: lines of the heading.
        cells: by client and task.
        delta_m: in percent, against the local run of the same seed.
        ranked: whether its values compete for the best of a row; those of an unfinished run do not.
        runs: what it shows.
    """

    label: tuple[str, ...]
    cells: Mapping[Pair, Cell]
    delta_m: Cell
    ranked: bool
    runs: tuple[Run, ...]


@dataclass(frozen=True)
class Comparison:
    """All that the table, the Markdown file and the curves show.

    Attributes:
        scenario: its name.
        measures: the rows; None where no run names the metric, because none has ended.
        columns: one for each run.
        seeds: one for each strategy; empty where none was run with several seeds.
        against: what delta_m is measured against, as a phrase.
        notes: sentences for the reader.
    """

    scenario: str
    measures: Mapping[Pair, Measure | None]
    columns: tuple[Column, ...]
    seeds: tuple[Column, ...]
    against: str
    notes: tuple[str, ...]


def compare_runs(runs: Sequence[Run], local: Run | None = None) -> Comparison:
    """Put runs side by side.

    Args:
        runs: of one scenario, in the order of the columns.
        local: what every run is measured against whatever its seed; where None, each run is measured against the run
            of strategy ``local`` with its own seed.

    Returns:
        The comparison; ``local`` becomes a column too, the first one, unless it is among ``runs``.

    Raises:
        SettingError: different scenarios, clients, tasks or metrics, or a run given twice.
    """
    if local is not None and local.folder.resolve() not in [run.folder.resolve() for run in runs]:
        runs = [local, *runs]
    check_comparable(runs)
    measures = measures_of(runs)
    labels = _labels(runs)
    columns = tuple(
        Column(
            label=labels[index],
            cells={pair: _cell(run, pair) for pair in measures},
            delta_m=_delta_m(run, _reference(run, runs, local), measures),
            ranked=run.status == "completed",
            runs=(run,),
        )
        for index, run in enumerate(runs)
    )
    against = f"the run {local.name} ({local.strategy}, seed {local.seed})" if local else "local training, same seed"
    seeds, seed_notes = _seed_columns(columns)
    notes = (*_notes(runs), *seed_notes)
    return Comparison(runs[0].scenario, measures, columns, seeds, against, notes)


def _cell(run: Run, pair: Pair) -> Cell:
    score = run.scores.get(pair)
    if run.status == "failed" and (score is None or score.value is None):
        return Cell(missing_because=f"the run failed: {run.reason}")
    if score is not None:
        return Cell(() if score.value is None else (score.value,), score.missing_because)
    return Cell(missing_because="the run is not finished and has not scored this yet")


def _reference(run: Run, runs: Sequence[Run], local: Run | None) -> Run | str:
    """The run to measure against, or why there is none."""
    if local is not None:
        return local
    candidates = [other for other in runs if other.strategy == LOCAL]
    if not candidates:
        return "no run of strategy local was given; add one, or name a run with --local"
    if run.strategy == LOCAL:
        return run
    same_seed = [other for other in candidates if other.seed == run.seed]
    if not same_seed:
        return f"no local run with seed {run.seed} was given; add one, or name a run with --local"
    if len(same_seed) > 1:
        names = ", ".join(other.name for other in same_seed)
        return f"several local runs have seed {run.seed} ({names}); name one of them with --local"
    return same_seed[0]


def _delta_m(run: Run, reference: Run | str, measures: Mapping[Pair, Measure | None]) -> Cell:
    if isinstance(reference, str):
        return Cell(missing_because=reference)
    values: list[float] = []
    references: list[float] = []
    directions: list[bool] = []
    for one in (run, reference):
        if one.status != "completed":
            state = "failed" if one.status == "failed" else "is unfinished"
            return Cell(missing_because=f"not computed: {one.name} {state}")
    for (client, task), measure in measures.items():
        for one, collected in ((run, values), (reference, references)):
            value = one.scores[client, task].value
            if value is None:
                return Cell(missing_because=f"not computed: {client}/{task} is missing in {one.name}")
            collected.append(value)
        if measure is not None:
            directions.append(measure.higher_is_better)
    if 0.0 in references:
        client, task = tuple(measures)[references.index(0.0)]
        return Cell(missing_because=f"not computed: {client}/{task} is 0 in {reference.name}, no base for a ratio")
    change = delta_m(values, references, directions) if values else math.nan
    if not math.isfinite(change):
        return Cell(missing_because="not computed: the values of these runs give no finite relative change")
    return Cell((change,))


def _identity(run: Run) -> dict[str, object]:
    """Everything that makes two runs of a strategy different ones, apart from the seed."""
    return {**run.parameters, "rounds": run.rounds} if run.status == "completed" else dict(run.parameters)


def _labels(runs: Sequence[Run]) -> list[tuple[str, ...]]:
    """Headings that tell the columns apart: strategy, what differs between runs of it, seed, state."""
    labels: list[tuple[str, ...]] = []
    for run in runs:
        peers = [other for other in runs if other.strategy == run.strategy]
        identity = _identity(run)
        lines = [run.strategy]
        for key, value in identity.items():
            if any(key in _identity(peer) and _identity(peer)[key] != value for peer in peers):
                lines.append(f"{key}={value}")
        settings = differing_settings(peers)
        for key, values in settings.items():
            value = values[peers.index(run)]
            lines.append(f"no {key}" if value is None else f"{key}={value}")
        lines.append(f"seed {run.seed}")
        if run.status != "completed":
            lines.append(run.status)
            lines.append("no scores yet" if run.evaluated_round is None else f"at round {run.evaluated_round}")
        labels.append(tuple(lines))
    return [(*label, run.name) if labels.count(label) > 1 else label for label, run in zip(labels, runs, strict=True)]


def _seed_columns(columns: Sequence[Column]) -> tuple[tuple[Column, ...], list[str]]:
    """Mean columns, and sentences on groups that could not be averaged."""
    completed = [column for column in columns if column.ranked]
    groups: dict[str, list[Column]] = {}
    for column in completed:
        run = column.runs[0]
        peers = [other.runs[0] for other in completed if other.runs[0].strategy == run.strategy]
        settings = {key: values[peers.index(run)] for key, values in differing_settings(peers).items()}
        key = json.dumps([run.strategy, _identity(run), settings], sort_keys=True, default=str)
        groups.setdefault(key, []).append(column)
    notes: list[str] = []
    averaged: list[Column] = []
    for members in groups.values():
        seeds = [column.runs[0].seed for column in members]
        if len(set(seeds)) < len(seeds):
            names = ", ".join(column.runs[0].name for column in members)
            notes.append(f"{names}: no mean over seeds, because a seed appears more than once among them.")
            continue
        averaged.append(_averaged(members))
    return (tuple(averaged) if any(len(column.runs) > 1 for column in averaged) else ()), notes


def _averaged(members: Sequence[Column]) -> Column:
    label = tuple(line for line in members[0].label if not line.startswith("seed "))
    seeds = f"n = {len(members)} seeds" if len(members) > 1 else "n = 1"
    return Column(
        label=(*label, seeds),
        cells={pair: _mean([(column, column.cells[pair]) for column in members]) for pair in members[0].cells},
        delta_m=_mean([(column, column.delta_m) for column in members]),
        ranked=True,
        runs=tuple(column.runs[0] for column in members),
    )


def _mean(cells: Sequence[tuple[Column, Cell]]) -> Cell:
    for column, cell in cells:
        if cell.value is None:
            seed = f"seed {column.runs[0].seed}: " if len(cells) > 1 else ""
            return Cell(missing_because=f"{seed}{cell.missing_because}")
    return Cell(tuple(value for _, cell in cells for value in cell.values))


def _notes(runs: Sequence[Run]) -> list[str]:
    notes = [f"{run.name} failed: {run.reason}" for run in runs if run.status == "failed"]
    notes += [f"{run.name} is {run.state}; its values are not final." for run in runs if run.status == "unfinished"]
    rounds = {run.name: run.rounds for run in runs if run.status == "completed"}
    if len(set(rounds.values())) > 1:
        listed = ", ".join(f"{count} in {name}" for name, count in rounds.items())
        notes.append(f"The runs have not the same number of rounds: {listed}.")
    for key, values in differing_settings(runs).items():
        listed = ", ".join(
            f"{'not set' if value is None else value} in {run.name}" for run, value in zip(runs, values, strict=True)
        )
        notes.append(f"The setting {key} is not the same in all runs: {listed}.")
    return notes + differing_clients(runs)
