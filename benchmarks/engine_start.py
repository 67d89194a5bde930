"""Seconds from the command `fmtl run` to the first training step, by engine.

    .venv/bin/python benchmarks/engine_start.py [--repeats 5]

Three small clients (tests/support/tiny.yaml). Training begins where a client's state was written, less the seconds
that it trained; the earliest client counts. The anchor is a Python process that imports torch, torchvision and timm and
ends: no engine can begin sooner, and `ray` pays it in the driver and again in its workers.
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


def seconds_of_imports() -> float:
    """Return how long a process takes that imports what every client needs."""
    started = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import torch, torchvision, timm"], check=True)
    return time.perf_counter() - started


def main() -> None:
    """Measure the anchor and both engines in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args()
    found: dict[str, list[float]] = {"imports": [], "inline": [], "ray": []}
    for _ in range(chosen.repeats):
        for engine, seconds in found.items():
            seconds.append(seconds_of_imports() if engine == "imports" else seconds_to_first_step(engine))
    anchor = statistics.median(found["imports"])
    for engine, seconds in found.items():
        median = statistics.median(seconds)
        spread = f"{min(seconds):.1f} to {max(seconds):.1f}"
        print(f"{engine}: median {median:.1f} s, {spread}; {median / anchor:.2f} x imports")


if __name__ == "__main__":
    main()
