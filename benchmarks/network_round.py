"""What a networked round weighs: ``python benchmarks/network_round.py bytes`` and ``... seconds``.

Both start a coordinator and a site as real processes on loopback, with TLS and keys. `bytes` counts at the socket what
a site with a Swin-T model sends and receives in a round. `seconds` says where a round's time goes that is not training,
beside a Flower app that only sends arrays of the same sizes there and back; the two take turns on the same site.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import yaml
from fmtl_datasets.scenarios.scenario import Scenario, load_scenario

from benchmarks.networking.empty_app import write_empty_app
from benchmarks.networking.relay import Counted, Relay
from benchmarks.networking.stamps import PARTS, fixed, medians, parts_of_rounds, read_lines, round_times
from fmtl.network.coordinator_folder import local_endpoint, read_settings
from fmtl.network.rehearsal import Rehearsal
from fmtl.network.runs import submit
from server_app.run_folder import RunFolder

HOOKS = Path(__file__).with_name("networking") / "hooks"
SITE = "site"
TINY = {"encoder": "mobilenetv3_small_050", "decoder-width": 8, "image-size": [32, 32]}
SWIN = {"encoder": "swin-t-fedhca2", "image-size": [64, 64]}
MODELS: dict[str, dict[str, Any]] = {"tiny": TINY, "swin-t": SWIN}
FORMATS: dict[str, dict[str, Any]] = {
    "float32": {"strategy": "fedavg", "upload-format": "float32"},
    "bfloat16": {"strategy": "fedavg", "upload-format": "bfloat16"},
    "sparse 0.3, bfloat16": {"strategy": "feddea", "upload-format": "bfloat16", "feddea.rho": "0.3"},
}
APPS = ("this project", "empty app, same loop", "empty app, Flower's loop")
_RUN_SECONDS = 900.0


@dataclass(frozen=True)
class Traffic:
    """One site's bytes of one round.

    Attributes:
        form: number format of the updates.
        round: number of the round.
        arrays_up, arrays_down: bytes of arrays as the history has them.
        socket_up, socket_down: bytes that passed the site's connections to the coordinator, TLS and HTTP included.
        connections: TCP connections opened.
        seconds: from the round's beginning to that of the next.
    """

    form: str
    round: int
    arrays_up: int
    arrays_down: int
    socket_up: int
    socket_down: int
    connections: int
    seconds: float


@dataclass(frozen=True)
class Turns:
    """How often each app is measured.

    Attributes:
        rounds: rounds of each run; the first is not counted.
        repeats: runs of each app.
    """

    rounds: int
    repeats: int


def scenario(place: Path, keys: Mapping[str, Any]) -> Scenario:
    """Return a scenario of one client whose training takes next to no time."""
    client = {"name": SITE, "tasks": ["semseg"], "dataset": "procedural", "train-images": 2, "validation-images": 1}
    path = place / "scenario.yaml"
    path.write_text(
        yaml.safe_dump(
            {"name": "weight", "description": "One small client.", "clients": [{**client, "batch-size": 2, **keys}]}
        )
    )
    return load_scenario(str(path))


def pass_through(rehearsal: Rehearsal, port: int) -> None:
    """Let the site reach the coordinator through another port."""
    file = rehearsal.site_file(SITE)
    content = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump({**content, "coordinator": f"127.0.0.1:{port}"}, sort_keys=False))


def finish(rehearsal: Rehearsal, values: Mapping[str, Any], name: str) -> Path:
    """Run to the end and return the run's folder.

    Whether it has ended is read from its files: asking Flower takes seconds of processor time.
    """
    rehearsal.submit(values, name)
    folder = rehearsal.coordinator.runs / name
    rehearsal.wait_for(lambda: (folder / "result.json").is_file(), f"the end of {name}", _RUN_SECONDS)
    result = json.loads((folder / "result.json").read_text())
    if result["status"] != "completed":
        raise RuntimeError(f"{name} failed: {result['reason']}")
    return folder


def measure_bytes(place: Path, rounds: int, forms: Mapping[str, Mapping[str, Any]]) -> list[Traffic]:
    """Return a site's traffic, by form and round."""
    found: list[Traffic] = []
    with _rehearsal(place, SWIN) as rehearsal:
        endpoint = local_endpoint(read_settings(rehearsal.coordinator))
        with Relay((endpoint.host, endpoint.port)) as relay:
            pass_through(rehearsal, relay.port)
            rehearsal.start_coordinator()
            rehearsal.start_site(SITE)
            for number, (form, values) in enumerate(forms.items()):
                folder = finish(rehearsal, {**values, "num-server-rounds": rounds}, f"run-{number}")
                found += _traffic(form, folder, relay.at)
                _say(f"{form}: done")
    return found


def measure_seconds(place: Path, model: Mapping[str, Any], apps: Sequence[str], turns: Turns) -> dict[str, Any]:
    """Return seconds by part and round for each app, and what the very first message took.

    Every other time the apps take their turns in the opposite order, so that load that grows or falls is no app's gain.
    """
    found: dict[str, list[dict[str, float]]] = {name: [] for name in apps}
    stamps = place / "stamps.jsonl"
    empty = write_empty_app(place / "empty-app")
    sizes: dict[str, str] = {}
    with _rehearsal(place, model) as rehearsal:
        rehearsal.start_coordinator()
        rehearsal.start_site(SITE, PYTHONPATH=str(HOOKS), FMTL_BENCHMARK_STAMPS=str(stamps))
        for repeat in range(turns.repeats):
            for name in apps if repeat % 2 == 0 else reversed(apps):
                if name == APPS[0]:
                    values = {"strategy": "fedavg", "num-server-rounds": turns.rounds}
                    folder = finish(rehearsal, values, f"own-{repeat}")
                    sizes = sizes or array_sizes(folder)
                    log, trained = folder / "progress.jsonl", _trained(folder)
                else:
                    log, trained = place / f"empty-{APPS.index(name)}-{repeat}.jsonl", {}
                    loop = "own" if name == APPS[1] else "flower"
                    _run_empty(rehearsal, empty, {**sizes, "loop": loop, "log": str(log), "rounds": turns.rounds})
                measured = parts_of_rounds(_times(log), read_lines(stamps), trained)
                found[name] += _warm(measured)
                _say(f"{name}: {[round(fixed(parts), 1) for parts in measured.values()]} s")
    first = next(line for line in read_lines(stamps) if line["event"] == "message")
    return {"rounds": found, "first_message_seconds": first["answered"] - first["called"], "sizes": sizes}


def array_sizes(folder: Path) -> dict[str, str]:
    """Return the sizes of the arrays of a round with bfloat16 updates, as the empty app's settings."""
    checkpoint = RunFolder(folder).newest_checkpoint()
    assert checkpoint is not None
    counts = {n: array.size for n, array in checkpoint.arrays.items() if n.startswith(f"parameters/{SITE}/")}
    up = [count * (4 if "/buffers" in name else 2) for name, count in counts.items()]
    return {"down": " ".join(str(4 * count) for count in counts.values()), "up": " ".join(map(str, up))}


def bytes_table(found: list[Traffic]) -> str:
    """Return the traffic as Markdown, megabytes of 10^6 bytes."""
    head = ["updates as", "round", "arrays up", "socket up", "arrays down", "socket down", "connections", "seconds"]
    rows = [
        [t.form, str(t.round)]
        + [f"{size / 1e6:.2f}" for size in (t.arrays_up, t.socket_up, t.arrays_down, t.socket_down)]
        + [str(t.connections), f"{t.seconds:.1f}"]
        for t in found
    ]
    return _table(head, rows, text_columns=1)


def seconds_table(found: Mapping[str, list[dict[str, float]]]) -> str:
    """Return medians over all warm rounds by part as Markdown."""
    by_app = {name: medians(rounds) for name, rounds in found.items()}
    rows = [[part, *(f"{parts[part]:.2f}" for parts in by_app.values()), text] for part, text in PARTS.items()]
    totals = {name: sorted(fixed(parts) for parts in rounds) for name, rounds in found.items()}
    rows.append(
        [
            "**fixed cost of a round**",
            *(f"**{median(seconds):.2f}**" for seconds in totals.values()),
            "without training",
        ]
    )
    rows.append(["its range", *(f"{seconds[0]:.1f} to {seconds[-1]:.1f}" for seconds in totals.values()), ""])
    return _table(["part", *found, "what happens"], rows, text_columns=1)


def ratios(found: Mapping[str, list[dict[str, float]]]) -> dict[str, float]:
    """Return this project's median fixed cost over that of each empty app."""
    totals = {name: median(fixed(parts) for parts in rounds) for name, rounds in found.items()}
    return {name: round(totals[APPS[0]] / seconds, 3) for name, seconds in totals.items() if name != APPS[0]}


def _rehearsal(place: Path, keys: Mapping[str, Any]) -> Rehearsal:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return Rehearsal(scenario(place, keys), place / "all", _say, checks=False, environment=environment)


def _run_empty(rehearsal: Rehearsal, app: Path, values: dict[str, Any]) -> None:
    log = Path(values["log"])
    submit(rehearsal.coordinator, values, rehearsal.coordinator.runs / log.stem, app)
    rehearsal.wait_for(
        lambda: any(line["round"] > values["rounds"] for line in read_lines(log)),
        f"the end of {log.stem}",
        _RUN_SECONDS,
    )


def _traffic(form: str, folder: Path, at: Callable[[float], Counted]) -> list[Traffic]:
    found = []
    history = {line["round"]: line for line in RunFolder(folder).history() if not line["final"]}
    for number, (asked, _, after) in _times(folder / "progress.jsonl").items():
        passed, line = at(after) - at(asked), history[number]
        found.append(
            Traffic(
                form=form,
                round=number,
                arrays_up=line["bytes_up"],
                arrays_down=line["bytes_down"],
                socket_up=passed.up,
                socket_down=passed.down,
                connections=passed.connections,
                seconds=after - asked,
            )
        )
    return found


def _times(path: Path) -> dict[int, tuple[float, float, float]]:
    return round_times(read_lines(path))


def _trained(folder: Path) -> dict[int, float]:
    """Return the seconds of training and evaluation by round."""
    parts = (f"{SITE}/training", f"{SITE}/evaluation")
    history = [line for line in RunFolder(folder).history() if not line["final"]]
    return {line["round"]: sum(line["seconds"].get(part, 0.0) for part in parts) for line in history}


def _warm(measured: Mapping[int, dict[str, float]]) -> list[dict[str, float]]:
    """Leave out a run's first round: the node fetches the app for it, and models are built."""
    return [parts for number, parts in measured.items() if number > 1]


def _table(head: list[str], rows: list[list[str]], text_columns: int) -> str:
    rule = ["---" if i < text_columns or name == "what happens" else "---:" for i, name in enumerate(head)]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in [head, rule, *rows])


def _say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} load {os.getloadavg()[0]:.1f}: {text}", file=sys.stderr, flush=True)


def main() -> None:
    """Measure, and print tables (or, with --json, everything)."""
    parser = argparse.ArgumentParser(description="What a networked round weighs.")
    parser.add_argument("what", choices=["bytes", "seconds"])
    parser.add_argument("--rounds", type=int, default=3, help="rounds of each run; the first is not counted in seconds")
    parser.add_argument("--repeats", type=int, default=3, help="seconds: turns of each app")
    parser.add_argument("--model", choices=list(MODELS), default="tiny", help="seconds: the client's model")
    parser.add_argument("--apps", type=int, choices=[2, 3], default=3, help="seconds: 2 leaves out Flower's loop")
    parser.add_argument("--forms", nargs="+", choices=list(FORMATS), default=list(FORMATS), help="bytes: which forms")
    parser.add_argument("--json", action="store_true", help="print every round")
    arguments = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="fmtl-round-", dir="/tmp"))
    before = os.getloadavg()[0]
    try:
        if arguments.what == "bytes":
            traffic = measure_bytes(place, arguments.rounds, {form: FORMATS[form] for form in arguments.forms})
            content: Any = [asdict(item) for item in traffic]
            text = bytes_table(traffic)
        else:
            content = measure_seconds(
                place, MODELS[arguments.model], APPS[: arguments.apps], Turns(arguments.rounds, arguments.repeats)
            )
            first = content["first_message_seconds"]
            text = seconds_table(content["rounds"])
            text += f"\n\nRatios: {ratios(content['rounds'])}\nFirst message: {first:.1f} s."
    finally:
        shutil.rmtree(place, ignore_errors=True)
    print(json.dumps(content, indent=2) if arguments.json else text)
    print(f"Load average {before:.1f} before, {os.getloadavg()[0]:.1f} after, {os.cpu_count()} cores.")


if __name__ == "__main__":
    main()
