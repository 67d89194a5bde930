"""Time and memory of every strategy's server step, through the same store and the same call as in a run.

One process for each strategy and number of clients, one after another: 24 encoders of 28M values and their updates
are 5.4 GB.
"""

from __future__ import annotations

import gc
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.memory import give_back, peak_growth, resident_bytes
from fmtl_strategies.contract.groups import GroupKind
from fmtl_strategies.contract.layout import ArraySpec, FloatArray, GroupLayout
from fmtl_strategies.contract.messages import Report
from fmtl_strategies.contract.profile import PROTOCOL_VERSION, ClientProfile, TaskProfile
from fmtl_strategies.registry import make_strategy, strategy_names
from fmtl_strategies.round.base import PersonalizedStrategy
from fmtl_strategies.round.store import ParameterStore, RowKey
from fmtl_strategies.settings import RunConfig

TASKS = ("depth", "edge", "normals", "semseg")
ARRAYS = 40
WARM_UP_PARAMETERS = 300_000
_SHIFT = 4_096


@dataclass
class Rounds:
    """Rounds of one strategy on one pool, without clients.

    Attributes:
        strategy: the strategy; its store holds one row for each client.
        noise: (D + clients x 4096,) float32, of which every client's update is a window.
        away: how many clients do not answer; in the next round these are others.
        number: the last round that was begun.
    """

    strategy: PersonalizedStrategy
    noise: FloatArray
    keys: list[RowKey] = field(default_factory=list)
    away: int = 0
    number: int = 0

    def begin(self) -> None:
        """Write the updates of those that answer, with a part in common, into the store, as admission does."""
        store, size = self.strategy.store, self.noise.size - len(self.keys) * _SHIFT
        self.number += 1
        store.open_round()
        silent = {(self.number + j) % len(self.keys) for j in range(self.away)}
        for i, key in enumerate(self.keys):
            if i in silent:
                continue
            row = store.update_buffer(key)
            np.multiply(self.noise[:size], np.float32(0.3), out=row)
            row += self.noise[(i + 1) * _SHIFT : (i + 1) * _SHIFT + size]
            store.commit_update(key)
            self.strategy.observe(_report(self.strategy.roster.profiles[key.client], self.number))

    def step(self) -> None:
        """The server's arithmetic of the round, with the anchors it sends."""
        strategy = self.strategy
        for pool in strategy.store.rounds(strategy.roster.profiles):
            aggregate = strategy.aggregate_buffers if pool.kind == "buffers" else strategy.aggregate_pool
            aggregate(pool, self.number)
        for profile in strategy.roster.profiles.values():
            strategy.anchors(profile, self.number + 1)

    def whole(self, count: int) -> None:
        """Run several rounds."""
        for _ in range(count):
            self.begin()
            self.step()

    def copy(self) -> None:
        """Copy as many bytes as the updates have; they are written anew before the next step."""
        for pool in self.strategy.store.rounds(self.strategy.roster.profiles):
            np.copyto(pool.updates_nd, pool.parameters_nd)


def make_rounds(
    name: str,
    clients: int,
    parameters: int,
    *,
    kind: GroupKind = "encoder",
    away: int = 0,
    options: Mapping[str, object] | None = None,
) -> Rounds | None:
    """Return a strategy with its store filled.

    Args:
        name: of the strategy.
        clients: number of rows N; neighbours have different tasks.
        parameters: length of a row D.
        kind: what is exchanged.
        away: how many clients do not answer in a round.
        options: hyper-parameters by kebab-case name; None: the defaults.

    Returns:
        Rounds that were not begun; None where the strategy does not exchange that kind.

    Raises:
        ValueError: nobody would answer.
    """
    if not 0 <= away < clients:
        raise ValueError(f"away is {away}, expected 0 to {clients - 1}: of {clients} clients at least one must answer")
    settings = RunConfig.from_flat({"num-server-rounds": 100})
    strategy = make_strategy(name, settings, options or {})
    if kind not in strategy.exchanged_kinds():
        return None
    layout = _layout(parameters)
    generator = np.random.default_rng(0)
    noise = generator.standard_normal(parameters + clients * _SHIFT, dtype=np.float32) * np.float32(1e-3)
    rounds = Rounds(strategy, noise, away=away)
    start = generator.standard_normal(parameters, dtype=np.float32)
    for i in range(clients):
        task = TASKS[i % len(TASKS)]
        group = {"encoder": "encoder", "buffers": "buffers.encoder"}.get(kind, f"{kind}.{task}")
        profile = _profile(i, task, group, layout)
        strategy.roster.profiles[profile.client] = profile
        rounds.keys.append(RowKey(profile.client, group))
    _fill(strategy.store, rounds.keys, layout, start)
    strategy.present = tuple(key.client for key in rounds.keys)
    return rounds


def measure_strategy(name: str, clients: int, parameters: int, repeats: int, away: int = 0) -> dict[str, Any]:
    """Measure one strategy in this process.

    Args:
        name: of the strategy.
        clients: rows N.
        parameters: length of a row D.
        repeats: timed rounds.
        away: clients that do not answer, others in every round.

    Returns:
        Seconds, ratios of each step to the copy of the updates right after it (fastest and median), and memory beside
        parameters and updates in vectors of D float32: `peak_vectors` while the first two rounds run (with
        what the allocator holds back), `kept_vectors` after them.
    """
    measured = {"strategy": name, "clients": clients, "away": away, "parameters": parameters}
    small = make_rounds(name, clients, WARM_UP_PARAMETERS, away=away)
    if small is None:
        return {**measured, "exchanges": False}
    small.whole(2)  # libraries and thread pools take memory of their own, which does not grow with D
    del small
    rounds = make_rounds(name, clients, parameters, away=away)
    assert rounds is not None
    rounds.begin()
    gc.collect()
    before = resident_bytes()

    def two_rounds() -> None:
        rounds.step()
        rounds.whole(1)

    peak = peak_growth(two_rounds)
    give_back()
    kept = max(resident_bytes() - before, 0)
    steps, copies = [], []
    for _ in range(repeats):
        rounds.begin()
        steps.append(_seconds(rounds.step))
        copies.append(_seconds(rounds.copy))
    ratios = [step / copy for step, copy in zip(steps, copies, strict=True)]
    return {
        **measured,
        "exchanges": True,
        "seconds": {"min": min(steps), "median": statistics.median(steps)},
        "copy_seconds": {"min": min(copies), "median": statistics.median(copies)},
        "ratio_to_copy": {"min": min(ratios), "median": statistics.median(ratios)},
        "peak_vectors": peak / (4 * parameters),
        "kept_vectors": kept / (4 * parameters),
        "threads": torch.get_num_threads(),
    }


def measure_all(
    names: Sequence[str], clients: Sequence[int], parameters: int, repeats: int, away: int = 0
) -> list[dict[str, Any]]:
    """Measure strategies one after another, each in a fresh process; progress goes to standard error."""
    found = []
    for count in clients:
        for name in names:
            command = [sys.executable, str(Path(__file__).with_name("aggregation.py")), "--one", name]
            command += ["--clients", str(count), "--parameters", str(parameters), "--repeats", str(repeats)]
            command += ["--away", str(away)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise RuntimeError(f"{name} with {count} clients failed:\n{done.stderr[-2000:]}")
            found.append(json.loads(done.stdout))
            print(json.dumps(found[-1]), file=sys.stderr, flush=True)
    return found


def chosen_names(text: str) -> list[str]:
    """Return the strategies that `--strategies` names: `all`, or names with commas between them.

    Raises:
        ValueError: a name that is not registered.
    """
    names = strategy_names() if text == "all" else text.split(",")
    unknown = sorted(set(names) - set(strategy_names()))
    if unknown:
        raise ValueError(
            f"--strategies {text}: no strategy {', '.join(unknown)}; there are {', '.join(strategy_names())}"
        )
    return names


def as_table(found: Sequence[dict[str, Any]]) -> str:
    """Return the measures, medians over the repeats, as a Markdown table with one row for each strategy."""
    counts = sorted({row["clients"] for row in found})
    cells = {(row["strategy"], row["clients"]): row for row in found}
    absent = ", {} away".format(found[0]["away"]) if found[0]["away"] else ""
    heads = [f"step, {count} clients{absent} | extra memory" for count in counts]
    lines = [f"| strategy | {' | '.join(heads)} |", "|---" + "|---:" * (2 * len(counts)) + "|"]
    for name in dict.fromkeys(row["strategy"] for row in found):
        lines.append(f"| `{name}` | {' | '.join(_cells(cells.get((name, count))) for count in counts)} |")
    return "\n".join(lines)


def _cells(row: dict[str, Any] | None) -> str:
    if row is None or not row["exchanges"]:
        return "- | -"
    ratio, seconds = row["ratio_to_copy"]["median"], row["seconds"]["median"]
    return f"{ratio:.1f} x ({seconds:.2f} s) | {row['peak_vectors']:.2f}"


def _seconds(work: Any) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _layout(parameters: int) -> GroupLayout:
    """A group of `parameters` values in up to 40 arrays of nearly equal length."""
    edges = np.linspace(0, parameters, min(ARRAYS, parameters) + 1).astype(int)
    sizes = [int(stop - start) for start, stop in zip(edges[:-1], edges[1:], strict=True)]
    return GroupLayout(arrays=tuple(ArraySpec(name=f"blocks.{i}.weight", shape=(n,)) for i, n in enumerate(sizes)))


def _profile(index: int, task: str, group: str, layout: GroupLayout) -> ClientProfile:
    groups = dict.fromkeys(("encoder", f"decoders.{task}", f"heads.{task}"), _layout(8))
    return ClientProfile(
        protocol=PROTOCOL_VERSION,
        client=f"client-{index:02d}",
        dataset=f"data-{index}",
        encoder="benchmark",
        tasks=(TaskProfile(name=task, metric="mIoU", higher_is_better=True),),
        train_examples=100 + index,
        validation_examples=10,
        local_epochs=1,
        groups={**groups, group: layout},
        weights_report="none",
        versions={},
    )


def _fill(store: ParameterStore, keys: Sequence[RowKey], layout: GroupLayout, start: FloatArray) -> None:
    """Give every client the same start. Added one by one, N rows would be copied N times: 33 GB for 24 encoders."""
    store.add(keys[0], layout, start)
    place = store._place[keys[0]]
    store._place.update(dict.fromkeys(keys, place))
    pool = store._pools[place]
    pool.rows, pool.parameters_nd = sorted(keys), np.repeat(start[None], len(keys), axis=0)


def _report(profile: ClientProfile, number: int) -> Report:
    tasks = profile.task_names
    affinities = {one: {other: 0.1} for one, other in permutations(tasks, 2)}
    return Report(
        client=profile.client,
        round=number,
        train_examples=profile.train_examples,
        losses=dict.fromkeys(tasks, 1.0),
        affinities=affinities,
    )
