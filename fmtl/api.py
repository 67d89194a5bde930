"""Everything that `import fmtl` offers: runs and their comparison, and what a method's author needs."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from fmtl.engine import Engine, run
from fmtl_strategies.contract.profile import ClientProfile
from fmtl_strategies.contract.rule import LocalRule, Personal, Phase, Pull, Sparsify
from fmtl_strategies.maths.combine import add_combination
from fmtl_strategies.maths.gram import cosine_matrix, gram_matrix
from fmtl_strategies.parameters import StrategyParameters, parameter
from fmtl_strategies.round.base import PersonalizedStrategy as Strategy
from fmtl_strategies.round.store import PoolRound as Pool

if TYPE_CHECKING:
    from fmtl.report.comparison import Comparison
    from fmtl.sweeps.perform import Verdict

__all__ = [
    "ClientProfile",
    "Engine",
    "LocalRule",
    "Personal",
    "Phase",
    "Pool",
    "Pull",
    "Sparsify",
    "Strategy",
    "StrategyParameters",
    "add_combination",
    "compare",
    "cosine_matrix",
    "gram_matrix",
    "parameter",
    "run",
    "sweep",
]


def sweep(
    file: str | PathLike[str],
    out: str | PathLike[str] | None = None,
    *,
    workers: int = 1,
    gpus_per_client: float = 0.0,
    ray_address: str | None = None,
) -> Verdict:
    """Run strategies x settings x seeds over one scenario; what is done already is not done again.

    Args:
        file: the sweep, a TOML file (docs/sweeps.md).
        out: its folder; runs/<name of file> where left out.
        workers: how many runs at once; the CPU cores are shared out among them.
        gpus_per_client: share of a GPU for each run.
        ray_address: a Ray cluster that is already running; None for a private one.

    Returns:
        The rows of the comparison, the file that holds it, and whether every run has completed.

    Raises:
        SettingError: a mistake in the file, or a folder that holds something else.
        EngineError: the workers cannot be had.
    """
    from fmtl.sweeps.file import read_sweep
    from fmtl.sweeps.perform import perform, sweep_engine

    plan = read_sweep(Path(file), None if out is None else Path(out))
    return perform(plan, sweep_engine(workers, gpus_per_client, ray_address), print)


def compare(runs: Sequence[str | PathLike[str]], local: str | PathLike[str] | None = None) -> Comparison:
    """Put runs side by side: a value for every client and task, and delta_m, the mean change against local training.

    Args:
        runs: folders of runs over one scenario.
        local: folder of the run that delta_m is taken against; the run of the strategy `local` with the same seed
            where left out.

    Raises:
        ValueError: a folder holds no run, or the runs cannot be compared.
    """
    from fmtl.report.comparison import compare_runs
    from fmtl.report.run_reader import read_run

    return compare_runs([read_run(Path(run)) for run in runs], None if local is None else read_run(Path(local)))
