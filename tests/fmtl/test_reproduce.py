"""`fmtl reproduce`: what is measured beside what was printed, the dry run, and the options."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Mapping
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console
from tiny_data import write_nyud

from fmtl.commands.reproduce import command
from fmtl.errors import SettingError
from fmtl.reproduce import dry_run
from fmtl.reproduce.counts import clients_of, count
from fmtl.reproduce.measured import Report, differs, measure
from fmtl.reproduce.needs import find_needs
from fmtl.reproduce.perform import check
from fmtl.reproduce.plan import Reproduction, default_folder, reproduction, seeds_on_disk
from fmtl.reproduce.published_table import list_tables, load_table
from fmtl.reproduce.report import lines_of, print_report, write_report
from fmtl.sweeps.plan import Job, jobs_of
from tests.support import sweeps
from tests.support.commands import invoke

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "tests/support/tiny_table.toml"
Scores = Mapping[str, Mapping[str, float | str]]


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FMTL_DATA_ROOT", raising=False)


def tiny(seeds: tuple[int, ...] = (0, 1), rounds: int = 2) -> Reproduction:
    return reproduction(load_table(str(TABLE)), Path("out"), seeds, rounds)


def scores(semseg: float, depth: float, normals: float | str, saliency: float = 50.0) -> Scores:
    return {"one": {"semseg": semseg}, "two": {"depth": depth, "normals": normals}, "three": {"saliency": saliency}}


def finish(work: Reproduction, method: str, seed: int, values: Scores, **how: object) -> None:
    """A run folder as a run leaves it."""
    sweeps.finish(job_of(work, method, seed), values, **how)


def job_of(work: Reproduction, method: str, seed: int) -> Job:
    jobs = [job for sweep in work.sweeps.values() for job in jobs_of(sweep)]
    return next(job for job in jobs if (job.label, job.seed) == (method, seed))


def reproduce(*arguments: str) -> tuple[int, str]:
    result = invoke(command, *arguments)
    return result.exit_code, result.output


def text_of(report: Report, width: int = 160) -> str:
    screen = Console(width=width, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    print_report(report, screen)
    return screen.export_text()


def with_row(folder: Path, row: str) -> Reproduction:
    """The tiny table with another last row."""
    (folder / "tiny.yaml").write_text((TABLE.parent / "tiny.yaml").read_text())
    (folder / "mine.toml").write_text(TABLE.read_text().replace('strategy = "fedper"', row))
    return reproduction(load_table(str(folder / "mine.toml")), folder / "out", (0,), 2)


class TestMeasured:
    def two_seeds(self) -> Report:
        work = tiny()
        finish(work, "local", 0, scores(2.0, 2.0, 50.0))
        finish(work, "local", 1, scores(4.0, 2.0, 50.0))
        finish(work, "fedprox", 0, scores(3.0, 1.0, 60.0, 10.0))
        finish(work, "fedprox", 1, scores(6.0, 3.0, 50.0, 10.0))
        return measure(work, {})

    def test_cells_are_mean_and_sample_deviation_in_the_papers_unit(self) -> None:
        local, fedprox, fedper = self.two_seeds().rows
        assert local.cells["A SemSeg"].values == (2.0, 4.0)
        assert local.cells["A SemSeg"].value == 3.0
        assert local.cells["A SemSeg"].spread == pytest.approx(2**0.5)
        assert fedprox.cells["B Depth"].values == (100.0, 300.0)
        assert fedper.cells["A SemSeg"].value is None
        assert fedper.seeds == 0

    def test_change_is_against_the_same_seed_and_a_column_of_another_metric_is_unchanged(self) -> None:
        local, fedprox, _ = self.two_seeds().rows
        # seed 0: +50 % semseg, +50 % depth, -20 % normals, saliency not counted; seed 1: +50, -50, 0
        assert fedprox.delta_m.values == pytest.approx((80 / 4, 0.0))
        assert local.delta_m.values == (0.0, 0.0)

    def test_difference_is_marked_only_beyond_the_spread(self) -> None:
        local, fedprox, _ = self.two_seeds().rows
        assert not differs(local.cells["A SemSeg"], 2.5, 2)  # 3.0 +- 1.41
        assert not differs(local.cells["A SemSeg"], 1.5858, 2)
        assert differs(local.cells["A SemSeg"], 1.57, 2)
        assert differs(local.cells["B Normals"], 60.0, 2)  # 50 +- 0
        assert not differs(local.cells["B Normals"], 50.004, 2)  # within the rounding of the printed value
        assert differs(fedprox.delta_m, -12.5, 2)

    def test_printed_table_has_both_lines_of_every_method(self) -> None:
        lines = text_of(self.two_seeds()).splitlines()
        paper = next(line for line in lines if line.strip().startswith("Local"))
        assert paper.split() == ["Local", "paper", "2.50", "250.0", "60.00", "30.00", "0.00"]
        measured = lines[lines.index(paper) + 1]
        assert "measured, n = 2" in measured
        assert re.search(r"3\.00±1\.41 +200\.0±0\.0\* +50\.00±0\.00\* +not compared +0\.00±0\.00", measured)
        text = " ".join(" ".join(lines).split())
        for part in (
            "Not run yet: FedPer.",
            "our RMSE is multiplied by 100",
            "C Sal is not compared and counts as unchanged: the paper scores saliency by mIoU, ours is maxF.",
            "FedProx: A sentence on this row.",
            "Not given by the paper and ours: FedProx mu = 0.01 (not given).",
            "Not given by the paper and ours: evaluate-every = 2",
            "No paper has printed these numbers.",
        ):
            assert part in text, part

    @pytest.mark.parametrize("width", [100, 160])
    def test_no_line_is_wider_than_the_screen(self, width: int) -> None:
        for report in (self.two_seeds(), *(empty(name) for name in list_tables())):
            text = text_of(report, width)
            assert max(map(len, text.splitlines())) <= width
            assert "…" not in text
            marks = text_of(report, 400).count("*")
            for _, _, cells in lines_of(report):
                for cell in cells:
                    assert cell.replace(" ± ", "±").replace(" *", "*") in text
                assert text.count("*") == marks

    def test_failed_unfinished_and_missing_runs_say_why(self) -> None:
        work = tiny((0, 1, 2))
        finish(work, "local", 0, scores(2.0, 2.0, 50.0))
        finish(work, "local", 1, scores(2.0, 2.0, 50.0), status="failed", reason="a client was lost")
        finish(work, "local", 2, scores(2.0, 2.0, 50.0), status=None)
        finish(work, "fedprox", 1, scores(2.0, 2.0, 50.0))
        finish(work, "fedper", 0, scores(2.0, 2.0, "there is no valid pixel"))
        report = measure(work, {"tiny.yaml": {"fedper/seed-1": "its process was ended by SIGKILL"}})
        text = " ".join(text_of(report).split())
        for part in (
            "Local, seed 1: failed: a client was lost.",
            "Local, seed 2: unfinished: 2 of 2 rounds done.",
            "Not run yet: FedProx (seed 0, 2), FedPer (seed 2).",
            "FedProx: seed 1: the reference row has no finished run of this seed.",
            "FedPer: seed 0: two/normals: there is no valid pixel.",
            "FedPer, seed 1: to do: its process was ended by SIGKILL.",
            "measured, n = 1 of 3",
        ):
            assert part in text, part
        assert report.rows[0].cells["A SemSeg"].values == (2.0,)

    def test_files_hold_the_table_in_full(self) -> None:
        report = self.two_seeds()
        report_file = write_report(report)
        text = report_file.read_text()
        assert "| Local | paper | 2.50 | 250.0 | 60.00 | 30.00 | 0.00 |" in text
        assert "3.00 ± 1.41" in text
        with (report_file.parent / "table.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == 3 * 5
        cell = next(row for row in rows if row["method"] == "fedprox" and row["column"] == "B Depth")
        assert (cell["paper"], cell["measured"], cell["seeds"]) == ("300.0", "200.0", "2")
        assert float(cell["sd"]) == pytest.approx(141.42, abs=0.01)
        assert cell["beyond_spread"] == "false"
        assert (report_file.parent / "delta_m.png").read_bytes()[:4] == b"\x89PNG"

    def test_shorter_runs_and_a_single_seed_are_marked_everywhere(self) -> None:
        work = tiny((0,), rounds=1)
        finish(work, "local", 0, scores(90.0, 2.0, 50.0))
        report = measure(work, {})
        assert report.rows[0].cells["A SemSeg"].spread is None
        text = text_of(report)
        assert "90.00" in text
        assert "*" not in text
        assert "one seed" in text
        for said in (text, write_report(report).read_text()):
            assert "NOT COMPARABLE: 1 of 2 rounds." in said
        assert [default_folder(work.table, rounds).name for rounds in (1, 2)] == ["tiny-table-1-rounds", "tiny-table"]

    def test_row_of_another_scenario_is_measured_against_the_reference_of_its_own(self, tmp_path: Path) -> None:
        other = (TABLE.parent / "tiny.yaml").read_text().replace("name: tiny", "name: other")
        (tmp_path / "other.yaml").write_text(other)
        work = with_row(tmp_path, 'strategy = "fedper"\nscenario = "other.yaml"')
        assert [sweep.out.name for sweep in work.sweeps.values()] == ["tiny", "other"]
        finish(work, "local", 0, scores(2.0, 2.0, 50.0))
        finish(work, "fedper", 0, scores(3.0, 2.0, 50.0))
        assert measure(work, {}).rows[2].delta_m.values == pytest.approx((12.5,))

    def test_row_with_the_runs_of_another_shows_them(self, tmp_path: Path) -> None:
        work = with_row(tmp_path, 'strategy = "fedprox"\nsame-run-as = "fedprox"')
        finish(work, "fedprox", 0, scores(3.0, 2.0, 50.0))
        _, fedprox, same = measure(work, {}).rows
        assert same.cells["A SemSeg"] == fedprox.cells["A SemSeg"]
        assert len(jobs_of(work.sweep_of(work.table.rows[0]))) == 2

    def test_gains_are_shown_as_changes(self) -> None:
        work = reproduction(load_table("m-fed-pascal"), Path("out"), (0,), 100)
        text = text_of(measure(work, {}))
        assert re.search(r"M-Fed +paper +\+1\.58 +- +- +- +-", text)
        assert "No value of a cell is known" in text


def empty(name: str) -> Report:
    table = load_table(name)
    return measure(reproduction(table, Path("nowhere"), (0, 1, 2), table.rounds), {})


class TestDryRun:
    def test_counts_of_table_1_are_those_of_the_paper_without_any_data(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(dry_run, "_measured_step", lambda entry, settings: 0.5)
        status, output = reproduce("fedhca2-table1", "--dry-run", "--seeds", "0")
        text = " ".join(output.split())
        assert status == 0
        # Methods 5 and 1.0: 125, 125, 125, 124, 124 and 4 x 99 steps a round; ditto trains two models.
        images = 11 * 101_900 * 8
        for part in (
            "All runs: 10 (10 methods, seed 0)",
            "rounds 1,000 (100 in each run)",
            f"images trained {images:,}",
            "`fmtl data help pascal_context`",
            "`fmtl data help nyud`",
            "takes 0.5 s",
        ):
            assert part in text, part
        assert not Path("runs").exists()

    def test_scored_images_are_every_fourth_round_on_the_whole_list(self) -> None:
        work = reproduction(load_table("fedhca2-table1"), Path("out"), (0,), 100)
        (scenario, clients), *_ = clients_of(work).items()
        cost = count(job_of(work, "fedavg", 0), clients)
        assert scenario == "pascal_st_nyud_mt_1c"
        assert cost.images_scored == 25 * (5 * 5105 + 654)
        assert cost.images_trained == 101_900 * 8
        assert (cost.bytes_up / 1e9, cost.bytes_down / 1e9) == pytest.approx((66.7, 67.3), abs=0.05)

    @pytest.mark.parametrize("name", list_tables())
    def test_every_table_can_be_planned_without_data(self, name: str) -> None:
        table = load_table(name)
        work = reproduction(table, Path("out"), (0,), table.rounds)
        costs = clients_of(work)
        for scenario, sweep in work.sweeps.items():
            for job in jobs_of(sweep):
                cost = count(job, costs[scenario])
                assert min(cost.images_trained, cost.images_scored) > 0
                assert (cost.bytes_up == 0) == (job.values["strategy"] == "local")

    def test_a_step_is_measured_and_runs_that_have_ended_are_named(self) -> None:
        finish(tiny((0, 1)), "local", 0, scores(2.0, 2.0, 50.0))
        status, output = reproduce(str(TABLE), "--dry-run", "--methods", "local", "--seeds", "0,1", "--out", "out")
        assert status == 0
        assert "All runs: 2 (1 methods, seeds 0, 1); 1 ended already" in output
        assert re.search(r"step of one \(\d+ drawn images\) takes [\d.e-]+ s", " ".join(output.split()))

    def test_wrong_and_incomplete_data_is_named(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        work = reproduction(load_table("fedhca2-table4"), Path("out"), (0,), 100)
        monkeypatch.setenv("FMTL_DATA_ROOT", str(tmp_path))
        (weights,), (nyud, pascal) = find_needs(work)
        assert "weights" in weights
        assert str(tmp_path / "NYUDv2") in nyud
        assert "`fmtl data help nyud`" in nyud
        assert "PASCALContext" in pascal
        (tmp_path / "NYUDv2/gt_sets").mkdir(parents=True)
        assert "NYUD-v2" in find_needs(work)[1][0]
        with pytest.raises(SettingError, match="fmtl data help nyud"):
            check(work)

    def test_images_that_no_published_size_holds_are_named_before_anything_starts(
        self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        monkeypatch.setenv("FMTL_DATA_ROOT", str(tmp_path))
        write_nyud(tmp_path / "NYUDv2", "vandenhende", train=8, val=2, size=(32, 48))
        work = reproduction(load_table("fedhca2-table4"), Path("out"), (0,), 100)
        assert find_needs(work)[0][0].startswith("nyud")
        Image.new("RGB", (1280, 960)).save(tmp_path / "NYUDv2/images/0010.jpg")
        problem = find_needs(work)[1][0]
        assert "images/0010.jpg has 960 x 1280 pixels" in problem
        assert "image-size = [448, 576] under fit: pad" in problem
        with pytest.raises(SettingError, match="960 x 1280"):
            check(work)


class TestOptions:
    def test_without_a_name_the_tables_are_listed(self) -> None:
        status, output = reproduce()
        assert status == 0
        assert all(name in output for name in list_tables())

    @pytest.mark.parametrize(
        ("arguments", "named"),
        [
            (["fedhca2-table9"], "fedhca2-table1"),
            (["none.toml"], "no such file"),
            (["fedhca2-table1", "--methods", "fedavg,mine"], "'mine'.*its methods: local, fedavg|'mine'.*Its methods"),
            (["fedhca2-table1", "--methods", ","], "names no method"),
            (["fedhca2-table1", "--seeds", "0,x"], "'0,x'.*whole numbers"),
            (["fedhca2-table1", "--seeds", "0,0"], "each once"),
            (["fedhca2-table1", "--data", "nowhere"], "no such folder"),
            (["fedhca2-table1", "--dry-run", "--report"], "--dry-run.*--report"),
            (["fedhca2-table1", "--dry-run", "--again", "local"], "--dry-run.*--again"),
            (["fedhca2-table1", "--report", "--again", "local"], "--report.*--again"),
            (["fedhca2-table1"], "fmtl data help pascal_context"),
        ],
    )
    def test_mistake_is_one_sentence_and_nothing_starts(self, arguments: list[str], named: str) -> None:
        with pytest.raises(SettingError, match=named):
            reproduce(*arguments)
        assert not Path("runs").exists()

    def test_data_folder_reaches_the_runs(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("FMTL_DATA_ROOT", "/elsewhere")
        with pytest.raises(SettingError, match=str(tmp_path / "PASCALContext")):
            reproduce("fedhca2-table1", "--data", str(tmp_path))

    def test_report_of_nothing_shows_the_paper_and_writes_nothing(self) -> None:
        status, output = reproduce("fedhca2-table5", "--report")
        assert status == 0
        assert "64.17" in output
        assert "Not run yet: Local, FedHCA2." in output
        assert not Path("runs").exists()

    def test_runs_of_other_settings_are_refused(self) -> None:
        finish(tiny((0,), 2), "local", 0, scores(2.0, 2.0, 50.0))
        with pytest.raises(SettingError, match="num-server-rounds = 2"):
            reproduce(str(TABLE), "--seeds", "0", "--rounds", "1", "--out", "out")

    def test_report_finds_the_seeds_that_were_run(self) -> None:
        work = tiny((3, 7))
        finish(work, "local", 3, scores(2.0, 2.0, 50.0))
        finish(work, "fedprox", 7, scores(2.0, 2.0, 50.0))
        assert seeds_on_disk(work.table, work.out) == (3, 7)
        _, output = reproduce(str(TABLE), "--report", "--out", "out")
        assert "n = 1 of 2" in output
