"""What every strategy computes in a tiny run, written down so that a restructured program can be held against it.

    python tests/recorded/recording.py OUT.json             fingerprints, for any machine (what recorded.json holds)
    python tests/recorded/recording.py OUT.json --digests   a sha256 of every array, for one machine

Every run is made twice: left alone, and killed (SIGKILL) in the middle of its second round and resumed. Both must end
with the same bits. Fingerprints are made in the environment PORTABLE, in which the processor does not choose the
instructions; why that is needed stands in test_recorded_runs.py. Nothing here knows more of the program than a run
config, a run folder, and the functions below whose docstrings begin with "The one place".
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import importlib.metadata
import inspect
import json
import logging
import os
import re
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = dict[str, npt.NDArray[Any]]

HERE = Path(__file__).resolve().parent
SCENARIO = HERE / "recorded.yaml"
FORMAT = 1
VALUES = 8
PROJECTIONS = 3
SIGNIFICANT_DIGITS = 9

PORTABLE = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OPENBLAS_CORETYPE": "Nehalem",
    "MKL_CBWR": "COMPATIBLE",
    "ATEN_CPU_CAPABILITY": "default",
    "NPY_DISABLE_CPU_FEATURES": "X86_V3 X86_V4 AVX512_ICL AVX512_SPR AVX FMA3 AVX2 AVX512F AVX512CD AVX512_SKX "
    "AVX512_CLX AVX512_CNL",
}
"""Environment in which PyTorch, NumPy and SciPy choose the same instructions on every x86-64 processor; names that a
version of NumPy does not know do no harm."""

_ROUND_FOLDER = re.compile(r"^round-\d+$")


@dataclass(frozen=True)
class Case:
    """A run to record: its name, and what its run config says beside scenario and seed."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def values(self, scenario: Path) -> dict[str, Any]:
        """Return the flat run config; all that is not named here takes the program's defaults."""
        return {"scenario": str(scenario), "seed": 0, "num-server-rounds": 2, **self.settings}


def cases() -> list[Case]:
    """Return every strategy with its defaults, and two with uploads that are not rounded.

    A third round lets the momentum of fedhca2's weights act, which after two is only part of the server's state.
    """
    names: list[str] = importlib.import_module("fmtl_strategies.registry").strategy_names()
    exact = {"upload-format": "float32"}
    return [
        *(Case(name, {"strategy": name}) for name in names),
        Case("fedhca2, float32, three rounds", {"strategy": "fedhca2", "num-server-rounds": 3, **exact}),
        Case("feddea, float32", {"strategy": "feddea", **exact}),
    ]


# What may change with the program ------------------------------------------------------------------------------------


def perform(values: Mapping[str, Any], folder: Path) -> None:
    """The one place that knows how a run is started in this process."""
    run = getattr(importlib.import_module("fmtl"), "run", None)
    if callable(run) and "engine" in inspect.signature(run).parameters:
        run(values, folder, engine="inline")
    else:
        importlib.import_module("fmtl.local_run").run_in_process(values, folder)


def server_arrays(folder: Path) -> Arrays:
    """The one place that knows where a run keeps the server's arrays: the newest checkpoint, and the common model."""
    load = importlib.import_module("safetensors.numpy").load_file
    newest = max(path for path in (folder / "checkpoints").iterdir() if _ROUND_FOLDER.match(path.name))
    arrays = load(newest / "arrays.safetensors")
    # Since version 0.2 equal arrays are written once; the state says which are the same as which.
    same_as = json.loads((newest / "state.json").read_text(encoding="utf-8")).get("same_as", {})
    arrays |= {name: arrays[other] for name, other in same_as.items()}
    found = {f"server/{name}": array for name, array in arrays.items()}
    if (folder / "unified.safetensors").exists():
        found |= {f"unified/{name}": array for name, array in load(folder / "unified.safetensors").items()}
    return found


def client_arrays(folder: Path) -> Arrays:
    """The one place that knows where clients keep their arrays: state and last updates, each client's newest round."""
    load = importlib.import_module("safetensors.numpy").load_file
    places: dict[str, Path] = {}
    for place in sorted((folder / "clients").glob("*/*/round-*")):
        places[place.parent.name] = place
    found: Arrays = {}
    for client, place in places.items():
        found |= {f"{client}/{name}": array for name, array in load(place / "state.safetensors").items()}
        found |= {f"{client}/updates/{name}": array for name, array in load(place / "updates.safetensors").items()}
    return found


def round_lines(folder: Path) -> list[dict[str, Any]]:
    """The one place that knows the history: what each round said of its numbers, without times."""
    kept = ("round", "final", "evaluated_round", "skipped", "bytes_up", "bytes_down", "losses", "diagnostics")
    found = []
    for text in (folder / "history.jsonl").read_text(encoding="utf-8").splitlines():
        line = json.loads(text)
        scores = {
            client: {task: score["value"] for task, score in by_task.items()}
            for client, by_task in line["scores"].items()
        }
        people = {name: sorted(line[name]) for name in ("participants", "set_aside", "notes")}
        found.append({**{name: line[name] for name in kept}, **people, "scores": scores})
    return found


def rounds_done(folder: Path) -> int:
    """The one place that counts the rounds which a run that is going on has finished."""
    history = folder / "history.jsonl"
    return history.read_bytes().count(b"\n") if history.exists() else 0


# Runs ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What a finished run has left: arrays by name, and a line for each round."""

    arrays: Arrays
    rounds: list[dict[str, Any]]

    @classmethod
    def of(cls, folder: Path) -> Outcome:
        """Read a run folder."""
        return cls(server_arrays(folder) | client_arrays(folder), round_lines(folder))

    def require_same(self, other: Outcome, what: str) -> None:
        """Raise unless both are equal to the last bit."""
        if self.arrays.keys() != other.arrays.keys():
            raise AssertionError(f"{what}: other arrays: {sorted(self.arrays.keys() ^ other.arrays.keys())[:5]}")
        differ = [name for name, array in self.arrays.items() if digest(array) != digest(other.arrays[name])]
        if differ:
            raise AssertionError(f"{what}: {len(differ)} arrays differ: {differ[:5]}")
        if self.rounds != other.rounds:
            raise AssertionError(f"{what}: scores, losses, bytes or diagnostics differ")


def outcome_of(case: Case, folder: Path, scenario: Path = SCENARIO) -> Outcome:
    """Make a run in this process and return what it has left."""
    perform(case.values(scenario), folder)
    return Outcome.of(folder)


def outcome_checked(case: Case, place: Path, scenario: Path) -> Outcome:
    """Make a run left alone, and one killed in its second round and resumed; return the outcome of both.

    Every part runs in a forked process, so that each starts from the same state and the imports are paid for once.

    Raises:
        AssertionError: the two do not end with the same bits, or one ended as it should not.
    """
    values, whole, cut = case.values(scenario), place / "whole", place / "cut"
    count = place / "steps"
    _in_child(f"{case.name}", lambda: _counted(values, whole, count))
    middle = int(count.read_text()) // 2 + 1
    status = _status_of_child(lambda: _killed(values, cut, middle))
    if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
        raise AssertionError(f"{case.name}: the run to be killed was not; it ended with wait status {status}")
    _in_child(f"{case.name}, resumed", lambda: perform({**values, "resume": True}, cut))
    outcome = Outcome.of(whole)
    outcome.require_same(Outcome.of(cut), f"{case.name}: killed and resumed")
    return outcome


def _counted(values: Mapping[str, Any], folder: Path, count: Path) -> None:
    steps = _on_step_of_second_round(folder, lambda _: None)
    perform(values, folder)
    count.write_text(str(len(steps)))


def _killed(values: Mapping[str, Any], folder: Path, at_step: int) -> None:
    def end(step: int) -> None:
        if step == at_step:
            os.kill(os.getpid(), signal.SIGKILL)

    _on_step_of_second_round(folder, end)
    perform(values, folder)


def _on_step_of_second_round(folder: Path, act: Callable[[int], None]) -> list[int]:
    """Call `act` with 1, 2, ... at the optimiser steps of round 2; return the list that grows with them.

    PyTorch's own hook, so no name of the program is needed and no clock decides.
    """
    hooks = importlib.import_module("torch.optim.optimizer")
    steps: list[int] = []

    def count(*_: Any) -> None:
        if rounds_done(folder) == 1:
            steps.append(len(steps) + 1)
            act(steps[-1])

    hooks.register_optimizer_step_pre_hook(count)
    return steps


def _in_child(what: str, work: Callable[[], None]) -> None:
    if (status := _status_of_child(work)) != 0:
        raise AssertionError(f"{what}: the run ended with wait status {status}")


def _status_of_child(work: Callable[[], None]) -> int:
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitpid(pid, 0)[1]


# What is written down ------------------------------------------------------------------------------------------------


def digest(array: npt.NDArray[Any]) -> str:
    """Return a hash of an array's dtype, shape and bytes."""
    text = f"{array.dtype.str} {array.shape} ".encode()
    return hashlib.sha256(text + np.ascontiguousarray(array).tobytes()).hexdigest()


def fingerprint(flat: npt.NDArray[np.float64]) -> list[float]:
    """Return norm, sum, projections on fixed vectors of signs, and some values at fixed positions of a (D,) vector."""
    positions = np.linspace(0, flat.size - 1, VALUES).astype(np.int64) if flat.size else np.zeros(0, np.int64)
    numbers = [float(np.linalg.norm(flat)), float(flat.sum()), *(_signs(flat.size) @ flat), *flat[positions]]
    return [float(f"{number:.{SIGNIFICANT_DIGITS}g}") for number in numbers]


@lru_cache(maxsize=256)
def _signs(size: int) -> npt.NDArray[np.float64]:
    """Return (PROJECTIONS, size) of 1 and -1 from a hash of the position, which no version of NumPy can change."""
    mixed = np.arange(1, size + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    bits = (mixed >> np.arange(40, 40 + PROJECTIONS, dtype=np.uint64)[:, None]) & np.uint64(1)
    return bits.astype(np.float64) * 2 - 1


def bundle_of(name: str) -> str:
    """Return the bundle an array is fingerprinted in: its group's, for buffers and optimiser moments of one kind.

    `one/optimiser/exp_avg/decoders.semseg.linears.0.weight` lies in `one/optimiser/exp_avg/decoders.semseg`.
    """
    *before, last = name.split("/")
    if last.startswith(("encoder.", "decoders.", "heads.")):
        group = ".".join(last.split(".")[: 1 if last.startswith("encoder.") else 2])
        kind = [last.rpartition(".")[2]] if "buffers" in before else []
        return "/".join([*before[:2], "step"] if "step" in before else [*before, *kind, group])
    return name


def fingerprints(arrays: Arrays) -> dict[str, dict[str, Any]]:
    """Return for every bundle of arrays a hash of their names, dtypes and shapes, and the numbers of `fingerprint`."""
    bundles: dict[str, list[str]] = {}
    for name in sorted(arrays):
        bundles.setdefault(bundle_of(name), []).append(name)
    found = {}
    for bundle, names in bundles.items():
        layout = json.dumps([(name, arrays[name].dtype.str, arrays[name].shape) for name in names])
        flat = np.concatenate([arrays[name].astype(np.float64).ravel() for name in names])
        found[bundle] = {"layout": hashlib.sha256(layout.encode()).hexdigest()[:8], "numbers": fingerprint(flat)}
    return found


def digests(arrays: Arrays) -> dict[str, dict[str, Any]]:
    """Return for every array dtype, shape, sha256 and the numbers of `fingerprint`, which say how far two are apart."""
    return {
        name: {
            "dtype": array.dtype.str,
            "shape": list(array.shape),
            "sha256": digest(array),
            "numbers": fingerprint(array.astype(np.float64).ravel()),
        }
        for name, array in sorted(arrays.items())
    }


def written(recorded: Mapping[str, Any]) -> str:
    """Return a recording as JSON text with one line for each array, bundle or round."""
    runs = []
    for name, run in recorded["runs"].items():
        rounds = ",\n".join(json.dumps(line, sort_keys=True) for line in run["rounds"])
        entries = ",\n".join(f"{json.dumps(key)}: {json.dumps(entry)}" for key, entry in run["arrays"].items())
        runs.append(f'{json.dumps(name)}: {{"rounds": [\n{rounds}\n],\n"arrays": {{\n{entries}\n}}}}')
    head = {key: value for key, value in recorded.items() if key != "runs"}
    return json.dumps(head)[:-1] + ',\n"runs": {\n' + ",\n".join(runs) + "\n}}\n"


def make_portable() -> None:
    """Start this program anew in the environment PORTABLE, unless it is there; leave out what chooses by processor."""
    if any(os.environ.get(name) != value for name, value in PORTABLE.items()):
        os.execve(sys.executable, [sys.executable, *sys.argv], {**os.environ, **PORTABLE})
    backends = importlib.import_module("torch.backends")
    backends.mkldnn.set_flags(False)  # oneDNN chooses blocks of work by the sizes of the caches
    backends.nnpack.set_flags(False)


def record(chosen: Iterable[Case], scenario: Path, exact: bool, alone: bool = False) -> dict[str, Any]:
    """Make the runs and return the recording.

    Args:
        chosen: the runs to make.
        scenario: scenario file.
        exact: with a sha256 of every array instead of fingerprints of bundles.
        alone: leave out the runs that are killed and resumed.
    """
    for module in ("torchvision", "timm", "server_app.app", "client_app.app", "client_app.handlers"):
        with contextlib.suppress(ModuleNotFoundError):  # only to save time: forked children need not import them again
            importlib.import_module(module)
    runs = {}
    for case in chosen:
        with tempfile.TemporaryDirectory(prefix="recording-") as place:
            if alone:
                _in_child(case.name, lambda: perform(case.values(scenario), Path(place) / "whole"))  # noqa: B023
                outcome = Outcome.of(Path(place) / "whole")
            else:
                outcome = outcome_checked(case, Path(place), scenario)
        arrays = digests(outcome.arrays) if exact else fingerprints(outcome.arrays)
        runs[case.name] = {"rounds": outcome.rounds, "arrays": arrays}
        print(f"{case.name}: {len(outcome.arrays)} arrays, {len(outcome.rounds)} lines", flush=True)
    return {"format": FORMAT, "digests": exact, "versions": versions(), "runs": runs}


def versions() -> dict[str, str]:
    """Return versions of the libraries whose rounding the numbers of a run carry."""
    return {name: importlib.metadata.version(name) for name in ("numpy", "scipy", "timm", "torch", "torchvision")}


def main() -> None:
    """Record what the command line names."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("out", type=Path, help="JSON file to write")
    parser.add_argument("--digests", action="store_true", help="a sha256 of every array instead of fingerprints")
    parser.add_argument("--alone", action="store_true", help="without the runs that are killed and resumed")
    parser.add_argument("--tree", type=Path, default=HERE.parents[1], help="checkout whose program is run")
    parser.add_argument("--scenario", type=Path, default=SCENARIO, help="scenario file")
    parser.add_argument("--only", action="append", default=[], help="name of a run; may be repeated")
    arguments = parser.parse_args()
    tree = arguments.tree.resolve()
    sys.path.insert(0, str(tree))
    place = Path(str(importlib.import_module("fmtl").__file__)).resolve()
    if not place.is_relative_to(tree):
        raise SystemExit(f"Error: the program was imported from {place}, which is not in {tree}")
    logging.disable(logging.CRITICAL)
    if not arguments.digests:
        make_portable()
    chosen = [case for case in cases() if not arguments.only or case.name in arguments.only]
    recorded = record(chosen, arguments.scenario.resolve(), arguments.digests, arguments.alone)
    arguments.out.write_text(written(recorded), encoding="utf-8")


if __name__ == "__main__":
    main()
