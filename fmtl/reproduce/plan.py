"""From a table to the sweeps that run it: one for each scenario, in a folder of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fmtl.errors import SettingError
from fmtl.reproduce.published_table import Row, Table
from fmtl.sweeps.file import Sweep, sweep_of

DEFAULT_SEEDS = (0, 1, 2)
"""No paper says how many seeds it used; three are the fewest that give a spread worth the name."""


@dataclass(frozen=True)
class Reproduction:
    """A table with the runs that reproduce it.

    Attributes:
        table: as published.
        out: absolute path of the folder.
        seeds: every row is run with each of them.
        rounds: of every run.
        sweeps: by scenario, that of the reference row first.
    """

    table: Table
    out: Path
    seeds: tuple[int, ...]
    rounds: int
    sweeps: Mapping[str, Sweep]

    @property
    def shortened(self) -> str | None:
        """What to say where the runs have not the published number of rounds."""
        if self.rounds == self.table.rounds:
            return None
        return f"NOT COMPARABLE: {self.rounds} of {self.table.rounds} rounds"

    def sweep_of(self, row: Row) -> Sweep:
        """The sweep that a row is a label of."""
        return self.sweeps[self.table.scenario_of(row)]


def default_folder(table: Table, rounds: int) -> Path:
    """``runs/reproduce/<table>``, and a folder beside it for each other number of rounds."""
    return (
        Path.cwd() / "runs" / "reproduce" / (table.name if rounds == table.rounds else f"{table.name}-{rounds}-rounds")
    )


def reproduction(table: Table, out: Path, seeds: Sequence[int], rounds: int) -> Reproduction:
    """Expand a table into its runs; nothing is checked that needs the data.

    Raises:
        SettingError: the table's file names a setting, strategy or parameter that does not exist.
    """
    folder = out.expanduser().absolute()
    sweeps = {
        scenario: sweep_of(table.path, _content(table, scenario, seeds, rounds), folder / Path(scenario).stem)
        for scenario in table.scenarios
    }
    return Reproduction(table, folder, tuple(seeds), rounds, sweeps)


def _content(table: Table, scenario: str, seeds: Sequence[int], rounds: int) -> dict[str, Any]:
    rows = [row for row in table.rows if table.scenario_of(row) == scenario and row.same_run_as is None]
    return {
        "scenario": scenario,
        "rounds": rounds,
        "seeds": list(seeds),
        "settings": table.settings,
        "runs": [
            {"strategy": row.strategy, "label": row.method, "settings": row.settings, "parameters": row.parameters}
            for row in rows
        ],
    }


def methods_of(table: Table, text: str | None) -> tuple[str, ...]:
    """The methods that ``--methods`` names; all where it is not given.

    Raises:
        SettingError: a method that the table does not have.
    """
    known = [row.method for row in table.rows]
    if text is None:
        return tuple(known)
    wanted = [name.strip() for name in text.split(",") if name.strip()]
    for name in wanted:
        if name not in known:
            raise SettingError(f"--methods {name!r} is not in {table.name}. Its methods: {', '.join(known)}.")
    if not wanted:
        raise SettingError(f"--methods {text!r} names no method. Those of {table.name}: {', '.join(known)}.")
    return tuple(dict.fromkeys(wanted))


def read_seeds(text: str) -> tuple[int, ...]:
    """The seeds that ``--seeds`` names: whole numbers with commas or spaces between them.

    Raises:
        SettingError: something else, or a seed twice.
    """
    parts = text.replace(",", " ").split()
    seeds = [int(part) for part in parts if part.isascii() and part.isdigit() and int(part) < 2**31]
    if not parts or len(seeds) < len(parts) or len(set(seeds)) < len(seeds):
        raise SettingError(
            f"--seeds {text!r}: expected whole numbers from 0 to 2^31 - 1, each once, as in --seeds 0,1,2."
        )
    return tuple(seeds)


def seeds_on_disk(table: Table, out: Path) -> tuple[int, ...]:
    """The seeds for which an earlier reproduction has left a run."""
    folders = (out / Path(scenario).stem / row.method for scenario in table.scenarios for row in table.rows)
    numbers = {path.name.removeprefix("seed-") for folder in folders for path in folder.glob("seed-*")}
    return tuple(sorted(int(number) for number in numbers if number.isdigit()))
