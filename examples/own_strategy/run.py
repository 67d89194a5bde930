"""Run a strategy from outside the project, with a parameter of its own, and print what it wrote into the history.

    python examples/own_strategy/run.py [SCENARIO] [--rounds 2] [--out FOLDER]

The same from the command line, in this folder: fmtl run --strategy half_way:HalfWay --set half-way.own-share=0.25
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import fmtl


def main() -> None:
    """Run the strategy of this folder."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("scenario", nargs="?", default="default")
    asked.add_argument("--rounds", type=int, default=2)
    asked.add_argument("--out", type=Path, default=Path("runs/half_way"))
    options = asked.parse_args()

    config = {
        "strategy": "half_way:HalfWay",  # Python finds the file beside this one
        "half-way.own-share": 0.25,
        "scenario": options.scenario,
        "num-server-rounds": options.rounds,
    }
    result = fmtl.run(config, options.out)
    print(result["status"], result["strategy_parameters"])
    for line in (options.out / "history.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        print("round", entry["round"], entry["diagnostics"])


if __name__ == "__main__":
    main()
