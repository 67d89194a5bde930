"""What privacy on the uploads costs: real training in this process, by clipping norm, noise and strategy.

    python -m benchmarks.privacy --strategies local,fedavg,fedper,m-fed --noise 1,0.01,0.0001 --seeds 0,1,2

Five clients segment procedural scenes. Each asks for the same privacy and sends its scores, so that they can be shown.
Printed for every strategy and setting: the largest epsilon of a client after the run, the mean of the clients' final
mIoU with its range over seeds.
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from fmtl.engine import run
from server_app.rounds import RunFailedError

CLIENTS = 5
DEFAULTS = """\
name: private
description: Procedural scenes, every client with the same privacy.
defaults:
  dataset: procedural
  image-size: [48, 48]
  encoder: mobilenetv3_small_050
  decoder-width: 8
  train-images: {images}
  validation-images: 40
  batch-size: 4
  local-epochs: {epochs}
{privacy}clients:
"""


@dataclass(frozen=True)
class Options:
    """What is measured; `clip` is a norm, `noise` is in units of 2 clip."""

    strategies: tuple[str, ...]
    noises: tuple[float, ...]
    seeds: tuple[int, ...]
    clip: float
    rounds: int
    images: int
    epochs: int
    rate: float


@dataclass(frozen=True)
class Outcome:
    """What a run ended with.

    Attributes:
        score: mean final mIoU in per cent; NaN where a client's model is beyond use and has none.
        epsilon: the largest of a client; NaN where nobody asked for privacy.
    """

    score: float
    epsilon: float


def measure(options: Options, folder: Path) -> None:
    """Run everything and print the table."""
    print(
        f"clip {options.clip:g}, {options.rounds} rounds of {options.epochs} epochs, {options.images} images a client\n"
    )
    print("| strategy | noise | epsilon | mIoU, % (range over seeds) |")
    print("| --- | ---: | ---: | --- |")
    for strategy in options.strategies:
        for noise in (None, *(options.noises if strategy != "local" else ())):  # local uploads nothing
            outcomes = [_outcome(options, strategy, noise, seed, folder) for seed in options.seeds]
            scores = [outcome.score for outcome in outcomes]
            spread = f"{statistics.mean(scores):.1f} ({min(scores):.1f} to {max(scores):.1f})"
            if any(math.isnan(score) for score in scores):
                spread = "no score: models are beyond use"
            epsilon = max(outcome.epsilon for outcome in outcomes)
            asked = "none" if noise is None else f"{noise:g}"
            said = "-" if math.isnan(epsilon) else f"{epsilon:.3g}"
            print(f"| {strategy} | {asked} | {said} | {spread} |", flush=True)


def _outcome(options: Options, strategy: str, noise: float | None, seed: int, folder: Path) -> Outcome:
    out = folder / f"{strategy}-{noise}-{seed}"
    values = {
        "strategy": strategy,
        "scenario": str(_write_scenario(options, noise, folder)),
        "num-server-rounds": options.rounds,
        "seed": seed,
        "encoder-learning-rate": options.rate,
        "decoder-learning-rate": options.rate,
        "evaluate-every": options.rounds,
    }
    try:
        result = run(values, out)
    except RunFailedError:  # a run in which no model can be scored has failed, and has left its result.json
        result = json.loads((out / "result.json").read_text())
    scores = [task["value"] for client in result["clients"].values() for task in client["tasks"].values()]
    scores = [math.nan if score is None else score for score in scores]
    history = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    found = [line["diagnostics"] for line in history if line.get("diagnostics")]
    epsilons = [v for line in found for key, v in line.items() if key.endswith("/privacy_epsilon")]
    return Outcome(statistics.mean(scores) if scores else math.nan, max(epsilons, default=math.nan))


def _write_scenario(options: Options, noise: float | None, folder: Path) -> Path:
    privacy = f"  privacy: {{clip: {options.clip}, noise: {noise}, scores: send}}\n" if noise is not None else ""
    text = DEFAULTS.format(images=options.images, epochs=options.epochs, privacy=privacy)
    text += "".join(f"  - name: site-{number}\n    tasks: [semseg]\n" for number in range(CLIENTS))
    path = folder / f"private-{noise}.yaml"
    path.write_text(text)
    return path


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--strategies", default="local,fedavg,fedper,m-fed")
    parser.add_argument("--noise", default="1,0.01,0.0001", help="in units of 2 clip")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--clip", type=float, default=20.0, help="largest norm of an upload")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--images", type=int, default=24, help="training images of each client")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--rate", type=float, default=0.01, help="learning rate of AdamW")
    given = parser.parse_args(arguments)
    options = Options(
        tuple(given.strategies.split(",")),
        tuple(float(value) for value in given.noise.split(",")),
        tuple(int(value) for value in given.seeds.split(",")),
        given.clip,
        given.rounds,
        given.images,
        given.epochs,
        given.rate,
    )
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="privacy-") as folder:
        measure(options, Path(folder))
    print(f"\n{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    torch.set_num_threads(1)
    logging.getLogger("flwr").setLevel(logging.ERROR)
    main()
