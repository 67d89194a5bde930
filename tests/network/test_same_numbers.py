"""One scenario and seed: the same bits in process, in Flower's simulation, and over TLS between real processes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import federation as real
from federation import ROOT, TINY, Federation, arrays_apart, assert_equal, environment

ROUNDS = 2


def test_in_process_simulated_and_networked_runs_end_with_the_same_bits(
    federation: Federation, undisturbed: Callable[[int], Path], tmp_path: Path
) -> None:
    result = federation.run("same", num_server_rounds=ROUNDS)
    assert result["status"] == "completed"
    networked = federation.arrays("same", ROUNDS)

    in_process = undisturbed(ROUNDS)
    assert_equal(networked, arrays_apart(in_process, ROUNDS))

    simulated = tmp_path / "simulated"
    settings = {**real.config({}), "num-server-rounds": ROUNDS}
    options = [f"--set={key}={json.dumps(value)}" for key, value in settings.items()]
    command = [sys.executable, "-m", "fmtl", "run", f"--scenario={TINY}", f"--out-dir={simulated}", *options]
    done = subprocess.run(
        command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=900, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert_equal(networked, arrays_apart(simulated, ROUNDS))

    one, other = (json.loads((folder / "result.json").read_text()) for folder in (simulated, in_process))
    assert result["clients"] == one["clients"] == other["clients"]
