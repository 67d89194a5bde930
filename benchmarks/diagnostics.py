"""Prints what the history of runs says about a method, smallest and largest value by round: what docs/results quote.

python benchmarks/diagnostics.py 'attention-entropy/*' runs/two_domains/fedhca2/seed-*
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from fnmatch import fnmatchcase
from pathlib import Path


def ranges(lines: Iterable[str], pattern: str) -> dict[int, tuple[float, float]]:
    """Return the smallest and the largest matching diagnostic of every round.

    Args:
        lines: of a history.jsonl.
        pattern: of names, as `*/alpha` or `update-length`; `*` matches any text, slashes too.
    """
    found: dict[int, tuple[float, float]] = {}
    for text in lines:
        line = json.loads(text)
        values = [value for name, value in line["diagnostics"].items() if fnmatchcase(name, pattern)]
        if values and not line["final"]:
            found[line["round"]] = (min(values), max(values))
    return found


def main() -> None:
    """Print one line for each round of each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pattern", help="names of diagnostics; * matches any text")
    parser.add_argument("runs", nargs="+", type=Path, help="run folders")
    arguments = parser.parse_args()
    for run in arguments.runs:
        history = run / "history.jsonl"
        if not history.is_file():
            sys.exit(f"{history}: there is no such file; give run folders, such as runs/two_domains/fedhca2/seed-0")
        found = ranges(history.read_text(encoding="utf-8").splitlines(), arguments.pattern)
        if not found:
            sys.exit(f"{history}: no round has a diagnostic named {arguments.pattern!r}")
        for number, (low, high) in sorted(found.items()):
            print(f"{run} round {number}: {low:.5g} to {high:.5g}")


if __name__ == "__main__":
    main()
