"""A published table as a file: its columns, its rows as printed, and what a row is run with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from fmtl_datasets.shared.conventions import TASKS
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from fmtl.errors import SettingError, first_fault
from fmtl.settings import read_toml

TABLE_FOLDER = Path(__file__).parent / "tables"
ConfigValue = bool | int | float | str
Text = Annotated[str, Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        populate_by_name=True,
        alias_generator=lambda name: name.replace("_", "-"),
        allow_inf_nan=False,
    )


class Column(_Strict):
    """One column of a table.

    Attributes:
        head: the paper's column head, with the data set where two share one.
        task: the task that is scored.
        clients: the clients it is scored on; where empty, all that have the task. Several are averaged.
        metric: name of our metric.
        higher_is_better: its direction.
        unit: what the paper prints.
        scale: the paper prints our value times this.
        decimals: that the paper prints.
        different: why the paper's metric is another one than ours. Such a column is shown but not compared, and counts
            as unchanged in the measured change.
    """

    head: Text
    task: Text
    clients: tuple[str, ...] = ()
    metric: Text
    higher_is_better: bool
    unit: Text
    scale: Annotated[float, Field(gt=0)] = 1.0
    decimals: Annotated[int, Field(ge=0, le=6)] = 2
    different: str | None = None

    @model_validator(mode="after")
    def _known_task(self) -> Self:
        if self.task not in TASKS:
            raise ValueError(f"task {self.task!r} is not known; known tasks: {', '.join(TASKS)}")
        return self


class Row(_Strict):
    """One method of a table.

    Attributes:
        name: as the paper calls it.
        method: short name, for ``--methods`` and for the run's folder.
        strategy: our strategy.
        scenario: where it is run, if not the table's scenario.
        same_run_as: method of another row that is the very same run here; this row has no run of its own then.
        parameters: of the strategy.
        settings: run-config keys over the table's.
        ours: by name of a parameter or setting that the paper does not give, why the value is what it is.
        values: by column head, as printed; what is not known is left out.
        delta_m: as printed, in percent; None where it is not printed.
        note: a sentence on this row.
    """

    name: Text
    method: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    strategy: Text
    scenario: str | None = None
    same_run_as: str | None = None
    parameters: dict[str, ConfigValue] = Field(default_factory=dict)
    settings: dict[str, ConfigValue] = Field(default_factory=dict)
    ours: dict[str, str] = Field(default_factory=dict)
    values: dict[str, float] = Field(default_factory=dict)
    delta_m: float | None = None
    note: str | None = None


class DataFacts(_Strict):
    """What the paper's copy of a data set holds, for a plan without the data and as a check with it.

    Attributes:
        train: images of the training list.
        validation: images of the validation list.
        classes: class counts by task.
    """

    train: Annotated[int, Field(ge=1)]
    validation: Annotated[int, Field(ge=1)]
    classes: dict[str, int] = Field(default_factory=dict)


class Table(_Strict):
    """A published table.

    Attributes:
        name: to ask for it by.
        title: one line.
        paper: which paper, with its arXiv number.
        number: the table's number in the paper.
        scenario: name of the scenario, or a path relative to the table's file.
        rounds: of the published runs.
        cells: ``values`` as printed, or ``changes`` in percent against the reference row.
        reference: method of the row that every change is measured against.
        settings: run-config keys for all runs.
        ours: by key of a setting that the paper does not give, why the value is what it is.
        data: by data set, what it holds.
        caveats: sentences on what keeps measured and printed values from being comparable.
        columns: in the paper's order.
        rows: in the paper's order.
        path: of the file.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9-]{1,64}$")]
    title: Text
    paper: Text
    number: Text
    scenario: Text
    rounds: Annotated[int, Field(ge=1)]
    cells: Literal["values", "changes"] = "values"
    reference: str = "local"
    settings: dict[str, ConfigValue] = Field(default_factory=dict)
    ours: dict[str, str] = Field(default_factory=dict)
    data: dict[str, DataFacts] = Field(default_factory=dict)
    caveats: tuple[str, ...] = ()
    columns: Annotated[tuple[Column, ...], Field(min_length=1)]
    rows: Annotated[tuple[Row, ...], Field(min_length=1)]
    path: Path

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        heads = [column.head for column in self.columns]
        methods = [row.method for row in self.rows]
        for what, names in (("column head", heads), ("method", methods)):
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{what} {twice[0]!r} is there twice")
        if self.reference not in methods:
            raise ValueError(f"reference {self.reference!r} is no method of the table; it has {', '.join(methods)}")
        for row in self.rows:
            if row.same_run_as is not None and self.runs_of(row.method) in (row.method, None):
                raise ValueError(f"row {row.name!r}: same-run-as {row.same_run_as!r} is no other row with a run")
            unknown = [head for head in row.values if head not in heads]
            if unknown:
                raise ValueError(f"row {row.name!r} has a value for {unknown[0]!r}, which is no column of the table")
        return self

    def row(self, method: str) -> Row:
        """The row of a method."""
        return next(row for row in self.rows if row.method == method)

    def runs_of(self, method: str) -> str | None:
        """The method whose runs a method's row shows; None where that has none of its own."""
        own = {row.method for row in self.rows if row.same_run_as is None}
        shown = next(row.same_run_as or row.method for row in self.rows if row.method == method)
        return shown if shown in own else None

    def scenario_of(self, row: Row) -> str:
        """The scenario that a row is run in."""
        return row.scenario or self.scenario

    @property
    def scenarios(self) -> tuple[str, ...]:
        """All scenarios of the table, that of the reference row first."""
        first = self.scenario_of(self.row(self.reference))
        return tuple(dict.fromkeys([first, *(self.scenario_of(row) for row in self.rows)]))


def list_tables() -> tuple[str, ...]:
    """Names of the tables that come with the project."""
    return tuple(sorted(path.stem for path in TABLE_FOLDER.glob("*.toml")))


def load_table(name_or_path: str) -> Table:
    """Load a table by name, or from a TOML file.

    Raises:
        SettingError: unknown name, or a mistake in the file, with its place.
    """
    if re.search(r"[/\\]|\.toml$", name_or_path):
        return _read(Path(name_or_path).expanduser())
    if name_or_path not in list_tables():
        raise SettingError(
            f"there is no table {name_or_path!r}. Known tables: {', '.join(list_tables())}; "
            f"or give the path of a .toml file."
        )
    return _read(TABLE_FOLDER / f"{name_or_path}.toml")


def _read(path: Path) -> Table:
    if not path.is_file():
        raise SettingError(f"{path}: there is no such file; give a table's name (`fmtl reproduce` lists them).")
    try:
        return Table.model_validate({**read_toml(path), "path": path.absolute()})
    except ValidationError as error:
        raise SettingError(f"{path}: {first_fault(error)}.") from error
