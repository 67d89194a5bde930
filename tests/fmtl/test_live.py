"""What is shown of a run: who trains, who is late, bytes, seconds and scores, one line for every event."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from fmtl.live import RunLines

Event = dict[str, Any]


def _progress(event: str, client: str, seconds: float, **facts: Any) -> Event:
    return {"event": event, "round": 1, "final": False, "time": 100.0, "client": client, "seconds": seconds, **facts}


def _asked(number: int, clients: list[str]) -> Event:
    facts = {"clients": clients, "bytes_down": 3_000_000}
    return {"event": "asked", "round": number, "final": False, "time": 100.0, **facts}


def _history(number: int, **facts: Any) -> Event:
    plain: Event = {"participants": ["a"], "set_aside": {}, "notes": {}, "skipped": False, "evaluated_round": None}
    counts = {"bytes_up": 55_440_128, "bytes_down": 3_000_000, "seconds": {"clients": 60.0, "aggregation": 0.25}}
    return {"round": number, "final": False, "scores": {}, **plain, **counts, **facts}


def _write(folder: Path, name: str, *lines: Event) -> None:
    folder.mkdir(exist_ok=True)
    with (folder / name).open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


def _shown(lines: RunLines) -> list[str]:
    shown: list[str] = []
    lines.show(shown.append)
    return shown


ANSWERED = _progress("answered", "a", 12.34, bytes_up=55_440_128)


def test_lines_come_once_and_in_the_order_of_rounds(tmp_path: Path) -> None:
    run = tmp_path / "run"
    lines = RunLines(run)
    assert _shown(lines) == []
    again = _progress("asked again", "b", 3.0, reason="the client's process ended")
    _write(
        run, "progress.jsonl", _asked(1, ["a", "b"]), ANSWERED, again, _progress("late", "b", 60.0), _asked(2, ["a"])
    )
    _write(run, "history.jsonl", _history(1, set_aside={"b": "no reply in time"}))
    assert _shown(lines) == [
        "round 1: a, b training; 3.0 MB sent",
        "round 1: a answered after 12.3 s, 55.4 MB",
        "round 1: b asked again after 3.0 s: the client's process ended",
        "round 1: b is late: no answer after 60 s",
        "round 1: b set aside: no reply in time",
        "round 1 ended: 1 client; 55.4 MB up, 3.0 MB down; 60.0 s for clients, 0.2 s aggregation",
        "round 2: a training; 3.0 MB sent",
    ]
    scores = {"a": {"depth": {"value": 0.5, "missing_because": None}}}
    _write(run, "history.jsonl", _history(2, scores=scores, evaluated_round=1, notes={"a": "its state is lost"}))
    assert _shown(lines)[:2] == ["scores after round 1: a: depth 0.5", "round 2: a: its state is lost"]


def test_score_that_is_missing_is_no_number(tmp_path: Path) -> None:
    scores = {"a": {"edge": {"value": None, "missing_because": "no edges"}}}
    _write(tmp_path, "history.jsonl", _history(1, final=True, scores=scores, evaluated_round=1))
    assert _shown(RunLines(tmp_path)) == ["scores after round 1: a: edge missing (no edges)"]


def test_half_a_line_waits_for_its_end(tmp_path: Path) -> None:
    text = json.dumps(_asked(1, ["a"])) + "\n"
    (tmp_path / "progress.jsonl").write_text(text[:20])
    lines = RunLines(tmp_path)
    assert _shown(lines) == []
    (tmp_path / "progress.jsonl").write_text(text)
    assert _shown(lines) == ["round 1: a training; 3.0 MB sent"]


def test_round_that_a_resumed_run_does_again_is_shown(tmp_path: Path) -> None:
    _write(tmp_path, "history.jsonl", _history(1), _history(2))
    lines = RunLines(tmp_path)
    assert len(_shown(lines)) == 2
    (tmp_path / "history.jsonl").write_text(json.dumps(_history(1)) + "\n")
    assert _shown(lines) == []
    _write(tmp_path, "history.jsonl", _history(2, bytes_up=1))
    assert _shown(lines) == ["round 2 ended: 1 client; 1 B up, 3.0 MB down; 60.0 s for clients, 0.2 s aggregation"]


def test_reason_given_by_a_site_cannot_steer_the_terminal(tmp_path: Path) -> None:
    _write(tmp_path, "progress.jsonl", _progress("failed", "a", 3.0, reason="\x1b[2Jgone\rround 1 ended\nfine"))
    (line,) = _shown(RunLines(tmp_path))
    assert line.isprintable()
    assert "failed after 3.0 s" in line
    assert "gone" in line
