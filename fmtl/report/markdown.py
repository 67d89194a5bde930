"""The report of a comparison as one Markdown file: the table, its footnotes, and what the runs were."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path, PurePath
from urllib.parse import quote

from fmtl.report.comparison import Comparison
from fmtl.report.curves import write_curves
from fmtl.report.run_reader import Pair, Run
from fmtl.report.table import Footnotes, comparison_table
from fmtl.tables import WIDTH, escaped, format_bytes, format_seconds, markdown_table, printable
from fmtl_strategies.contract.files import write_text
from fmtl_strategies.contract.paths import PREDICTIONS_FILE

REPORT = "comparison.md"
_NOT_SHOWN = frozenset({"out-dir", "resume"})
"""Settings of where and how a run was started, which the table of runs names already."""


def write_report(comparison: Comparison, rows: Sequence[Pair], folder: Path, lead: str = "") -> Path:
    """Write ``comparison.md`` and the curves of a comparison; returns the report's path.

    Args:
        comparison: the runs.
        rows: the client-task pairs to show.
        folder: made if needed; where run folders hold pictures of predictions, the report links to them.
        lead: Markdown that stands above all tables.
    """
    folder.mkdir(parents=True, exist_ok=True)
    report = folder / REPORT
    write_text(report, markdown_report(comparison, rows, write_curves(comparison, folder), folder, lead))
    return report


def markdown_report(
    comparison: Comparison, rows: Sequence[Pair], curves: Sequence[Path], place: Path, lead: str = ""
) -> str:
    """The text of the report, with curves that lie beside it; other arguments as for `write_report`."""
    notes = Footnotes()
    parts = [f"# Comparison: scenario {escaped(comparison.scenario)}\n", *([lead] if lead else [])]
    if comparison.seeds:
        parts.append("## Mean ± sample standard deviation over seeds\n")
        table = comparison_table(comparison, comparison.seeds, rows, notes)
        parts += [part.markdown() for part in table.parts(WIDTH)]
        parts.append("## Single runs\n")
    table = comparison_table(comparison, comparison.columns, rows, notes)
    parts += [part.markdown() for part in table.parts(WIDTH)]
    parts.append(f"Bold: best of the row. {escaped(delta_m_note(comparison, rows))}\n")
    if notes.reasons:
        parts.append("Missing values:\n\n" + "\n".join(f"- {escaped(line)}" for line in notes.lines()) + "\n")
    if comparison.notes:
        parts.append("Notes:\n\n" + "\n".join(f"- {escaped(note)}" for note in comparison.notes) + "\n")
    if curves:
        parts.append("## Curves\n")
        parts += [f"![{path.stem.removeprefix('curve_')} by round]({path.name})\n" for path in curves]
    runs = [run for column in comparison.columns for run in column.runs]
    parts += _predictions(runs, place)
    parts += ["## Runs\n", _runs_table(runs)]
    parts += ["## Settings\n", _settings(runs)]
    return "\n".join(parts)


def delta_m_note(comparison: Comparison, rows: Sequence[Pair]) -> str:
    """What the last row of the table says, as sentences."""
    count = len(comparison.measures)
    text = (
        f"Δm: mean relative change, over {count} client-task pairs, against {comparison.against}; "
        "positive is better in every row's own direction."
    )
    if len(rows) < count:
        text += f" It is taken over all {count} pairs, of which {len(rows)} are shown."
    return text


def _predictions(runs: Sequence[Run], place: Path) -> list[str]:
    """Pictures that clients drew of what their models predict; only a simulation has them in its run folder."""
    parts = []
    for run in runs:
        for picture in sorted(run.folder.glob(f"clients/*/*/{PREDICTIONS_FILE}")):
            link = quote(os.path.relpath(picture.resolve(), place.resolve()))
            title = f"{run.name}, {picture.parent.name}"
            parts.append(f"![{escaped(title)}: labels, and predictions below]({link})\n")
    return ["## Predictions\n", *parts] if parts else []


def _runs_table(runs: Sequence[Run]) -> str:
    heading = ("run", "strategy", "parameters", "seed", "rounds", "state", "time", "bytes up", "bytes down", "versions")
    rows = []
    for run in runs:
        cost = ("not recorded",) * 3
        if end := run.result:
            cost = (format_seconds(end.seconds), format_bytes(end.bytes_up), format_bytes(end.bytes_down))
        parameters = ", ".join(f"{key} = {_value(value)}" for key, value in run.parameters.items())
        unknown = "none" if run.status != "unfinished" else "not recorded"
        versions = ", ".join(f"{name} {version}" for name, version in sorted(run.versions.items()))
        facts = (run.name, run.strategy, parameters or unknown, run.seed, run.rounds, run.state)
        rows.append((*facts, *cost, versions or "not recorded"))
    return markdown_table(heading, rows) + "\n"


def _settings(runs: Sequence[Run]) -> str:
    keys = sorted({key for run in runs for key in run.run_config if key not in _NOT_SHOWN})
    common, different = [], []
    for key in keys:
        values = [_setting(run.run_config[key]) if key in run.run_config else "not set" for run in runs]
        if len(set(values)) == 1:
            common.append(f"{key} = {values[0]}")
        else:
            different.append((key, *values))
    text = f"{markdown_table(('setting', *(run.name for run in runs)), different)}\n\n" if different else ""
    if common:
        text += "The same in all runs:\n\n" + "".join(f"    {printable(line)}\n" for line in common)
    return text or "No settings were recorded.\n"


def _setting(value: object) -> str:
    """A setting's value; of a path only the last part, since a report travels further than folders do."""
    return _value(PurePath(value).name if isinstance(value, str) and "/" in value else value)


def _value(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)
