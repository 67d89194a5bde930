"""Seconds of a round in which no client trains: the ray engine against stock Flower's FedAvg, in one run.

    .venv/bin/python benchmarks/simulation_round.py [--clients 6] [--parameters 28000000] [--rounds 8] [--repeats 5]

A round of ours is all that the server does between two rounds of training: messages, exchange, admission, aggregation,
checkpoint, history. Stock Flower keeps no checkpoint. The first round, in which workers start, is left out of both.
Both run on Ray with one CPU for each client, in turns. `copy` is the time to copy one round's parameters of all
clients once (np.copyto).
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
from typing import Any

import numpy as np

_STOCK = """
import sys, time, numpy as np
from flwr.app import Array, ArrayRecord, ConfigRecord, Context, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import Grid, ServerApp
from flwr.serverapp.strategy import FedAvg
from flwr.simulation import run_simulation
clients, parameters, rounds = map(int, sys.argv[1:4])
client_app, server_app = ClientApp(), ServerApp()
@client_app.train()
def train(message, context):
    content = RecordDict({"arrays": message.content["arrays"], "metrics": MetricRecord({"num-examples": 1})})
    return Message(content, reply_to=message)
class Timed(FedAvg):
    def configure_train(self, server_round, arrays, config, grid):
        print("ROUND", time.monotonic(), flush=True)
        return super().configure_train(server_round, arrays, config, grid)
@server_app.main()
def main(grid, context):
    start = ArrayRecord({"weight": Array(np.ones(parameters, np.float32))})
    strategy = Timed(fraction_evaluate=0.0, min_train_nodes=clients, min_available_nodes=clients)
    strategy.start(grid=grid, initial_arrays=start, num_rounds=rounds)
    print("ROUND", time.monotonic(), flush=True)
run_simulation(server_app, client_app, clients, backend_config={"client_resources": {"num_cpus": 1, "num_gpus": 0.0}})
"""


def ours(clients: int, parameters: int, rounds: int) -> list[float]:
    """Return the seconds of every round but the first."""
    from fmtl.engine import Engine
    from fmtl.engine.ray_cluster import connected, starting_cluster
    from fmtl.engine.ray_grid import RayGrid
    from fmtl.engine.ray_worker import WorkerSettings
    from server_app.app import run
    from server_app.config import parse_run_config

    engine = Engine("ray")
    folder = Path(tempfile.mkdtemp(prefix="fmtl-round-"))
    values: dict[str, Any] = {"strategy": "fedavg", "num-server-rounds": rounds, "evaluate-every": rounds}
    config, chosen = parse_run_config({**values, "out-dir": str(folder / "run")})
    nodes: list[dict[str, Any]] = [{"partition-id": i, "num-partitions": clients} for i in range(clients)]
    told = WorkerSettings("benchmarks.noop_client:answer", None, {"parameters": parameters}, 1, None)
    try:
        with starting_cluster(engine) as cluster:
            assert cluster is not None
            with connected(cluster.address(), engine) as ray:
                run(RayGrid(ray, engine, told, nodes), config, chosen, folder / "run")
        events = map(json.loads, (folder / "run/progress.jsonl").read_text().splitlines())
        asked = [event["time"] for event in events if event["event"] == "asked"]
    finally:
        shutil.rmtree(folder)
    return list(np.diff(asked)[1:])


def stock(clients: int, parameters: int, rounds: int) -> list[float]:
    """Return the seconds of every round but the first, of Flower's FedAvg with a client that echoes."""
    command = [sys.executable, "-c", _STOCK, str(clients), str(parameters), str(rounds)]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    times = [float(line.split()[1]) for line in printed.splitlines() if line.startswith("ROUND")]
    return list(np.diff(times)[1:])


def copy(clients: int, parameters: int) -> float:
    """Return the seconds of copying all clients' parameters once, the fastest of five."""
    source = np.ones((clients, parameters), np.float32)
    target = np.zeros_like(source)
    seconds = []
    for _ in range(5):
        started = time.perf_counter()
        np.copyto(target, source)
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def main() -> None:
    """Measure in turns and print medians and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=6)
    parser.add_argument("--parameters", type=int, default=28_000_000)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    chosen = parser.parse_args()
    unit = copy(chosen.clients, chosen.parameters)
    print(f"{chosen.clients} clients x {chosen.parameters / 1e6:g}M float32; copy {unit:.3f} s")
    ratios = []
    for number in range(1, chosen.repeats + 1):
        size = (chosen.clients, chosen.parameters, chosen.rounds)
        here, there = statistics.median(ours(*size)), statistics.median(stock(*size))
        ratios.append(here / there)
        print(f"{number}: ours {here:.2f} s ({here / unit:.1f} copies), stock Flower {there:.2f} s: {ratios[-1]:.2f}")
    print(f"ratio ours / stock: median {statistics.median(ratios):.2f}, {min(ratios):.2f} to {max(ratios):.2f}")


if __name__ == "__main__":
    main()
