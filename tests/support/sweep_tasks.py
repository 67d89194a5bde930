"""What a worker of a sweep does in tests instead of a run."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def do(values: Mapping[str, Any], folder: Path, threads: int) -> tuple[str, str | None]:
    """End at once, be killed, or sleep, as the run is called."""
    label = folder.parent.name
    if label == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if label == "sleeps":
        time.sleep(600)
    return "completed", None
