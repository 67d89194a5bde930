"""Seconds from the command `fmtl run` to the first training step, by engine.

    .venv/bin/python benchmarks/engine_start.py [--repeats 5]

Three small clients (tests/support/tiny.yaml). Training begins where a client's state was written, less the seconds
that it trained; the earliest client counts.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SCENARIO = Path(__file__).resolve().parents[1] / "tests/support/tiny.yaml"


def seconds_to_first_step(engine: str) -> float:
    """Run a round and return when the first client began to train, after the command was given."""
    folder = Path(tempfile.mkdtemp(prefix="fmtl-start-"))
    command = [sys.executable, "-m", "fmtl", "run", "--engine", engine, "--strategy", "fedavg"]
    started = time.time()
    try:
        subprocess.run(
            [*command, "--scenario", str(SCENARIO), "--num-server-rounds", "1", "--out-dir", str(folder / "run")],
            check=True,
            capture_output=True,
        )
        history = json.loads((folder / "run/history.jsonl").read_text().splitlines()[0])
        states = (folder / "run/clients").rglob("round-00001/state.safetensors")
        trained = {path.parts[-3]: path.stat().st_mtime for path in states}
        begun = min(ended - history["seconds"][f"{client}/training"] for client, ended in trained.items())
        return float(begun - started)
    finally:
        shutil.rmtree(folder)


def main() -> None:
    """Measure both engines in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args()
    found: dict[str, list[float]] = {"inline": [], "ray": []}
    for _ in range(chosen.repeats):
        for engine, seconds in found.items():
            seconds.append(seconds_to_first_step(engine))
    for engine, seconds in found.items():
        print(f"{engine}: median {statistics.median(seconds):.1f} s, {min(seconds):.1f} to {max(seconds):.1f}")


if __name__ == "__main__":
    main()
