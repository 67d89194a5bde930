"""One participant of a run: its model, tasks, local training, and what it keeps between rounds."""

import os
import sys
from pathlib import Path


def _work_from_installed_copy(program: str) -> None:
    """Make Ray workers import this copy of the app.

    Ray puts the driver's working directory in front of its workers' import path. That directory is wherever the
    local SuperLink was first started, and packages called `client_app` or `datasets` lying there would be imported
    in place of the submitted ones. This module is imported by the driver before it starts Ray, so moving there is
    enough.

    Args:
        program: path of the running program; only Flower's simulation driver is affected.
    """
    if Path(program).name == "flwr-simulation":
        os.chdir(Path(__file__).resolve().parents[1])


_work_from_installed_copy(sys.argv[0] if sys.argv else "")
