"""What attackers do to honest clients, and what each defence saves or costs: real training, in this process.

    nice -n 15 python -m benchmarks.defence --scenario alike --strategies fedavg,fedhca2 --seeds 0,1,2

The clients draw procedural scenes. The last client's updates are replaced before they are sent; it trains like the
others, so a run without an attack is the reference. Printed is a table of every attack against every defence: what
became of the honest clients' scores and losses, how often who was set aside, and the seconds the defence took.
"""

from __future__ import annotations

import argparse
import json
import logging
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from flwr.app import Context, Message
from fmtl_datasets.scenarios.scenario import load_scenario

from client_app.app import app as client_app
from fmtl.engine.inline import InlineGrid
from fmtl_strategies.contract.layout import FloatArray
from fmtl_strategies.contract.messages import UPDATES_RECORD, Instruction, Report, read_arrays, read_text, to_records
from fmtl_strategies.contract.wire import decode_flat, encode_flat
from server_app.app import run
from server_app.config import parse_run_config
from server_app.rounds import RunFailedError

Attack = Callable[[FloatArray], FloatArray]

DEFAULTS = """
defaults:
  dataset: procedural
  image-size: [32, 32]
  encoder: mobilenetv3_small_050
  decoder-width: 8
  train-images: {images}
  validation-images: 4
  batch-size: 2
clients:
"""

TASKS_OF_CLIENTS: dict[str, tuple[str, ...]] = {
    "alike": ("semseg",) * 6,
    "minority": ("keypoints", "semseg", "semseg", "semseg", "semseg", "semseg"),
    "different": ("semseg", "depth", "normals", "edge", "keypoints", "saliency"),
    "unequal": ("semseg",) * 6,
    "twenty": ("semseg",) * 8 + ("depth",) * 4 + ("edge",) * 4 + ("keypoints",) + ("saliency",) * 3,
}


def _constant(update_d: FloatArray) -> FloatArray:
    return np.full_like(update_d, 0.1)


def _just_believed(update_d: FloatArray) -> FloatArray:
    norm = float(np.linalg.norm(update_d.astype(np.float64)))
    return update_d * np.float32(9e5 / norm) if norm > 0 else update_d


ATTACKS: dict[str, Attack] = {
    "x 10": lambda update_d: update_d * np.float32(10),
    "x 100": lambda update_d: update_d * np.float32(100),
    "norm 9e5": _just_believed,
    "x -1": lambda update_d: -update_d,
    "x -4": lambda update_d: update_d * np.float32(-4),
    "constant 0.1": _constant,
}
DEFENCES = ("none", "norm-bound", "outlier", "krum")


@dataclass(frozen=True)
class Outcome:
    """What a run left behind.

    Attributes:
        losses: training loss of the last round by (client, task) of honest clients; None where it could not be
            computed.
        first_losses: the same of the first round.
        scores: final score by (client, task), positive if higher is better, else negative; None where missing.
        set_aside: rounds by client in which its updates, or some of them, were not used or made smaller.
        seconds: mean time of the defence in a round; 0 without.
    """

    losses: dict[tuple[str, str], float | None]
    first_losses: dict[tuple[str, str], float | None]
    scores: dict[tuple[str, str], float | None]
    set_aside: dict[str, int]
    seconds: float


@dataclass(frozen=True)
class Trial:
    """One run: who does what, in which scenario file, with which settings."""

    scenario: Path
    values: Mapping[str, Any]
    attackers: frozenset[str] = frozenset()
    attack: Attack | None = None

    def outcome(self, folder: Path) -> Outcome:
        """Run it in a new folder."""
        settings = {**self.values, "scenario": str(self.scenario), "out-dir": str(folder)}
        config, parameters = parse_run_config(settings)
        count = len(load_scenario(config.scenario).clients)
        nodes: list[dict[str, Any]] = [{"partition-id": i, "num-partitions": count} for i in range(count)]
        try:
            result = run(InlineGrid(self._answer, nodes, settings), config, parameters, folder)
        except RunFailedError:  # an attack that stops the run has left its result.json, without scores
            result = json.loads((folder / "result.json").read_text())
        lines = [json.loads(line) for line in (folder / "history.jsonl").read_text().splitlines()]
        rounds = [line for line in lines if not line["final"]]
        honest = [client for client in result["clients"] if client not in self.attackers]
        keys = [(c, t) for c in honest for t in result["clients"][c]["tasks"]]
        first, last = ({(c, t): line["losses"].get(c, {}).get(t) for c, t in keys} for line in (rounds[0], rounds[-1]))
        scores = {}
        for client in honest:
            for task, score in result["clients"][client]["tasks"].items():
                value = score["value"]
                scores[client, task] = value if value is None or score["higher_is_better"] else -value
        touched = [name for line in rounds for name in {*line["set_aside"], *line["notes"]}]
        seconds = statistics.mean(line["seconds"].get("defence", 0.0) for line in rounds)
        return Outcome(last, first, scores, {name: touched.count(name) for name in sorted(set(touched))}, seconds)

    def _answer(self, message: Message, context: Context) -> Message:
        """Answer as the client does, or, where it is an attacker asked for updates, with poisoned ones."""
        reply = client_app(message, context)
        if self.attack is None or message.metadata.message_type != "train":
            return reply
        report, instruction = read_text(reply.content, Report), read_text(message.content, Instruction)
        if report.client not in self.attackers:
            return reply
        poisoned = {}
        for group, array in read_arrays(reply.content, UPDATES_RECORD).items():
            update_d = decode_flat(array, array.shape[0], instruction.upload_format)
            poisoned[group] = encode_flat(self.attack(update_d), instruction.upload_format)
        return Message(to_records(report, **{UPDATES_RECORD: poisoned}), reply_to=message)


@dataclass(frozen=True)
class Comparison:
    """Honest clients of a run against those of the reference run, in which nobody attacks and nothing is defended.

    Attributes:
        learned: how much the training losses fell from the first round to the last, in per cent of how much those of
            the reference fell; negative where they rose. Mean over those that could be computed.
        score: mean change of the final scores that could be computed, in the metrics' units; positive is better.
        missing: how many of these losses and scores could not be computed, though those of the reference could.
    """

    learned: float
    score: float
    missing: int

    @classmethod
    def of(cls, outcome: Outcome, reference: Outcome) -> Comparison:
        """Compare over the clients that are honest in this run."""
        learned, changes, missing = [], [], 0
        for key, loss in outcome.losses.items():
            fall = _fall(reference, key)
            if fall is not None and fall > 0:
                missing += loss is None
                own = _fall(outcome, key)
                learned += [100 * own / fall] if own is not None else []
        for key, score in outcome.scores.items():
            if (before := reference.scores[key]) is not None:
                missing += score is None
                changes += [score - before] if score is not None else []
        return cls(_mean(learned), _mean(changes), missing)


def _fall(outcome: Outcome, key: tuple[str, str]) -> float | None:
    first, last = outcome.first_losses[key], outcome.losses[key]
    return None if first is None or last is None else first - last


def _mean(values: Sequence[float]) -> float:
    return statistics.mean(values) if values else float("nan")


@dataclass(frozen=True)
class Options:
    """What is measured."""

    scenario: str
    strategies: tuple[str, ...]
    seeds: tuple[int, ...]
    rounds: int
    images: int
    attacks: tuple[str, ...]
    defences: tuple[str, ...]
    attackers: int

    def clients(self) -> list[str]:
        """Return the clients' names, honest first; sorted, as the server sorts them."""
        tasks = TASKS_OF_CLIENTS[self.scenario]
        return [f"c{i:02d}-{task}" for i, task in enumerate(tasks)]

    def write_scenario(self, folder: Path) -> Path:
        """Write the scenario file and return its path."""
        lines = [DEFAULTS.format(images=self.images).strip()]
        for name, task in zip(self.clients(), TASKS_OF_CLIENTS[self.scenario], strict=True):
            lines.append(f"  - name: {name}\n    tasks: [{task}]")
        if self.scenario == "unequal":
            lines[1] += f"\n    train-images: {8 * self.images}"
        path = folder / "scenario.yaml"
        path.write_text("name: poisoned\ndescription: Procedural scenes.\n" + "\n".join(lines) + "\n")
        return path


def measure(options: Options, folder: Path) -> None:
    """Run everything and print a table for each strategy."""
    scenario = options.write_scenario(folder)
    bad = frozenset(options.clients()[-options.attackers :])
    for strategy in options.strategies:
        print(f"\n{options.scenario}, {strategy}, {len(bad)} of {len(options.clients())} clients attack\n")
        print("| attack | defence | learned, % | score | missing | clients touched (rounds) | defence, ms a round |")
        print("| --- | --- | --- | --- | --- | --- | --- |")
        references: dict[int, Outcome] = {}
        for attack in ("nobody", *options.attacks):
            for defence in options.defences:
                outcomes = {}
                for seed in options.seeds:
                    values = _values(options, strategy, defence, seed)
                    if attack == "nobody":
                        trial = Trial(scenario, values)
                    else:
                        trial = Trial(scenario, values, bad, ATTACKS[attack])
                    out = folder / "run"
                    outcomes[seed] = trial.outcome(out)
                    shutil.rmtree(out)
                    if attack == "nobody" and defence == "none":
                        references[seed] = outcomes[seed]
                _print_row(attack, defence, outcomes, references)


def _values(options: Options, strategy: str, defence: str, seed: int) -> dict[str, Any]:
    return {
        "strategy": strategy,
        "num-server-rounds": options.rounds,
        "seed": seed,
        "encoder-learning-rate": 0.02,
        "decoder-learning-rate": 0.02,
        "evaluate-every": options.rounds,
        "quorum": 0.1,
        "defence": defence,
        "defence-attackers": options.attackers,
    }


def _print_row(attack: str, defence: str, outcomes: Mapping[int, Outcome], references: Mapping[int, Outcome]) -> None:
    compared = [Comparison.of(outcome, references[seed]) for seed, outcome in outcomes.items()]
    touched: dict[str, int] = {}
    for outcome in outcomes.values():
        for client, rounds in outcome.set_aside.items():
            touched[client] = touched.get(client, 0) + rounds
    seconds = statistics.mean(outcome.seconds for outcome in outcomes.values())
    cells = [
        attack,
        defence,
        _spread([one.learned for one in compared], "{:.0f}"),
        _spread([one.score for one in compared], "{:+.2f}"),
        str(sum(one.missing for one in compared)),
        ", ".join(f"{client} {rounds}" for client, rounds in sorted(touched.items())) or "-",
        f"{1000 * seconds:.1f}",
    ]
    print("| " + " | ".join(cells) + " |", flush=True)


def _spread(values: Sequence[float], form: str) -> str:
    middle = form.format(statistics.mean(values))
    if len(values) == 1:
        return middle
    return f"{middle} ({form.format(min(values))} to {form.format(max(values))})"


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", choices=sorted(TASKS_OF_CLIENTS), default="alike")
    parser.add_argument("--strategies", default="fedavg,fedhca2")
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--images", type=int, default=12, help="training images of each client")
    parser.add_argument("--attacks", default=",".join(ATTACKS))
    parser.add_argument("--defences", default=",".join(DEFENCES))
    parser.add_argument("--attackers", type=int, default=1, help="how many clients attack; krum assumes the same")
    given = parser.parse_args(arguments)
    options = Options(
        given.scenario,
        tuple(given.strategies.split(",")),
        tuple(int(seed) for seed in given.seeds.split(",")),
        given.rounds,
        given.images,
        tuple(name for name in given.attacks.split(",") if name),
        tuple(given.defences.split(",")),
        given.attackers,
    )
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="defence-") as folder:
        measure(options, Path(folder))
    print(f"\n{time.monotonic() - started:.0f} s")


if __name__ == "__main__":
    torch.set_num_threads(1)
    logging.getLogger("flwr").setLevel(logging.ERROR)
    main()
