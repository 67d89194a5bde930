"""Replay golden FedHCA2 vectors through the aggregation maths and print the largest relative deviations.

    python benchmarks/golden_fedhca2.py DIR...

Every DIR is one layout: `round<r>.safetensors` for consecutive rounds from 0 with the arrays
`before/<client>/<name>`, `after/<client>/<name>`, `aggregated/<client>/<name>`, `alpha` (N), `beta/<layer>` (K)
and `conflict_weights` (N). Clients are numbered; `backbone.*` is the encoder, `decoders.<task>.*` the decoders.
Exit status: 0 all deviations <= 1e-4, 1 some deviation is larger, 2 the input cannot be read.

The deviation of an array is max |ours - golden| / max |golden|. For parameters the same is also printed for the
change of the round (aggregated - before), which is the stricter test, and it counts too.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError
from safetensors.numpy import load_file

from fmtl_strategies.maths.fedhca2 import DecoderState, EncoderState, decoder_round, encoder_round
from fmtl_strategies.maths.fedhca2_settings import FedHCA2Parameters
from fmtl_strategies.maths.rows import Float32Array
from fmtl_strategies.maths.segments import Segments

TOLERANCE = 1e-4
BUFFERS = ("running_mean", "running_var", "num_batches_tracked", "relative_position_index")
Arrays = dict[str, npt.NDArray[np.generic]]


class GoldenInputError(ValueError):
    """The folder or a file in it is not in the golden format."""


@dataclass
class Deviations:
    """Largest relative deviation by quantity."""

    parameters: float = 0.0
    change: float = 0.0
    untouched: float = 0.0
    alpha: float = 0.0
    beta: float = 0.0
    conflict_weights: float = 0.0

    def note(self, quantity: str, ours: npt.NDArray[np.generic], golden: npt.NDArray[np.generic]) -> None:
        """Take over the deviation of one array if it is the largest so far; NaN counts as infinite."""
        scale = float(np.abs(golden).max(initial=0.0)) or 1.0
        difference = ours.astype(np.float64) - golden.astype(np.float64)
        deviation = float(np.abs(difference).max(initial=0.0)) / scale
        setattr(self, quantity, max(getattr(self, quantity), deviation if np.isfinite(deviation) else np.inf))

    @property
    def worst(self) -> float:
        """Largest of all."""
        values: dict[str, float] = vars(self)
        return max(values.values())


@dataclass(frozen=True)
class Packing:
    """One group of one round: row keys, arrays in order, and the names they have in the file by row."""

    keys: list[str]
    segments: Segments
    names: list[list[str]]

    def rows(self, arrays: Arrays, kind: str) -> Float32Array:
        """(N, D) float32 matrix of the group, `kind` being before, after or aggregated."""
        flat = [np.concatenate([arrays[f"{kind}/{name}"].ravel() for name in row]) for row in self.names]
        return np.stack(flat).astype(np.float32)


def replay(folder: Path) -> Deviations:
    """Replay all rounds of one layout, carrying the strategy's state from round to round.

    Args:
        folder: a layout folder in the golden format.

    Returns:
        Largest relative deviations over all rounds.

    Raises:
        GoldenInputError: folder or round files are missing, or arrays are.
    """
    deviations, settings = Deviations(), FedHCA2Parameters(mode="reference")
    encoder, decoder = EncoderState(), DecoderState()
    for path in round_files(folder):
        arrays = _load(path)
        try:
            encoder = _check_encoder(arrays, encoder, settings, deviations)
            decoder = _check_decoders(arrays, decoder, settings, deviations)
            _check_untouched(arrays, deviations)
        except KeyError as error:
            raise GoldenInputError(f"{path}: array {error} is missing; this is not the golden format") from error
    return deviations


def round_files(folder: Path) -> list[Path]:
    """Round files of a layout in order.

    Raises:
        GoldenInputError: no such folder, no round file, or a gap in the numbering.
    """
    if not folder.is_dir():
        raise GoldenInputError(f"{folder}: no such folder; give folders that hold round0.safetensors, round1...")
    count = len(list(folder.glob("round*.safetensors")))
    files = [folder / f"round{index}.safetensors" for index in range(count)]
    missing = [path for path in files if not path.is_file()]
    if not files or missing:
        raise GoldenInputError(f"{missing[0] if missing else folder / 'round0.safetensors'}: no such file")
    return files


def _load(path: Path) -> Arrays:
    try:
        return dict(load_file(path))
    except (SafetensorError, OSError) as error:
        raise GoldenInputError(f"{path}: not a readable safetensors file ({error})") from error


def _clients(arrays: Arrays) -> list[str]:
    names = {key.split("/")[1] for key in arrays if key.startswith("before/")}
    if not names:
        raise GoldenInputError("no array starts with before/; this is not the golden format")
    return sorted(names, key=int)


def _tasks(arrays: Arrays, client: str) -> list[str]:
    pattern = re.compile(rf"before/{client}/decoders\.([^.]+)\.")
    return sorted({match.group(1) for key in arrays if (match := pattern.match(key))})


def _client_group(arrays: Arrays, client: str) -> str:
    """Label that is equal for clients with the same data set and tasks.

    The files do not name the data set. Tasks with their numbers of output channels stand for it: semseg has 21
    classes in PASCAL-Context and 40 in NYUD. Single-task clients of normals or edge look alike in both, but in none
    of the four layouts does such a pair stand side by side without being of one data set.
    """
    tasks = _tasks(arrays, client)
    return ",".join(f"{t}:{arrays[f'before/{client}/heads.{t}.last_conv.weight'].shape[0]}" for t in tasks)


def _packing(arrays: Arrays, keys: list[str], prefixes: list[str], wanted: Callable[[str], bool]) -> Packing:
    first = sorted(name for name in (key.removeprefix(f"before/{prefixes[0]}") for key in arrays) if wanted(name))
    first = [name for name in first if f"before/{prefixes[0]}{name}" in arrays]
    segments = Segments.of((name, int(arrays[f"before/{prefixes[0]}{name}"].size)) for name in first)
    return Packing(keys, segments, [[prefix + name for name in first] for prefix in prefixes])


def _encoder_packing(arrays: Arrays) -> Packing:
    clients = _clients(arrays)
    wanted: Callable[[str], bool] = lambda name: name.startswith("backbone.") and not name.endswith(BUFFERS)  # noqa: E731
    return _packing(arrays, clients, [f"{client}/" for client in clients], wanted)


def _decoder_packing(arrays: Arrays) -> Packing:
    pairs = [(client, task) for client in _clients(arrays) for task in _tasks(arrays, client)]
    wanted: Callable[[str], bool] = lambda name: "/" not in name and not name.endswith(BUFFERS)  # noqa: E731
    keys = [f"{client}/{task}" for client, task in pairs]
    return _packing(arrays, keys, [f"{client}/decoders.{task}." for client, task in pairs], wanted)


def _check_encoder(
    arrays: Arrays, state: EncoderState, settings: FedHCA2Parameters, deviations: Deviations
) -> EncoderState:
    packing = _encoder_packing(arrays)
    before = packing.rows(arrays, "before")
    parameters, updates = before.copy(), packing.rows(arrays, "after") - before
    groups = [_client_group(arrays, client) for client in packing.keys]
    state, report = encoder_round(parameters, updates, state, settings, row_keys=packing.keys, same_group=groups)
    if report is None:
        raise GoldenInputError("the settings left out the encoder part")
    deviations.note("conflict_weights", report.conflict_weights, arrays["conflict_weights"])
    alpha = np.concatenate([state.alpha.values[key] for key in packing.keys])
    deviations.note("alpha", alpha, arrays["alpha"])
    _note_parameters(packing, arrays, parameters, before, deviations)
    return state


def _check_decoders(
    arrays: Arrays, state: DecoderState, settings: FedHCA2Parameters, deviations: Deviations
) -> DecoderState:
    packing = _decoder_packing(arrays)
    before = packing.rows(arrays, "before")
    parameters, updates = before.copy(), packing.rows(arrays, "after") - before
    state, _ = decoder_round(parameters, updates, state, settings, row_keys=packing.keys, segments=packing.segments)
    for index, layer in enumerate(packing.segments.layers):
        beta = np.array([state.beta.values[key][index] for key in packing.keys])
        deviations.note("beta", beta, arrays[f"beta/{layer.replace('.', '_')}"])
    _note_parameters(packing, arrays, parameters, before, deviations)
    return state


def _note_parameters(
    packing: Packing, arrays: Arrays, ours: Float32Array, before: Float32Array, deviations: Deviations
) -> None:
    golden = packing.rows(arrays, "aggregated")
    for columns in packing.segments.columns:
        for row in range(len(packing.keys)):
            deviations.note("parameters", ours[row, columns], golden[row, columns])
            change = ours[row, columns] - before[row, columns]
            deviations.note("change", change, golden[row, columns] - before[row, columns])


def _check_untouched(arrays: Arrays, deviations: Deviations) -> None:
    """Heads and buffers must come back exactly as each client sent them."""
    packings = (_encoder_packing(arrays), _decoder_packing(arrays))
    packed = {name for packing in packings for row in packing.names for name in row}
    for key, golden in arrays.items():
        name = key.removeprefix("aggregated/")
        if key.startswith("aggregated/") and name not in packed:
            deviations.note("untouched", arrays[f"after/{name}"], golden)


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(description="Replay golden FedHCA2 vectors and print the largest deviations.")
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="layout folder with round<r>.safetensors")
    folders: list[Path] = parser.parse_args(arguments).folders
    failed = False
    for folder in folders:
        try:
            deviations = replay(folder)
        except GoldenInputError as error:
            print(f"error: {error}", file=sys.stderr)
            return 2
        numbers = "  ".join(f"{name} {value:.2e}" for name, value in vars(deviations).items())
        verdict = "ok" if deviations.worst <= TOLERANCE else f"DEVIATES by more than {TOLERANCE:g}"
        failed = failed or deviations.worst > TOLERANCE
        print(f"{folder.name:12s} {numbers}  {verdict}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
