"""Every strategy still computes what it computed when recorded.json was made.

recorded.json is the output of `python tests/recorded/recording.py tests/recorded/recorded.json`. A change that is
meant to change results records anew; `tools/compare_commits.py` says first, to the bit, what it changes.

Why the runs are made in an environment that takes the choice of instructions from the processor (recording.PORTABLE):
AdamW divides a gradient by its own size, so where a gradient is little but rounding, another rounding makes another
step of the same length. The decoders' bias before batch norm is such a place: its first moment is about 1e-11.
Measured on one Xeon, the same code with images of 64 x 64, AVX-512 against AVX2 (ATEN_CPU_CAPABILITY,
ONEDNN_MAX_CPU_ISA, MKL_CBWR, OPENBLAS_CORETYPE, NPY_DISABLE_CPU_FEATURES); norm of the difference relative to the norm
as estimated from the projections, median and largest of all runs:

    updates of encoders 5e-3, 0.4; of decoders 4e-3, 0.2; of heads 9e-5, 0.07    (largest: feddea)
    first moments of encoders 3e-5, 0.05; second 3e-5, 0.09                       (largest: feddea in float32)
    server's parameters of encoders 6e-5, 4e-3; of decoders 5e-4, 0.02            (largest: feddea; fedadagrad)
    running means of decoders' batch norm 1e-3, 0.13                             (largest: fedadagrad)
    largest of numbers: mIoU 1.6e-2, max-F 8e-4, mean angle 2e-4, RMSE 1e-4; losses 3.5e-5; FedDEA's bytes up 2e-5 (its
    bitmap is compressed), all other bytes 0; MAS's affinities 0.07, FedHCA2's solve-gap 6e-3, other diagnostics 1.4e-3

In PORTABLE four runs (fedavg, fedadagrad, fedhca2, feddea in float32) were the same byte for byte when the C library's
AVX, AVX2, AVX-512 and FMA versions were switched off as well. No processor of another make has been tried. So 1e-5 of
the norm is asked of every fingerprint and 1e-5 of every number, scores with thresholds included, and bytes exactly,
as long as the libraries are those of the recording. With others PyTorch may round otherwise, and only `LOOSE` is
asked: norms, the median of the values of a fingerprint, scores and losses, each with room over the numbers above. By
these limits AVX-512 and AVX2 gave the same in all runs, and of five pairs of methods that are near each other all were
told apart, fedavg and fedprox by a single number.

A change of the order of a sum on the server is seen here too, for the round after it is trained from other roundings.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
RECORDED: dict[str, Any] = json.loads((HERE / "recorded.json").read_text(encoding="utf-8"))
FIRST_VALUE = 5


@dataclass(frozen=True)
class Limits:
    """How far a run may be from what was recorded.

    Attributes:
        arrays: of every number of a fingerprint, relative to the norm; or, in `by_median`, of the norm, and of the
            median of the values relative to their root mean square.
        scores, losses, diagnostics: of every number, relative to it; diagnostics None: only their names.
        bytes_up: relative; bytes down are always exact.
    """

    arrays: float
    scores: float
    losses: float
    diagnostics: float | None
    bytes_up: float
    by_median: bool


STRICT = Limits(arrays=1e-5, scores=1e-5, losses=1e-5, diagnostics=1e-5, bytes_up=0.0, by_median=False)
LOOSE = Limits(arrays=5e-2, scores=5e-2, losses=1e-3, diagnostics=None, bytes_up=1e-3, by_median=True)


@pytest.fixture(scope="module")
def now(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Make the runs that were asked for, in one process that imports PyTorch once."""
    names = {item.callspec.params["name"] for item in request.session.items if _is_of_a_run(item)}
    out = tmp_path_factory.mktemp("recorded") / "now.json"
    command = [sys.executable, str(HERE / "recording.py"), str(out), "--alone"]
    command += [part for name in sorted(names) for part in ("--only", name)]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return found


def _is_of_a_run(item: Any) -> bool:
    return item.path == Path(__file__) and "name" in getattr(getattr(item, "callspec", None), "params", {})


def array_differences(recorded: dict[str, Any], now: dict[str, Any], limits: Limits) -> Iterator[str]:
    for name in sorted(recorded.keys() | now.keys()):
        if name not in recorded or name not in now:
            yield f"{name}: {'is new' if name in now else 'is gone'}"
        elif recorded[name]["layout"] != now[name]["layout"]:
            yield f"{name}: other arrays, shapes or dtypes"
        else:
            moved = _moved(recorded[name]["numbers"], now[name]["numbers"], limits.by_median)
            # Rounding alone decides these: see above.
            if moved > limits.arrays and not (limits.by_median and "running_mean/decoders" in name):
                yield f"{name}: moved by {moved:.1e} of its norm"


def _moved(recorded: list[float], now: list[float], by_median: bool) -> float:
    norm = recorded[0] or 1.0
    if not by_median:
        return max(abs(one - other) for one, other in zip(recorded, now, strict=True)) / norm
    values = recorded[FIRST_VALUE:]
    scale = math.sqrt(sum(value**2 for value in values) / len(values)) or 1.0
    apart = [abs(one - other) / scale for one, other in zip(values, now[FIRST_VALUE:], strict=True)]
    return max(abs(recorded[0] - now[0]) / norm, statistics.median(apart))


def number_differences(recorded: Any, now: Any, limits: Limits, place: str = "") -> Iterator[str]:
    if isinstance(recorded, dict) and isinstance(now, dict):
        if recorded.keys() != now.keys():
            yield f"{place}: {sorted(recorded.keys() ^ now.keys())} on one side only"
        for key in recorded.keys() & now.keys():
            yield from number_differences(recorded[key], now[key], limits, f"{place}/{key}")
    elif _is_number(recorded) and _is_number(now):
        limit = _limit(place, limits)
        if limit is not None and abs(recorded - now) > limit * abs(recorded) + (1e-12 if limit else 0):
            yield f"{place}: {recorded} is now {now}"
    elif recorded != now:
        yield f"{place}: {recorded} is now {now}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _limit(place: str, limits: Limits) -> float | None:
    """Return the limit for a number by the field of the history it stands in; rounds and bytes down are exact."""
    by_field = {"scores": limits.scores, "losses": limits.losses, "bytes_up": limits.bytes_up}
    fieldname = place.split("/")[1]
    return limits.diagnostics if fieldname == "diagnostics" else by_field.get(fieldname, 0.0)


@pytest.mark.parametrize("name", list(RECORDED["runs"]))
def test_run_gives_what_was_recorded(name: str, now: dict[str, Any]) -> None:
    same_libraries = now["versions"] == RECORDED["versions"]
    limits = STRICT if same_libraries else LOOSE
    recorded, found = RECORDED["runs"][name], now["runs"][name]
    differences = list(array_differences(recorded["arrays"], found["arrays"], limits))
    assert len(recorded["rounds"]) == len(found["rounds"])
    for number, (before, after) in enumerate(zip(recorded["rounds"], found["rounds"], strict=True), 1):
        differences += [f"line {number} {text}" for text in number_differences(before, after, limits)]
    assert not differences, "\n".join([f"{len(differences)} differences", *differences[:20]])


def test_every_strategy_is_recorded() -> None:
    from fmtl_strategies.registry import strategy_names

    assert set(strategy_names()) <= RECORDED["runs"].keys()
