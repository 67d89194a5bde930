"""The docs build as a site without a broken link, and the reference has all of the public API."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import fmtl

ROOT = Path(__file__).parents[1]


def test_site_builds_strictly_with_every_public_name(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    reference = (tmp_path / "site/reference/index.html").read_text(encoding="utf-8")
    described = set(re.findall(r'id="[\w.]+\.(\w+)"', reference))
    missing = [name for name in fmtl.__all__ if not name.startswith("__") and name not in described]
    assert not missing
