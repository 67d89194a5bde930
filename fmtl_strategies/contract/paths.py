"""Where a run keeps its files, and where strategies outside this project lie: one rule for all processes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

STRATEGY_PATH = "FMTL_STRATEGY_PATH"
"""Environment variable: folder in which strategies outside this project are looked for."""

PREDICTIONS_FILE = "predictions.png"
"""In a client's folder: what its model predicts beside the labels, where the client draws that."""

MODEL_FOLDER = "model"
"""In a client's folder: the model that was scored last."""


class RunFolderError(ValueError):
    """A run folder that cannot be used as asked; the text says what to do."""


def run_folder(out_dir: str, run_id: int) -> Path:
    """Return the folder that belongs to a run.

    Args:
        out_dir: the run config's `out-dir`: an absolute path, or empty for the default.
        run_id: Flower's number of the run.

    Returns:
        `out_dir`, or `~/fmtl-runs/<run id>` where it is empty. The folder is not created.

    Raises:
        RunFolderError: `out_dir` is a relative path.
    """
    if not out_dir:
        return Path.home() / "fmtl-runs" / str(run_id)
    path = Path(out_dir).expanduser()
    if not path.is_absolute():
        raise RunFolderError(
            f"out-dir = {out_dir!r} is a relative path. Flower runs the server in the folder where its daemon was "
            f"first started, not where you typed the command, so a relative path could lie anywhere. "
            f"Give an absolute path, for example out-dir = '{Path.home() / 'fmtl-runs' / path.name}'."
        )
    return path


def clients_folder(run: Path) -> Path:
    """Return the folder in which simulated clients keep what survives a round."""
    return run / "clients"


def strategy_folder(environment: Mapping[str, str]) -> Path:
    """Return the absolute folder of strategies outside this project: the variable's, else the current folder."""
    return Path(environment.get(STRATEGY_PATH) or Path.cwd()).expanduser().absolute()
