"""The folder a run owns: effective config, history, checkpoints, and the result, written last.

config.json      run config, strategy parameters, versions, experiment name; written once, before the first round
history.jsonl    one line per round
checkpoints/     round-00007/ with arrays.safetensors and state.json; the newest few
clients/         in simulation, what clients keep between rounds
unified.safetensors  the one model of a method that has one (feddea), written when a run completes
result.json      written last; a run without it has not finished
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fmtl_strategies.contract.files import (
    append_json_line,
    atomic_file,
    atomic_folder,
    explain_disk_full,
    load_arrays,
    save_arrays,
    single_instance,
    write_json,
)
from fmtl_strategies.contract.paths import RunFolderError as RunFolderError
from fmtl_strategies.contract.wire import same_bits

_CHECKPOINT = re.compile(r"^round-(\d{5,})$")
_PACKAGES = ("flwr", "ray", "torch", "torchvision", "timm", "numpy", "scipy", "safetensors")


@dataclass(frozen=True)
class Checkpoint:
    """State of a run after a round.

    Attributes:
        round: last finished round.
        history_bytes: length of history.jsonl at that moment.
        arrays: arrays by name.
        values: plain JSON values.
    """

    round: int
    history_bytes: int
    arrays: dict[str, npt.NDArray[np.generic]]
    values: dict[str, Any]


def library_versions() -> dict[str, str]:
    """Return versions of Python and of the libraries results depend on."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def repeated(arrays: Mapping[str, npt.NDArray[np.generic]]) -> dict[str, str]:
    """Return the arrays with the bits of the one before them of their size and dtype, by the name of the first such.

    Under every method with a common model all rows are equal, and are written once.
    """
    same_as: dict[str, str] = {}
    last: dict[tuple[int, str], str] = {}
    for name, array in arrays.items():
        key = (array.size, array.dtype.str)
        first = last.get(key)
        if first is not None and same_bits(arrays[first], array):
            same_as[name] = first
        else:
            last[key] = name
    return same_as


class RunFolder:
    """One run's folder, locked while the run lasts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = ExitStack()

    @property
    def history_path(self) -> Path:
        """Path of history.jsonl."""
        return self.path / "history.jsonl"

    def create(self, config: Mapping[str, Any]) -> None:
        """Make a new run folder and write its config.

        Raises:
            RunFolderError: the folder already holds a run.
            InUseError: another process uses it.
        """
        if (self.path / "config.json").exists():
            raise RunFolderError(
                f"out-dir {self.path} already holds a run; "
                f"resume it (fmtl resume {self.path}) or choose another out-dir"
            )
        with explain_disk_full(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            self._take_lock()
            write_json(self.path / "config.json", config)
            self.history_path.touch()

    def open(self) -> dict[str, Any]:
        """Open an existing run folder to resume it and return its config.

        Raises:
            RunFolderError: no run is there, or it has finished.
            InUseError: another process uses it.
        """
        config = self.path / "config.json"
        if not config.is_file():
            raise RunFolderError(f"out-dir {self.path} holds no run to resume: config.json is missing")
        if self.finished():
            raise RunFolderError(f"the run in {self.path} has finished; there is nothing to resume")
        self._take_lock()
        # A run that failed before and goes on now is an unfinished one.
        (self.path / "result.json").unlink(missing_ok=True)
        loaded: dict[str, Any] = json.loads(config.read_text(encoding="utf-8"))
        return loaded

    def finished(self) -> bool:
        """Whether result.json says that the run completed."""
        result = self.path / "result.json"
        return result.is_file() and json.loads(result.read_text(encoding="utf-8")).get("status") == "completed"

    def close(self) -> None:
        """Release the lock."""
        self._lock.close()

    def append_history(self, line: Mapping[str, Any]) -> int:
        """Append one line to history.jsonl, flushed to disk; return the file's length in bytes."""
        return append_json_line(self.history_path, line, flush=True)

    def append_progress(self, line: Mapping[str, Any]) -> None:
        """Append one line to progress.jsonl, which is for people who watch: nothing is read back from it."""
        append_json_line(self.path / "progress.jsonl", line)

    def cut_history(self, length: int) -> None:
        """Drop what was written to history.jsonl after a checkpoint was made."""
        if self.history_path.exists():
            os.truncate(self.history_path, length)

    def history(self) -> list[dict[str, Any]]:
        """Return all lines of history.jsonl."""
        if not self.history_path.exists():
            return []
        return [json.loads(line) for line in self.history_path.read_text(encoding="utf-8").splitlines()]

    def save_checkpoint(self, checkpoint: Checkpoint, keep: int) -> None:
        """Write a checkpoint whole, then remove all but the newest `keep`."""
        place = self.path / "checkpoints" / f"round-{checkpoint.round:05d}"
        same_as = repeated(checkpoint.arrays)
        with atomic_folder(place) as folder:
            save_arrays(folder / "arrays.safetensors", {n: a for n, a in checkpoint.arrays.items() if n not in same_as})
            write_json(
                folder / "state.json",
                {
                    "round": checkpoint.round,
                    "history_bytes": checkpoint.history_bytes,
                    "array_names": sorted(checkpoint.arrays),
                    "same_as": same_as,
                    "values": checkpoint.values,
                },
            )
        for old in self._checkpoints()[:-keep]:
            shutil.rmtree(old, ignore_errors=True)

    def newest_checkpoint(self) -> Checkpoint | None:
        """Return the newest checkpoint, None before the first."""
        folders = self._checkpoints()
        if not folders:
            return None
        state = json.loads((folders[-1] / "state.json").read_text(encoding="utf-8"))
        arrays = load_arrays(folders[-1] / "arrays.safetensors")
        # Checkpoints of version 0.1 hold every array.
        arrays.update(
            {name: arrays[other].copy() for name, other in state.get("same_as", {}).items() if other in arrays}
        )
        if sorted(arrays) != state["array_names"]:
            raise RunFolderError(f"checkpoint {folders[-1]} is damaged; delete it to resume from the one before")
        return Checkpoint(state["round"], state["history_bytes"], arrays, state["values"])

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write result.json, the last act of a run."""
        write_json(self.path / "result.json", result)

    def write_unified(self, arrays: Mapping[str, npt.NDArray[np.generic]]) -> None:
        """Write unified.safetensors whole: the one model of a method that has one."""
        with atomic_file(self.path / "unified.safetensors") as beside:
            save_arrays(beside, arrays)

    def _checkpoints(self) -> list[Path]:
        folder = self.path / "checkpoints"
        if not folder.is_dir():
            return []
        return sorted(p for p in folder.iterdir() if _CHECKPOINT.match(p.name))

    def _take_lock(self) -> None:
        message = f"another run is using {self.path}; wait for it or choose another out-dir"
        self._lock.enter_context(single_instance(self.path / "lock", message))
