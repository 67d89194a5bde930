"""Every shipped table: what it names exists, and its printed numbers give its printed changes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fmtl_datasets.scenarios.scenario import load_scenario
from run_folders import TABLE_1, TABLE_1_COLUMNS

from client_app.tasks.registry import get_task
from fmtl.errors import SettingError
from fmtl.reproduce.plan import reproduction
from fmtl.reproduce.published_table import Row, Table, list_tables, load_table
from fmtl.sweeps.plan import jobs_of
from fmtl_strategies.maths.delta_m import delta_m
from fmtl_strategies.registry import make_strategy
from server_app.config import parse_run_config

TINY = (Path(__file__).parents[1] / "support/tiny_table.toml").read_text()

PUBLISHED = {
    "fedhca2-table1": [0, -11.76, -10.68, -1.11, -5.57, 1.47, -0.46, 2.18, 1.89, 1.80],
    "fedhca2-table2": [0, -7.56, -8.12, -0.16, -4.67, 0.27, -0.16, 0.75],
    "fedhca2-table4": [0, 0.64, 1.44],
    "fedhca2-table5": [0, 0.53],
}
"""Methods 4.2, in the order of the papers' rows."""


@pytest.fixture(params=list_tables())
def table(request: pytest.FixtureRequest) -> Table:
    return load_table(request.param)


class TestWhatATableNames:
    def test_runs_exist_and_need_all_clients_in_every_round(self, table: Table) -> None:
        work = reproduction(table, table.path.parent / "nowhere", (0, 1, 2), table.rounds)
        methods = set()
        for sweep in work.sweeps.values():
            for job in jobs_of(sweep):
                config, parameters = parse_run_config(job.values)
                make_strategy(config.strategy, config, parameters)
                assert config.local.total_rounds == table.rounds
                assert (config.rounds.quorum, config.rounds.max_skipped_rounds) == (1.0, 1), job.label
                assert all(client.device == "auto" for client in sweep.scenario.clients)
                methods.add(job.label)
        assert methods == {table.runs_of(row.method) for row in table.rows}

    def test_columns_are_tasks_of_clients_of_every_scenario(self, table: Table) -> None:
        for row in table.rows:
            scenario = reproduction(table, table.path.parent, (0,), 1).sweep_of(row).scenario
            tasks = {client.name: client.tasks for client in scenario.clients}
            for column in table.columns:
                named = column.clients or [name for name, own in tasks.items() if column.task in own]
                assert named, column.head
                assert all(column.task in tasks[name] for name in named), (row.name, column.head)

    def test_columns_name_the_metric_that_we_score_by(self, table: Table) -> None:
        for column in table.columns:
            task = get_task(column.task)
            assert (column.metric, column.higher_is_better) == (task.metric_name, task.higher_is_better), column.head

    def test_all_clients_of_a_published_scenario_are_in_some_column(self) -> None:
        for name in ("fedhca2-table1", "fedhca2-table2", "fedhca2-table5"):
            one = load_table(name)
            shown = {(client, column.task) for column in one.columns for client in column.clients}
            assert shown == {(c.name, task) for c in load_scenario(one.scenario).clients for task in c.tasks}

    def test_what_is_called_ours_is_a_setting_or_parameter(self, table: Table) -> None:
        assert set(table.ours) <= set(table.settings)
        for row in table.rows:
            strategy = make_strategy(row.strategy, parse_run_config({"strategy": row.strategy})[0], row.parameters)
            known = set(strategy.parameters.model_dump(by_alias=True)) | set(row.settings)
            assert set(row.ours) <= known, row.name


def printed_change(table: Table, row: Row) -> float:
    base = table.row(table.reference)
    heads = [column.head for column in table.columns]
    directions = [column.higher_is_better for column in table.columns]
    return delta_m([row.values[head] for head in heads], [base.values[head] for head in heads], directions)


class TestPrintedNumbers:
    @pytest.mark.parametrize("name", PUBLISHED)
    def test_printed_rows_give_the_printed_changes_exactly(self, name: str) -> None:
        table = load_table(name)
        assert [row.delta_m for row in table.rows] == PUBLISHED[name]
        for row in table.rows:
            assert round(printed_change(table, row), 2) == row.delta_m, row.name

    def test_table_1_is_as_printed(self) -> None:
        table = load_table("fedhca2-table1")
        for method, values in TABLE_1.items():
            for (client, task), value in zip(TABLE_1_COLUMNS, values, strict=True):
                column = next(c for c in table.columns if (c.clients, c.task) == ((client,), task))
                assert table.row(method).values[column.head] == value

    def test_printed_changes_of_fmtl_bench_have_one_reference(self) -> None:
        """Delta = mean of signed (v / r - 1): linear in 1 / r, with four unknown r and eight printed rows."""
        table = load_table("fmtl-bench-iid1-swin-t")
        rows = [row for row in table.rows if row.values]
        signs = np.array(
            [1.0 if column.higher_is_better and not column.different else -1.0 for column in table.columns]
        )
        values = np.array([[row.values[column.head] for column in table.columns] for row in rows])
        printed = np.array([row.delta_m for row in rows], dtype=float)
        left, right = signs * values / 4, printed / 100 + signs.sum() / 4
        solved, *_ = np.linalg.lstsq(left, right, rcond=None)
        assert np.abs(left @ solved - right).max() * 100 < 0.03
        depth, _, normals, semseg = 1 / solved
        assert 60 < depth < 110
        assert 20 < normals < 35
        assert 15 < semseg < 40


@pytest.mark.parametrize("name", list_tables())
def test_printed_edge_scores_say_that_their_ground_truth_is_another(name: str) -> None:
    table = load_table(name)
    edges = [column.head for column in table.columns if column.metric == "odsF" and column.different is None]
    printed = any(row.values.get(head) is not None for row in table.rows for head in edges)
    assert printed == any("ground truth for scoring is another" in caveat for caveat in table.caveats)


class TestMistakes:
    @pytest.mark.parametrize(
        ("old", "new", "named"),
        [
            ('task = "depth"', 'task = "depths"', ["columns entry 2", "'depths'"]),
            ('"A SemSeg" = 2.5', '"A Semseg" = 2.5', ["'Local'", "'A Semseg'"]),
            ('method = "fedprox"', 'method = "local"', ["method 'local'"]),
            ("rounds = 2", "rounds = 0", ["rounds = 0"]),
            ("delta-m = 0", "delta = 0", ["rows entry 1.delta"]),
            ("2.5,", "nan,", ["rows entry 1.values"]),
            (
                'strategy = "fedper"',
                'strategy = "fedper"\nsame-run-as = "mine"',
                ["'FedPer'", "'mine'"],
            ),
            ('title = "', 'reference = "mine"\ntitle = "', ["reference 'mine'"]),
            ("rounds = 2", "rounds = ", ["TOML"]),
        ],
    )
    def test_is_named_with_its_place(self, old: str, new: str, named: list[str], tmp_path: Path) -> None:
        assert old in TINY
        path = tmp_path / "mine.toml"
        path.write_text(TINY.replace(old, new, 1))
        with pytest.raises(SettingError) as caught:
            load_table(str(path))
        assert "mine.toml" in str(caught.value)
        for part in named:
            assert part in str(caught.value)

    def test_unknown_table_lists_the_known_ones(self) -> None:
        with pytest.raises(SettingError, match=r"'table-9'.*fedhca2-table1, fedhca2-table2"):
            load_table("table-9")
