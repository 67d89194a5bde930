"""The upload benchmark runs and its sizes are those of the forms it names."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.long
def test_forms_have_the_sizes_they_should() -> None:
    script = Path(__file__).resolve().parents[2] / "benchmarks/upload_size.py"
    done = subprocess.run([sys.executable, str(script), "--values", "1000000"], capture_output=True, check=True)
    megabytes = {name: form["megabytes"] for name, form in json.loads(done.stdout)["forms"].items()}
    assert megabytes["float32"] == 4.0
    assert megabytes["bfloat16"] == 2.0
    assert 0.3 * 2 < megabytes["sparse 0.3 bfloat16"] < 0.3 * 2 + 0.125
    assert 0.1 * 4 < megabytes["sparse 0.1 float32"] < 0.1 * 4 + 0.125
