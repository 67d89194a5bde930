"""Asking the coordinator's link: whether it lives, and what `flwr` commands answer."""

from __future__ import annotations

import json
import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fmtl.network.coordinator_folder import CoordinatorFolder
from fmtl.network.errors import NetworkSetupError
from fmtl.network.flower_programs import CONNECTION, Endpoint, find_program

COMMAND_SECONDS = 120.0
"""Seconds a `flwr` command may take."""


def flower(
    folder: CoordinatorFolder, env: dict[str, str], *arguments: str, options: Sequence[str] = ()
) -> dict[str, Any]:
    """Run a `flwr` command against the coordinator's link and return what it answers.

    Args:
        folder: the coordinator's folder.
        env: environment of the command.
        arguments: the command and its arguments, as in `supernode`, `list`.
        options: options that come after the name of the connection.

    Raises:
        NetworkSetupError: it failed, with its reason, or did not end in time.
    """
    full = [find_program("flwr"), *arguments, CONNECTION, *options, "--format", "json"]
    named = f"`flwr {' '.join(arguments[:2])}`"
    try:
        done = subprocess.run(
            full, env=env, cwd=folder.path, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise NetworkSetupError(
            f"{named} had not ended after {COMMAND_SECONDS:.0f} seconds: is the machine overloaded, or its disk full? "
            f"Look at the end of {folder.logs / 'link.log'}."
        ) from error
    start = done.stdout.find("{")
    try:
        answer = json.loads(done.stdout[start:]) if start >= 0 else {}
    except json.JSONDecodeError:
        answer = {}
    if not answer.get("success"):
        reason = answer.get("error-message") or (done.stdout + done.stderr).strip()[-1000:] or "it gave no reason"
        raise NetworkSetupError(f"Flower refused {named}: {reason}")
    found: dict[str, Any] = answer
    return found


def answers(link: Endpoint, authority: Path) -> bool:
    """Whether a link answers there with a certificate of the authority."""
    context = ssl.create_default_context(cafile=str(authority))
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(f"https://{link}/health", timeout=2) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False
