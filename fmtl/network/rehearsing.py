"""A rehearsal from start to end: coordinator and sites started, strategies run one after another, everything ended."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fmtl_datasets.scenarios.scenario import load_scenario

from fmtl.errors import RunInterruptedError
from fmtl.interruption import SignalWatch
from fmtl.network.disk_space import require_space
from fmtl.network.errors import NetworkSetupError
from fmtl.network.rehearsal import Rehearsal
from fmtl_strategies.in_force import in_force
from fmtl_strategies.registry import make_strategy
from server_app.config import parse_run_config

CHECK_SECONDS = 600.0
_THREADS = "OMP_NUM_THREADS"


@dataclass(frozen=True)
class Plan:
    """What to rehearse.

    Attributes:
        scenario: name or path; every client becomes a site.
        strategies: run one after another.
        values: run config by key.
        out: new folder for the run folders.
        keep: whether keys, site files, states and logs stay, in `out`/federation.
    """

    scenario: str
    strategies: tuple[str, ...]
    values: Mapping[str, Any]
    out: Path
    keep: bool


def rehearse(plan: Plan, show: Callable[[str], None]) -> list[Path]:
    """Rehearse a plan and return the run folders.

    After a failure everything is kept, for the logs; after an interruption nothing.

    Args:
        plan: what to do.
        show: prints one line.

    Raises:
        NetworkSetupError: something is not as it has to be; says where the logs are.
        RunInterruptedError: Ctrl-C or SIGTERM.
    """
    out = plan.out.expanduser().absolute()
    if out.exists():
        raise NetworkSetupError(f"--out {plan.out} exists already; choose another folder, or remove it.")
    scenario = load_scenario(plan.scenario)
    _check_settings(plan)
    require_space(out)
    federation = out / "federation"
    environment = {**os.environ, _THREADS: os.environ.get(_THREADS, str(_threads(len(scenario.clients))))}
    try:
        with (
            SignalWatch() as signals,
            Rehearsal(scenario, federation, show, environment=environment) as rehearsal,
            signals.listening(),
        ):
            _start(rehearsal, show)
            for strategy in plan.strategies:
                show(f"{strategy}:")
                rehearsal.run(_values_for(plan, strategy), strategy)
            runs = rehearsal.coordinator.runs
    except RunInterruptedError:
        shutil.rmtree(out)
        raise
    except NetworkSetupError as error:
        raise NetworkSetupError(f"{error}\nKeys, files and logs of the rehearsal are in {federation}.") from error
    for strategy in plan.strategies:
        shutil.copytree(runs / strategy, out / strategy)
    if not plan.keep:
        shutil.rmtree(federation)
    return [out / strategy for strategy in plan.strategies]


def _check_settings(plan: Plan) -> None:
    """Refuse a setting that a run would refuse, before anything is started."""
    repeated = sorted({name for name in plan.strategies if plan.strategies.count(name) > 1})
    if repeated:
        raise NetworkSetupError(f"--strategy {repeated[0]} is given twice; name every strategy once.")
    for strategy in plan.strategies:
        if Path(strategy).name != strategy or ":" in strategy:
            raise NetworkSetupError(f"--strategy {strategy}: a rehearsal knows the strategies of `fmtl strategies`.")
        config, parameters = parse_run_config(_complete(_values_for(plan, strategy)))
        make_strategy(config.strategy, config, parameters)
    reached = {key for strategy in plan.strategies for key in _values_for(plan, strategy)}
    for key, value in plan.values.items():
        if key not in reached:
            raise NetworkSetupError(
                f"--set {key} = {value!r} has no effect: {', '.join(plan.strategies)} do not read it. Leave it out, or "
                f"rehearse the strategy it belongs to with --strategy."
            )


def _values_for(plan: Plan, strategy: str) -> dict[str, Any]:
    """What was set for all strategies, without the parameters that this one does not read."""
    values = {**plan.values, "strategy": strategy}
    read = in_force(strategy, values)
    return {key: value for key, value in values.items() if "." not in key or read.reads(key)}


def _complete(values: Mapping[str, Any]) -> dict[str, Any]:
    from fmtl.settings import default_settings, merge_all

    return dict(merge_all(default_settings(), [(dict(values), "rehearsal")]))


def _start(rehearsal: Rehearsal, show: Callable[[str], None]) -> None:
    names = [entry.name for entry in rehearsal.scenario.clients]
    show(f"Keys and files for a coordinator and {len(names)} sites are made; the coordinator starts.")
    rehearsal.start_coordinator()
    show(f"The coordinator listens and knows {', '.join(names)}; the sites check themselves and start.")
    for name in names:
        rehearsal.start_site(name)
    waiting = set(names)

    def all_started() -> bool:
        for name in sorted(waiting):
            if " takes part at " in rehearsal.log(name):
                waiting.discard(name)
                show(f"Site {name} takes part.")
            elif rehearsal.processes[name].poll() is not None:
                raise NetworkSetupError(f"site {name} did not start:\n{rehearsal.log(name)[-2000:]}")
        return not waiting

    rehearsal.wait_for(all_started, "the start of all sites", CHECK_SECONDS)


def _threads(sites: int) -> int:
    """Sites on one machine share its cores, instead of each taking all of them."""
    return max(1, (os.cpu_count() or 1) // sites)
