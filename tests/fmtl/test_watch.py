"""What a coordinator shows of a run: who trains, who is late, bytes, seconds and scores, as lines and as a table."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

from rich.console import Console

from fmtl.network.board import Board
from fmtl.network.watch import LineDisplay, RunWatch, TableDisplay

Event = dict[str, Any]
NAMES = ["a", "b", "c"]


def _asked(number: int, clients: list[str], when: float = 100.0, *, final: bool = False) -> Event:
    facts = {"clients": clients, "bytes_down": 3_000_000}
    return {"event": "asked", "round": number, "final": final, "time": when, **facts}


def _answered(client: str, number: int = 1, *, final: bool = False) -> Event:
    facts = {"client": client, "seconds": 12.34, "bytes_up": 55_440_128}
    return {"event": "answered", "round": number, "final": final, "time": 112.0, **facts}


def _failed(client: str, reason: str = "out of memory") -> Event:
    return {
        "event": "failed",
        "round": 1,
        "final": False,
        "time": 3.0,
        "client": client,
        "seconds": 3.0,
        "reason": reason,
    }


def _late(client: str) -> Event:
    return {"event": "late", "round": 1, "final": False, "time": 160.0, "client": client, "seconds": 60.0}


def _history(number: int, **facts: Any) -> Event:
    plain: Event = {"participants": ["a"], "set_aside": {}, "notes": {}, "skipped": False, "evaluated_round": None}
    counts = {"bytes_up": 55_440_128, "bytes_down": 3_000_000, "seconds": {"clients": 60.0, "aggregation": 0.25}}
    return {"round": number, "final": False, "scores": {}, **plain, **counts, **facts}


def _write(folder: Path, name: str, *lines: Event) -> None:
    folder.mkdir(exist_ok=True)
    with (folder / name).open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def _rows(board: Board, now: float = 130.0) -> dict[str, list[str]]:
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(board.view(Path("/nowhere/mine"), now))
    lines = (re.split(r"\s{2,}", line.strip()) for line in console.export_text().splitlines())
    return {cells[0]: cells[1:] for cells in lines if cells[0] in NAMES}


def _board(*events: Event) -> Board:
    board = Board()
    for event in events:
        board.take(event)
    return board


def test_table_says_of_every_client_what_it_does() -> None:
    rows = _rows(_board(_asked(1, NAMES), _answered("a"), _failed("b")))
    assert rows == {"a": ["answered", "12.3", "55.4 MB"], "b": ["failed", "3.0"], "c": ["training", "30 ..."]}
    assert _rows(_board(_asked(1, NAMES), _late("c")))["c"] == ["late", "60.0"]


def test_client_that_is_not_asked_any_more_is_away_and_keeps_its_scores() -> None:
    scores = {"b": {"depth": {"value": 0.51239, "missing_because": None}}}
    board = _board(_asked(1, ["a", "b"]), {"event": "ended", **_history(1)}, _asked(2, ["a", "b"]))
    board.take({"event": "ended", **_history(2, scores=scores, evaluated_round=1)})
    board.take(_asked(3, ["a"]))
    rows = _rows(board)
    assert rows["b"] == ["away", "depth 0.5124", "1"]
    assert rows["a"] == ["training", "30 ..."]


def test_answer_that_was_set_aside_does_not_stand_as_answered() -> None:
    board = _board(_asked(1, ["a", "b"]), _answered("a"), _late("b"))
    board.take({"event": "ended", **_history(1, set_aside={"a": "holds NaN", "b": "no reply", "node 7": "unknown"})})
    rows = _rows(board)
    assert rows["a"][0] == "set aside"
    assert rows["b"][0] == "late"


def test_final_scores_are_no_training() -> None:
    rows = _rows(_board(_asked(5, ["a", "b"], final=True), _answered("b", 5, final=True)))
    assert (rows["a"][0], rows["b"][0]) == ("scoring", "answered")


def test_score_that_is_missing_is_no_number() -> None:
    scores = {"a": {"edge": {"value": None, "missing_because": "no edges"}}}
    board = _board(_asked(1, ["a"]))
    board.take({"event": "ended", **_history(1, scores=scores, evaluated_round=0)})
    assert "edge missing" in _rows(board)["a"]


def test_heading_counts_answers_and_rounds(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"run_config": {"num-server-rounds": 10}}))
    board = _board(_asked(2, NAMES), _answered("a", 2), {**_failed("b"), "round": 2})
    assert "round 2 of 10; 1 of 3 have answered; 3.0 MB sent" in board.heading(tmp_path)
    assert "waiting for clients" in Board().heading(tmp_path)


def test_lines_come_once_and_in_the_order_of_rounds(tmp_path: Path) -> None:
    run = tmp_path / "run"
    watch, shown = RunWatch(run), []
    display = LineDisplay(shown.append)
    display.show(watch)
    assert shown == []
    scores = {"a": {"depth": {"value": 0.5, "missing_because": None}}}
    _write(run, "progress.jsonl", _asked(1, ["a", "b"]), _answered("a"), _late("b"), _asked(2, ["a"]))
    _write(run, "history.jsonl", _history(1, set_aside={"b": "no reply in time"}))
    display.show(watch)
    assert shown == [
        "round 1: a, b at work; 3.0 MB sent",
        "round 1: a answered after 12.3 s, 55.4 MB",
        "round 1: b is late: no answer after 60 s",
        "round 1: b set aside: no reply in time",
        "round 1 ended: 1 client; 55.4 MB up, 3.0 MB down; 60.0 s for clients, 0.2 s here",
        "round 2: a at work; 3.0 MB sent",
    ]
    _write(run, "history.jsonl", _history(2, scores=scores, evaluated_round=1, notes={"a": "its state is lost"}))
    display.show(watch)
    assert shown[6:8] == ["scores after round 1: a: depth 0.5", "round 2: a: its state is lost"]


def test_client_that_is_asked_again_is_at_work_and_said_so(tmp_path: Path) -> None:
    again = {**_failed("b", "the client's process ended"), "event": "asked again"}
    board = _board(_asked(1, ["a", "b"]), again)
    assert _rows(board)["b"][0] == "training"
    run, shown = tmp_path / "run", list[str]()
    _write(run, "progress.jsonl", _asked(1, ["a", "b"]), again)
    LineDisplay(shown.append).show(RunWatch(run))
    assert shown[1] == "round 1: b asked again after 3.0 s: the client's process ended"


def test_half_a_line_waits_for_its_end(tmp_path: Path) -> None:
    run = tmp_path / "run"
    text = json.dumps(_asked(1, ["a"])) + "\n"
    _write(run, "progress.jsonl")
    (run / "progress.jsonl").write_text(text[:20])
    watch = RunWatch(run)
    assert list(watch.lines()) == []
    (run / "progress.jsonl").write_text(text)
    assert list(watch.lines()) == ["round 1: a at work; 3.0 MB sent"]


def test_history_that_a_resumed_run_has_cut_is_read_from_its_start(tmp_path: Path) -> None:
    run = tmp_path / "run"
    _write(run, "history.jsonl", _history(1), _history(2))
    watch = RunWatch(run)
    assert len(list(watch.lines())) == 2
    (run / "history.jsonl").write_text(json.dumps(_history(1)) + "\n")
    assert [line.split(" ended")[0] for line in watch.lines()] == ["round 1"]


def test_reason_given_by_a_site_cannot_steer_the_terminal(tmp_path: Path) -> None:
    run = tmp_path / "run"
    _write(run, "progress.jsonl", _asked(1, ["a"]), _failed("a", "\x1b[2Jgone\rround 1 ended\nfine"))
    (line,) = [line for line in RunWatch(run).lines() if "failed" in line]
    assert line.isprintable()
    assert "gone" in line
    output = io.StringIO()
    with TableDisplay(Console(file=output, force_terminal=True, width=100)) as table:
        table.show(RunWatch(run))
    assert "\x1b[2J" not in output.getvalue()


def test_table_on_a_terminal_keeps_what_went_wrong_above_it(tmp_path: Path) -> None:
    run = tmp_path / "run"
    _write(run, "progress.jsonl", _asked(1, ["a", "b"]), _answered("a"), _failed("b"))
    output = io.StringIO()
    with TableDisplay(Console(file=output, force_terminal=True, width=100)) as table:
        table.show(RunWatch(run))
    printed = output.getvalue()
    assert printed.index("b failed after 3.0 s: out of memory") < printed.index("1 of 2 have answered")
    assert "a answered after" not in printed
