"""Whether two commits compute the same: every strategy in a tiny run, compared to the last bit.

    python tools/compare_commits.py OLD          against the present checkout, changes not committed included
    python tools/compare_commits.py OLD NEW      two commits

Both sides are run at the same time by one copy of tests/recorded/recording.py, the present one, in this Python with
its packages. Prints one line for each run, and exits with 1 if anything differs, 2 if a side could not be run.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RECORDING = ROOT / "tests/recorded"
COPIED = ("recording.py", "recorded.yaml")
FIRST_PROJECTION, AFTER_PROJECTIONS = 2, 5
NAMED = 4


class RecordingFailedError(RuntimeError):
    """A side could not be run; the text is what it printed last."""


@contextmanager
def worktree(commit: str, place: Path) -> Iterator[Path]:
    """Give a checkout of a commit that is removed afterwards."""
    git = ["git", "-C", str(ROOT), "worktree"]
    subprocess.run([*git, "add", "--quiet", "--detach", str(place), commit], check=True)
    try:
        yield place
    finally:
        subprocess.run([*git, "remove", "--force", str(place)], check=True)


@contextmanager
def started(tree: Path, script: Path, out: Path, only: Sequence[str]) -> Iterator[subprocess.Popen[str]]:
    """Give a process that records a tree; it has ended afterwards, whatever happens."""
    environment = {**os.environ, "PYTHONPATH": str(tree), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, str(script), str(out), "--digests", "--tree", str(tree)]
    command += [part for name in only for part in ("--only", name)]
    with out.with_suffix(".log").open("w", encoding="utf-8") as log:
        # A session of its own, so that the runs it forks end with it.
        process = subprocess.Popen(
            command, cwd=out.parent, env=environment, stdout=log, stderr=log, text=True, start_new_session=True
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, 9)
            process.wait()


def finished(process: subprocess.Popen[str], side: str, out: Path) -> dict[str, Any]:
    """Wait for a recording and return its runs.

    Raises:
        RecordingFailedError: it ended without one.
    """
    if process.wait() != 0:
        printed = out.with_suffix(".log").read_text(encoding="utf-8").splitlines()
        raise RecordingFailedError(f"{side} could not be recorded:\n" + "\n".join(printed[-25:]))
    runs: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))["runs"]
    return runs


def record_both(trees: Mapping[str, Path], place: Path, only: Sequence[str], in_turn: bool) -> list[dict[str, Any]]:
    """Record both trees and return their runs by name."""
    for name in COPIED:
        shutil.copy(RECORDING / name, place)
    found: list[dict[str, Any]] = []
    with ExitStack() as stack:
        waiting = []
        for number, (side, tree) in enumerate(trees.items()):
            out = place / f"side-{number}.json"
            process = stack.enter_context(started(tree, place / "recording.py", out, only))
            if in_turn:
                process.wait()
            waiting.append((process, side, out))
        found.extend(finished(*one) for one in waiting)
    return found


def apart(old: Mapping[str, Any], new: Mapping[str, Any]) -> float:
    """Return about how far two arrays are apart, relative to the norm of the first.

    A projection on random signs is as long as the vector itself on average, so differences of projections tell the
    norm of the difference without the arrays.
    """
    if old["shape"] != new["shape"]:
        return math.inf
    pairs = list(zip(old["numbers"], new["numbers"], strict=True))[FIRST_PROJECTION:AFTER_PROJECTIONS]
    difference = math.sqrt(sum((a - b) ** 2 for a, b in pairs) / len(pairs))
    return difference / old["numbers"][0] if old["numbers"][0] else difference


def array_differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Say which arrays of a run differ and by how much."""
    said = [f"only in {side}: {_some(sorted(names))}" for side, names in _only_in(old, new)]
    differ = {
        name: apart(old[name], new[name]) for name in old if name in new and old[name]["sha256"] != new[name]["sha256"]
    }
    if differ:
        worst = sorted(differ, key=lambda name: differ[name], reverse=True)
        listed = _some([f"{name} (about {differ[name]:.1e} of its norm)" for name in worst])
        said.append(f"{len(differ)} of {len(old)} arrays differ: {listed}")
    return said


def number_differences(old: Any, new: Any, place: str = "") -> Iterator[str]:
    """Say which numbers of the rounds differ: scores, losses, bytes, diagnostics."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted(old.keys() | new.keys()):
            yield from number_differences(old.get(key), new.get(key), f"{place}/{key}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, pair in enumerate(zip(old, new, strict=True), 1):
            yield from number_differences(*pair, f"{place}/{number}")
    elif old != new:
        yield f"{place.removeprefix('/')}: {old} is now {new}"


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Say all that differs between two recordings of one run."""
    numbers = list(number_differences(old["rounds"], new["rounds"]))
    said = array_differences(old["arrays"], new["arrays"])
    return [*said, f"{len(numbers)} numbers of the rounds differ: {_some(numbers)}"] if numbers else said


def report(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Print one line for each run; return whether all are equal."""
    same = True
    for side, names in _only_in(old, new):
        same = False
        print(f"only in {side}: {', '.join(sorted(names))}")
    for name in (name for name in old if name in new):
        found = differences(old[name], new[name])
        same = same and not found
        size = f"{len(old[name]['arrays'])} arrays, {len(old[name]['rounds'])} lines of history"
        print(f"{name}: {'; '.join(found) if found else f'equal ({size})'}")
    return same


def _only_in(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, set[str]]]:
    sides = [("OLD", set(old.keys() - new.keys())), ("NEW", set(new.keys() - old.keys()))]
    return [(side, names) for side, names in sides if names]


def _some(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - NAMED} more" if len(texts) > NAMED else ""
    return ", ".join(texts[:NAMED]) + more


def _end(number: int, _: object) -> None:
    raise SystemExit(128 + number)


def main() -> int:
    """Compare what the command line names; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("old", help="commit to compare with")
    parser.add_argument("new", nargs="?", help="commit to compare; the present checkout where left out")
    parser.add_argument("--only", action="append", default=[], help="name of a run; may be repeated")
    parser.add_argument("--in-turn", action="store_true", help="one side after the other, for a machine with one core")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _end)  # by default nothing would be cleared away
    with ExitStack() as stack:
        place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="compare-commits-")))
        trees = {arguments.old: stack.enter_context(worktree(arguments.old, place / "old"))}
        new = ROOT if arguments.new is None else stack.enter_context(worktree(arguments.new, place / "new"))
        trees["the present checkout" if arguments.new is None else f"{arguments.new} (new)"] = new
        try:
            runs = record_both(trees, place, arguments.only, arguments.in_turn)
        except RecordingFailedError as error:
            print(f"Error: {error}", file=sys.stderr)
            return 2
        same = report(*runs)
    print("all equal" if same else "NOT equal")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
