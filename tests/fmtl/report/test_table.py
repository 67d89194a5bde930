"""Tables and Markdown: what is bold, what a missing value looks like, and that nothing from outside is obeyed."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from errors import naming
from rich.console import Console

from fmtl.report.comparison import Comparison
from fmtl.report.markdown import markdown_report
from fmtl.report.selection import select
from fmtl.report.table import Footnotes, comparison_table
from fmtl.tables import WideTable, format_bytes, format_seconds, printable
from tests.support.run_folders import TABLE_1, RunFolder, comparison_of, table_1


def laid_out(comparison: Comparison) -> tuple[WideTable, Footnotes]:
    notes = Footnotes()
    return comparison_table(comparison, comparison.columns, tuple(comparison.measures), notes), notes


def bold(table: WideTable) -> dict[str, list[bool]]:
    """By task, which values stand out."""
    return {str(row[1]): [cell.style == "bold" for cell in row[3:]] for row in table.rows}


def screen(table: WideTable, width: int = 100) -> list[str]:
    console = Console(width=width, color_system=None, record=True, file=None, quiet=False)
    with console.capture() as capture:
        console.print(table.printed())
    return capture.get().splitlines()


def test_best_value_is_bold_in_the_metric_s_own_direction(tmp_path: Path) -> None:
    values = [{"a": {"semseg": 40.0, "depth": 0.60}}, {"a": {"semseg": 41.0, "depth": 0.61}}]
    comparison = comparison_of(tmp_path, *(RunFolder(value, strategy=f"s{i}") for i, value in enumerate(values)))
    table, _ = laid_out(comparison)
    assert bold(table)["depth"] == [True, False]
    assert bold(table)["semseg"] == [False, True]


def test_values_that_read_the_same_are_both_bold_and_a_single_value_is_not(tmp_path: Path) -> None:
    same = comparison_of(
        tmp_path / "a",
        RunFolder({"a": {"semseg": 41.001, "edge": "gone"}}),
        RunFolder({"a": {"semseg": 41.002, "edge": 50.0}}, strategy="fedper"),
    )
    table, _ = laid_out(same)
    assert bold(table)["semseg"] == [True, True]
    assert bold(table)["edge"] == [False, False]


def test_value_of_an_unfinished_run_is_never_bold(tmp_path: Path) -> None:
    runs = [RunFolder({"a": {"semseg": value}}, strategy=f"s{value:.0f}") for value in (10.0, 11.0)]
    unfinished = RunFolder({"a": {"semseg": 90.0}}, strategy="fedper", status=None)
    table, _ = laid_out(comparison_of(tmp_path, *runs, unfinished))
    assert bold(table)["semseg"] == [False, True, False]


def test_missing_value_is_a_footnote_and_no_digit_stands_in_for_it(tmp_path: Path) -> None:
    comparison = comparison_of(
        tmp_path,
        RunFolder({"a": {"semseg": 40.0, "edge": 70.0}}),
        RunFolder({"a": {"semseg": 41.0, "edge": "set aside: NaN"}}, strategy="fedper"),
    )
    table, notes = laid_out(comparison)
    holed = {str(row[1]): str(row[4]) for row in table.rows}
    assert holed["edge"] == "missing (1)"
    assert holed["Δm"] == "missing (2)"
    assert list(notes.lines())[0] == "(1) set aside: NaN"
    report = markdown_report(comparison, tuple(comparison.measures), [], Path())
    assert "- (1) set aside: NaN" in report
    assert not re.search(r"\| (nan|inf|None|0\.00) \|$", report, flags=re.MULTILINE | re.IGNORECASE)


def test_equal_reasons_share_a_footnote() -> None:
    notes = Footnotes()
    assert [notes.mark("late"), notes.mark("gone"), notes.mark("late")] == ["(1)", "(2)", "(1)"]


def test_wide_comparison_is_cut_into_tables_that_fit_and_lose_no_column(tmp_path: Path) -> None:
    runs = [RunFolder(table_1(name), strategy=name, seed=seed) for name in TABLE_1 for seed in range(3)]
    table, _ = laid_out(comparison_of(tmp_path, *runs))
    cut = list(table.parts(100))
    assert len(cut) > 1
    assert [heading for part in cut for heading in part.heading[3:]] == [
        f"{name}\nseed {seed}" for name in TABLE_1 for seed in range(3)
    ]
    for part in cut:
        lines = screen(part)
        assert max(map(len, lines)) <= 100
        # A row that had to be folded would take a second line.
        assert sum("↑" in line or "↓" in line for line in lines) == len(part.rows)
        assert sum(bool(line.strip()) for line in lines) == len(part.rows) + 3


def test_small_values_get_more_decimals_and_no_change_has_no_sign(tmp_path: Path) -> None:
    values = {"a": {"depth": 0.62814, "edge": 7.5, "semseg": 41.469}}
    table, _ = laid_out(comparison_of(tmp_path, RunFolder(values)))
    assert [str(row[3]) for row in table.rows] == ["0.6281", "7.500", "41.47", "0.00"]


def test_absurdly_large_value_does_not_blow_up_the_table(tmp_path: Path) -> None:
    runs = [RunFolder({"a": {"edge": 1e99}}, seed=0), RunFolder({"a": {"edge": -1e99}}, seed=1)]
    comparison = comparison_of(tmp_path, *runs)
    table, _ = laid_out(comparison)
    assert [str(cell) for cell in table.rows[0][3:]] == ["1.000e+99", "-1.000e+99"]
    assert comparison.seeds[0].cells["a", "edge"].value == 0.0


def test_client_is_named_on_its_first_row_only(tmp_path: Path) -> None:
    table, _ = laid_out(comparison_of(tmp_path, RunFolder({"a": {"depth": 1.0, "edge": 2.0}, "b": {"edge": 3.0}})))
    assert [str(row[0]) for row in table.rows] == ["a", "", "b", "all"]


def test_text_of_a_client_cannot_steer_terminal_or_markdown(tmp_path: Path) -> None:
    reason = "bad\x1b[31m\n| [link](http://x) <b>"
    assert printable(reason) == "bad [31m | [link](http://x) <b>"
    comparison = comparison_of(tmp_path, RunFolder({"a": {"edge": reason}}))
    report = markdown_report(comparison, tuple(comparison.measures), [], Path())
    assert "\x1b" not in report
    assert r"\[link\](http://x) \<b\>" in report


def test_report_states_parameters_seeds_versions_costs_and_settings(tmp_path: Path) -> None:
    settings = {"num-server-rounds": 3, "out-dir": "/somewhere/else", "scenario": "/somewhere/site.yaml"}
    comparison = comparison_of(
        tmp_path,
        RunFolder(table_1("local"), settings=settings),
        RunFolder(table_1("fedhca2"), strategy="fedhca2", parameters={"mode": "stable"}, settings=settings),
    )
    report = markdown_report(comparison, tuple(comparison.measures), [Path("curve_edge.png")], Path())
    row = '| run-1 | fedhca2 | mode = "stable" | 0 | 3 | completed | 2 min 32 s | 123.5 MB | 2.0 kB | '
    assert f"{row}flwr 1.41.0, fmtl 0.1.0 |" in report
    assert "    num-server-rounds = 3\n" in report
    assert "![edge by round](curve_edge.png)" in report
    assert "somewhere" not in report
    assert str(tmp_path) not in report


def test_units_of_bytes_and_time() -> None:
    assert [format_bytes(count) for count in (999, 1000, 56_000_000, 2 * 10**15)] == [
        "999 B",
        "1.0 kB",
        "56.0 MB",
        "2000.0 TB",
    ]
    assert [format_seconds(value) for value in (3.14, 150.0, 9000.0)] == ["3.1 s", "2 min 30 s", "2 h 30 min"]


def test_items_are_chosen_by_any_of_their_names() -> None:
    pairs = {pair: (*pair, "/".join(pair)) for pair in (("a", "semseg"), ("a", "edge"), ("b", "edge"))}
    assert select(pairs, ["edge"], "--columns") == (("a", "edge"), ("b", "edge"))
    assert select(pairs, ["b", "a/s*"], "--columns") == (("a", "semseg"), ("b", "edge"))
    with pytest.raises(ValueError, match=naming("--columns 'depth'", "a/semseg, a/edge, b/edge")):
        select(pairs, ["depth"], "--columns")
