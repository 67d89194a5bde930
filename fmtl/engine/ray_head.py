"""A private Ray cluster on this machine, as a process that ends with the one that started it, however that ends.

Ray's own processes outlive a driver that is killed by force for a minute or more. So the cluster is started by this
process, which has a session of its own: when its standard input ends, it ends everything in the session.

Usage: python -P ray_head.py CPUS FOLDER (started by `fmtl.engine.ray_cluster` only).
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import traceback
from pathlib import Path


def main() -> None:
    """Start the cluster, print its address, and wait for the end of standard input."""
    cpus, folder = int(sys.argv[1]), Path(sys.argv[2])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    signal.signal(signal.SIGTERM, lambda *_: _end(folder))
    try:
        import ray

        ray.init(
            num_cpus=cpus, include_dashboard=False, log_to_driver=False, configure_logging=False, _temp_dir=str(folder)
        )
        answers.write(f"{ray.get_runtime_context().gcs_address}\n")
        answers.flush()
        sys.stdin.buffer.read()
    except Exception:
        traceback.print_exc()
        os._exit(1)  # whoever started this ends the rest, and reads the reason first
    finally:
        _end(folder)


def _end(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    os.killpg(os.getpgrp(), signal.SIGKILL)


if __name__ == "__main__":
    main()
