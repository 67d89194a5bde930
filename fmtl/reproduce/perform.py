"""A reproduction from its checks to its table; every scenario is a sweep that goes on where it was."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence

from fmtl.errors import SettingError
from fmtl.reproduce.measured import Report, measure
from fmtl.reproduce.needs import find_needs
from fmtl.reproduce.plan import Reproduction
from fmtl.sweeps.file import check_runs
from fmtl.sweeps.perform import Selection, perform, sweep_engine

__all__ = ["check", "choose_device", "perform_all"]

VISIBLE = "CUDA_VISIBLE_DEVICES"
Show = Callable[[str], None]


def check(work: Reproduction) -> None:
    """Make sure that everything the runs need is there.

    Raises:
        SettingError: a data set or weights file is missing or not whole, or a setting or parameter cannot be.
    """
    if problems := find_needs(work)[1]:
        raise SettingError("\n".join(problems))
    for sweep in work.sweeps.values():
        check_runs(sweep)


def perform_all(
    work: Reproduction, methods: Sequence[str], again: Sequence[str], workers: int, show: Show
) -> tuple[Report, bool]:
    """Do the runs of some methods that are not done, scenario after scenario.

    Args:
        work: the reproduction.
        methods: whose runs are wanted.
        again: those of them that are to be done anew.
        workers: how many runs at once.
        show: prints a line.

    Returns:
        The report on all methods, and whether all wanted runs have completed.

    Raises:
        SettingError: a folder holds something else than its run.
        InUseError: another process works on the folder.
        RunInterruptedError: a signal asked for the end.
    """
    wanted = {work.table.runs_of(method) for method in methods}
    anew = {work.table.runs_of(method) for method in again}
    reasons: dict[str, Mapping[str, str]] = {}
    completed = True
    for scenario, sweep in work.sweeps.items():
        labels = [run.label for run in sweep.runs if run.label in wanted]
        if not labels:
            continue
        show(f"Scenario {sweep.scenario.name}, folder {sweep.out}")
        selection = Selection(labels, [label for label in labels if label in anew])
        verdict = perform(sweep, selection, sweep_engine(workers), show)
        completed = completed and verdict.completed
        reasons[scenario] = verdict.reasons
    return measure(work, reasons), completed


def choose_device(work: Reproduction, device: str) -> None:
    """Let this process and what it starts see the GPUs that ``--device`` names, and no others.

    Raises:
        SettingError: no such device, or a scenario that has chosen one itself.
    """
    if device == "auto":
        return
    if not re.fullmatch(r"cpu|cuda(:\d{1,3})?", device):
        raise SettingError(f"--device {device!r}: expected auto, cpu, cuda or cuda:N.")
    for sweep in work.sweeps.values():
        for client in sweep.scenario.clients:
            if client.device != "auto":
                raise SettingError(
                    f"--device {device!r}: client {client.name} of scenario {sweep.scenario.name} has device = "
                    f"{client.device!r} of its own; set it to auto there."
                )
    if device == "cpu":
        os.environ[VISIBLE] = ""
        return
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    number = int(device.partition(":")[2] or 0)
    if number >= count:
        raise SettingError(f"--device {device!r}: torch sees {count} GPUs; use cpu, or auto for what there is.")
    if device != "cuda":
        seen = [name for name in os.environ.get(VISIBLE, "").split(",") if name]
        os.environ[VISIBLE] = seen[number] if seen else str(number)
