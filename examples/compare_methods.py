"""Compare methods: train alone and with FedAvg, then print the mean change of all tasks (delta_m).

    python examples/compare_methods.py                        the scenario `default`, three rounds (minutes)
    python examples/compare_methods.py SCENARIO --rounds 1    another one: a name of `fmtl scenarios` or a file

So short a training shows that everything runs; it says nothing about the methods.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import fmtl

STRATEGIES = ("local", "fedavg")


def main() -> None:
    """Train alone and together, and print the mean change of all tasks."""
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("scenario", nargs="?", default="default")
    asked.add_argument("--rounds", type=int, default=3)
    asked.add_argument("--out", type=Path, default=Path("runs/compare_methods"))
    options = asked.parse_args()

    for strategy in STRATEGIES:
        config = {"strategy": strategy, "scenario": options.scenario, "num-server-rounds": options.rounds}
        fmtl.run(config, options.out / strategy, "inline")

    comparison = fmtl.compare([options.out / strategy for strategy in STRATEGIES])
    for column in comparison.columns:
        change = column.delta_m
        print(" ".join(column.label), "delta_m:", change.missing_because or f"{change.value:+.2f} %")


if __name__ == "__main__":
    main()
