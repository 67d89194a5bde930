"""Everything that `import fmtl` offers: runs and their comparison, and what a method's author needs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fmtl_strategies.contract.profile import ClientProfile
from fmtl_strategies.contract.rule import LocalRule, Personal, Phase, Pull, Sparsify
from fmtl_strategies.maths.combine import add_combination
from fmtl_strategies.maths.gram import cosine_matrix, gram_matrix
from fmtl_strategies.parameters import StrategyParameters, parameter
from fmtl_strategies.round.base import PersonalizedStrategy as Strategy
from fmtl_strategies.round.store import PoolRound as Pool

if TYPE_CHECKING:
    from fmtl.report.comparison import Comparison

__all__ = [
    "ClientProfile",
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
]


def run(config: Mapping[str, Any], folder: str | PathLike[str]) -> dict[str, Any]:
    """Run a strategy over a scenario in this process, one client after another.

    Args:
        config: run config by key, as in `{"strategy": "fedavg", "scenario": "default", "num-server-rounds": 3}`; keys
            left out take their defaults.
        folder: of the run, made anew; `fmtl resume` and `compare` read it.

    Returns:
        The content of result.json.

    Raises:
        RunConfigError, ScenarioError: settings that do not exist or are impossible.
        RunFailedError: the run cannot go on; result.json says why.
    """
    from fmtl.local_run import run_in_process

    return run_in_process(config, Path(folder).absolute())


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
