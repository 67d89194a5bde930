"""What of Flower's log reaches the terminal, and where all of it is kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from fmtl.simulation.log_view import LogFile, LogView


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[92mINFO \x1b[0m:      [ROUND 1/5]\n", "[ROUND 1/5]"),
        ("\x1b[36m(ClientAppActor pid=7282)\x1b[0m a: epoch 1/2, loss 0.5\n", "a: epoch 1/2, loss 0.5"),
        ("\x1b[93mWARNING \x1b[0m:   client b was set aside\n", "warning: client b was set aside"),
        ("\x1b[36m(ClientAppActor pid=7)\x1b[0m \x1b[92mINFO \x1b[0m:      a: done\n", "a: done"),
        ("\x1b[92mINFO \x1b[0m:      \n", None),
        ("\x1b[92mINFO \x1b[0m:      Starting Flower Simulation\n", None),
        ("\x1b[36m(raylet)\x1b[0m Spilled 2 MiB\n", None),
        ("INFO :      \tflwr federation simulation-config @none/default <superlink> --num-supernodes <N>", None),
    ],
)
def test_progress_and_warnings_are_shown_and_chatter_is_not(raw: str, shown: str | None) -> None:
    assert LogView().line(raw) == shown


def test_traceback_is_left_out_and_what_follows_is_shown() -> None:
    lines = [
        "ERROR :     client a failed",
        "Traceback (most recent call last):",
        '  File "app.py", line 3, in main',
        "    raise ValueError(text)",
        "",
        "During handling of the above exception, another exception occurred:",
        "",
        "Traceback (most recent call last):",
        "Exception: no",
        "app.errors.RoundError: no",
        "INFO :      round 2 begins",
        "  indented progress",
    ]
    view = LogView()
    shown = [text for line in lines if (text := view.line(line)) is not None]
    assert shown == ["error: client a failed", "round 2 begins", "  indented progress"]


def test_log_waits_for_the_run_folder_that_the_server_makes(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    log = LogFile(folder)
    log.write("\x1b[92mone\x1b[0m\n")
    assert not folder.exists()
    folder.mkdir()
    log.write("two\n")
    assert (folder / "flower.log").read_text() == "one\ntwo\n"
    assert log.close() == folder / "flower.log"


def test_log_of_a_run_without_folder_lies_beside_it(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "runs" / "a")
    log.write("ValueError: the cause\n")
    assert log.close() == tmp_path / "runs" / "a.flower.log"
    assert log.close().read_text() == "ValueError: the cause\n"
    assert not (tmp_path / "runs" / "a").exists()
    assert log.last_exception == "the cause"


def test_resumed_run_adds_to_its_log(tmp_path: Path) -> None:
    for line in ("first\n", "second\n"):
        LogFile(tmp_path).write(line)
    assert (tmp_path / "flower.log").read_text() == "first\nsecond\n"
