"""``fmtl data``: exit codes, files of the report, help that agrees with what is checked, wrong folders put right."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fmtl_datasets.catalogue import DATA_SETS
from PIL import Image
from tiny_coco import write_coco
from tiny_data import write_nyud

from fmtl import cli
from fmtl.data.findings import PACKAGES
from fmtl.data.pages import read_pages

ROOT = Path(cli.__file__).resolve().parents[1]
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def fmtl(fmtl: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    """Run ``fmtl data`` with arguments in an empty folder; gives exit code, output and error output."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")

    return lambda *arguments: fmtl("data", *arguments)


@pytest.fixture(scope="module")
def nyud(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data") / "NYUDv2"
    write_nyud(root, "atrc", 4, 2)
    return root


def test_good_data_set_exits_with_0_and_leaves_a_report_and_a_picture(fmtl: Call, nyud: Path, tmp_path: Path) -> None:
    code, output, errors = fmtl("check", "nyud", nyud, "--workers", 1, "--out", tmp_path / "report")
    assert (code, errors) == (0, "")
    assert "NYUD-v2, variant atrc" in output
    assert "Nothing stands in the way of training" in output
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == [
        "contact-sheet.png",
        "report.json",
    ]
    report = json.loads((tmp_path / "report/report.json").read_text())
    assert report["trainable"]
    assert [part["listed"] for part in report["lists"]] == [4, 2]
    sheet = np.asarray(Image.open(tmp_path / "report/contact-sheet.png"))
    image = np.asarray(Image.open(nyud / "images/0001.png").convert("RGB"))
    assert sheet.shape[0] > 6 * 200
    assert len(np.unique(sheet.reshape(-1, 3), axis=0)) > len(np.unique(image.reshape(-1, 3), axis=0)) / 2


def test_report_lands_in_a_new_folder_of_the_current_one(fmtl: Call, nyud: Path) -> None:
    assert fmtl("check", "nyud", nyud, "--workers", 1)[0] == 0
    (folder,) = Path.cwd().iterdir()
    assert folder.name.startswith("data-check-nyud-")


def test_finding_that_blocks_exits_with_1_and_is_on_screen_and_in_the_file(fmtl: Call, tmp_path: Path) -> None:
    write_nyud(tmp_path / "NYUDv2", "atrc", 3, 2)
    (tmp_path / "NYUDv2/edge/0002.png").unlink()
    out = tmp_path / "report"
    code, output, _ = fmtl("check", "nyud", tmp_path / "NYUDv2", "--workers", 1, "--out", out)
    assert code == 1
    path = str(tmp_path / "NYUDv2/edge/0002.png")
    (finding,) = [item for item in json.loads((out / "report.json").read_text())["findings"] if item["blocks"]]
    assert (finding["kind"], finding["file"], finding["image_id"]) == ("missing-file", path, "0002")
    assert "Fetch the package again" in finding["to_do"]
    text = " ".join(output.split())
    assert f"train 0002 edge: missing [{path}]" in text
    assert "1 finding to put right before training" in text
    assert (out / "contact-sheet.png").is_file()


def test_twenty_findings_of_a_kind_are_shown_and_all_are_in_the_file(fmtl: Call, tmp_path: Path) -> None:
    write_nyud(tmp_path / "NYUDv2", "atrc", 26, 2)
    for number in range(2, 27):
        (tmp_path / f"NYUDv2/edge/{number:04d}.png").unlink()
    out = tmp_path / "report"
    code, output, _ = fmtl("check", "nyud", tmp_path / "NYUDv2", "--workers", 1, "--out", out, "--tasks", "edge")
    assert code == 1
    assert output.count(" edge: missing [") == 20
    assert "... and 5 more in report.json" in output
    findings = json.loads((out / "report.json").read_text())["findings"]
    assert len([finding for finding in findings if finding["kind"] == "missing-file"]) == 25


def test_json_option_prints_the_file(fmtl: Call, nyud: Path, tmp_path: Path) -> None:
    code, output, _ = fmtl("check", "nyud", nyud, "--json", "--workers", 1, "--out", tmp_path / "report")
    assert code == 0
    assert json.loads(output) == json.loads((tmp_path / "report/report.json").read_text())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nyud", "{data}/nowhere"), "nowhere does not exist; give the folder of the data set"),
        (("nyud", "{data}/NYUDv2/gt_sets/val.txt"), "val.txt is a file; give the folder"),
        (("coco", "{data}/NYUDv2"), "fmtl data help coco"),
        (("procedural", "{data}"), "nothing on disk to check"),
        (("nyudv2", "{data}"), "no data set is called 'nyudv2'; known: nyud, pascal_context, coco"),
        (("nyud", "{data}/NYUDv2", "--tasks", "parts"), "tasks = 'parts' is not in NYUD-v2"),
        (("nyud", "{data}/NYUDv2", "--lists", "test"), "lists = 'test' is not in NYUD-v2"),
        (("nyud", "{data}/NYUDv2", "--out", "{data}/NYUDv2/report"), "lies in the data set"),
    ],
)
def test_user_error_exits_with_2_says_what_to_do_and_writes_nothing(
    fmtl: Call, nyud: Path, arguments: tuple[str, ...], message: str
) -> None:
    code, output, errors = fmtl("check", *(argument.format(data=nyud.parent) for argument in arguments))
    assert (code, output) == (2, "")
    assert message.format(data=nyud.parent) in errors
    assert list(Path.cwd().iterdir()) == []
    assert not (nyud / "report").exists()


def test_current_folder_in_the_data_set_asks_for_another_place(
    fmtl: Call, nyud: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(nyud)
    code, _, errors = fmtl("check", "nyud", ".", "--workers", 1)
    assert code == 2
    assert "Give another folder with --out" in errors
    assert sorted(path.name for path in nyud.iterdir()) == [
        "depth",
        "edge",
        "gt_sets",
        "images",
        "normals",
        "segmentation",
    ]


def test_stuff_labels_choose_the_annotation(fmtl: Call, tmp_path: Path) -> None:
    write_coco(tmp_path / "coco", train=3, val=2, stuff=True)
    for labels, count in (("panoptic", 54), ("stuff", 92)):
        out = tmp_path / labels
        arguments = ("--tasks", "stuff", "--stuff-labels", labels, "--workers", 1, "--out", out)
        assert fmtl("check", "coco", tmp_path / "coco", *arguments)[0] == 0
        tasks = json.loads((out / "report.json").read_text())["lists"][0]["tasks"]
        assert len(tasks["stuff"]["per_class"]) == count


def test_interruption_leaves_no_process_and_no_report(tmp_path: Path) -> None:
    write_nyud(tmp_path / "NYUDv2", "atrc", 40, 2)
    code = (
        "import signal, sys, time\n"
        # Whoever runs the tests in the background may have told them to ignore it, and children inherit that.
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from fmtl import cli\n"
        "from fmtl_datasets.sources.nyud import Nyud\n"
        "read = Nyud.__getitem__\n"
        "def slowly(self, index):\n"
        "    time.sleep(0.1 if index < 34 else 3); print('reading', flush=True); return read(self, index)\n"
        "Nyud.__getitem__ = slowly\n"
        f"sys.argv = ['fmtl', 'data', 'check', 'nyud', {str(tmp_path / 'NYUDv2')!r},"
        f" '--out', {str(tmp_path / 'report')!r}, '--workers', '2']\n"
        "cli.main()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=ROOT, start_new_session=True, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    for _ in range(34):
        process.stdout.readline()
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=300)
    assert process.returncode == 130
    assert not (tmp_path / "report").exists()
    for _ in range(300):
        try:
            os.killpg(process.pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("a process is left behind")


def test_help_has_every_data_set_with_its_tasks_layout_and_how_to_name_it(fmtl: Call) -> None:
    assert set(read_pages()) == set(DATA_SETS)
    for name, tasks in ((name, known.tasks) for name, known in DATA_SETS.items()):
        code, output, _ = fmtl("help", name)
        assert code == 0
        assert f"dataset: {name}" in output
        if name not in ("procedural", "folder"):
            assert all(task in output for task in tasks)
            for part in ("**Where from.**", "**Terms.**", "**Layout.**", "data-root: "):
                assert part in output, (name, part)


@pytest.mark.parametrize("name", PACKAGES)
def test_help_states_the_counts_that_the_check_expects(name: str) -> None:
    for package in PACKAGES[name].values():
        for count in package.values():
            assert str(count) in read_pages()[name].text


def test_help_of_an_unknown_name_lists_the_known_ones(fmtl: Call) -> None:
    code, _, errors = fmtl("help", "imagenet")
    assert code == 2
    assert "known: procedural, nyud, pascal_context, coco, bsds_sod, folder" in errors


def test_list_and_help_without_a_name_show_all(fmtl: Call) -> None:
    for arguments in (("list",), ("help",)):
        code, output, _ = fmtl(*arguments)
        assert code == 0
        assert all(name in output for name in DATA_SETS)


def test_help_and_list_do_not_load_torch() -> None:
    code = (
        "import sys; sys.argv = ['fmtl', 'data', 'help', 'coco']\n"
        "from fmtl.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print('torch' in sys.modules)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert ended.stdout.endswith("False\n"), ended.stderr
