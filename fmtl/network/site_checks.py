"""What a site looks at before it starts: key, certificate, coordinator, clock, disk, privacy, data, device."""

from __future__ import annotations

import http.client
import os
import socket
import ssl
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

from client_app.site.site_file import SiteFile, read_site_file
from fmtl.network.certificates import read_facts
from fmtl.network.disk_space import require_space
from fmtl.network.errors import NetworkSetupError
from fmtl.network.flower_programs import Endpoint, parse_endpoint, require_supported_flower
from fmtl.network.site_keys import require_site_key
from fmtl.network.site_template import BLANK

MOST_AHEAD, MOST_BEHIND = 4.0, 240.0
"""Seconds by which a site's clock may differ from the coordinator's. Flower 1.41 refuses signatures that are more than
5 s ahead or 305 s behind; the time of day comes here in whole seconds and with the delay of an answer."""

DATA_SAMPLE = 20
"""Images of each list that are read before a start; `fmtl data check` reads all."""

_CONNECT_SECONDS = 10.0

_NOT_NOW = (9, 10)
"""OpenSSL's numbers for a certificate that is not valid yet, and for one that has expired."""


class CoordinatorAwayError(NetworkSetupError):
    """Nobody answers where the coordinator should be; that may pass by itself."""


def check_site(path: Path, show: Callable[[str], None]) -> SiteFile:
    """Check everything a site needs, in the order in which it is easiest to put right.

    Args:
        path: the site's file.
        show: prints one line for each thing that is well, and for warnings.

    Returns:
        The file's content.

    Raises:
        ScenarioError, DataLayoutError, ValueError: the file or the data set cannot be used.
    """
    require_supported_flower()
    _check_blanks(path)
    site = read_site_file(path)
    show(f"file: {path}: client {site.entry.name}, tasks {', '.join(site.entry.tasks)}")
    show(f"key: {site.key}, fingerprint {require_site_key(site.key)}")
    _check_authority(site.authority, show)
    check_coordinator(parse_endpoint(site.coordinator, "coordinator"), site.authority, show)
    _check_state(site.state, show)
    _check_privacy(site, show)
    _check_data(site, show)
    _check_device(site, show)
    return site


def _check_blanks(path: Path) -> None:
    """Refuse a template that has not been filled in."""
    if not path.is_file():
        return
    for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
        if BLANK in line.partition("#")[0]:
            raise NetworkSetupError(f"file: {path}, line {number}: write your own value where it says {BLANK}.")


def _check_authority(authority: Path, show: Callable[[str], None]) -> None:
    if not authority.exists():
        raise NetworkSetupError(
            f"authority: {authority} does not exist. Put the ca.crt there that the coordinator gave you."
        )
    facts = read_facts(authority)
    problem = facts.problem(datetime.now(UTC))
    if problem:
        raise NetworkSetupError(f"authority: {authority} {problem}. Ask the coordinator for a new ca.crt.")
    show(f"authority: {authority}, valid until {facts.ends:%Y-%m-%d}")


def check_coordinator(coordinator: Endpoint, authority: Path, show: Callable[[str], None]) -> None:
    """Check that the coordinator answers, with the right certificate, and that the clocks agree.

    Raises:
        CoordinatorAwayError: nobody answers.
    """
    context = ssl.create_default_context(cafile=str(authority))
    connection = http.client.HTTPSConnection(
        coordinator.host, coordinator.port, timeout=_CONNECT_SECONDS, context=context
    )
    try:
        asked_at = datetime.now(UTC)
        connection.request("GET", "/health")
        response = connection.getresponse()
        response.read()
    except ssl.SSLCertVerificationError as error:
        if error.verify_code in _NOT_NOW:
            raise NetworkSetupError(
                f"coordinator: the certificate of {coordinator} is not valid now: {error.verify_message}; it is "
                f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC on this machine. Where that is right, ask the coordinator to "
                f"renew it."
            ) from error
        raise NetworkSetupError(
            f"coordinator: what answers at {coordinator} is not the coordinator of {authority}: "
            f"{error.verify_message}. Check the address; if the coordinator has changed its name or authority, ask it "
            f"for a new ca.crt."
        ) from error
    except ssl.SSLError as error:
        raise NetworkSetupError(
            f"coordinator: {coordinator} does not speak TLS ({error.reason}); check the port."
        ) from error
    except socket.gaierror as error:
        raise CoordinatorAwayError(
            f"coordinator: the name {coordinator.host!r} is not known here; check it."
        ) from error
    except (OSError, http.client.HTTPException) as error:
        raise CoordinatorAwayError(
            f"coordinator: no answer from {coordinator} ({error}). Is it running, and may this machine reach that port?"
        ) from error
    finally:
        connection.close()
    show(f"coordinator: {coordinator} answers, its certificate is right")
    _check_clock(response.getheader("date"), asked_at, show)


def _check_clock(date: str | None, asked_at: datetime, show: Callable[[str], None]) -> None:
    if date is None:
        show("clock: the coordinator did not say what time it is")
        return
    # A slow answer must not look like a clock that is ahead, nor a slow question like one that is behind.
    theirs = parsedate_to_datetime(date)
    ahead, behind = (asked_at - theirs).total_seconds(), (theirs - datetime.now(UTC)).total_seconds()
    difference = ahead if ahead > 0 else min(0.0, -behind)
    if not -MOST_BEHIND < difference < MOST_AHEAD:
        direction = "ahead of" if difference > 0 else "behind"
        raise NetworkSetupError(
            f"clock: this machine's clock is {abs(difference):.0f} seconds {direction} the coordinator's, which would "
            f"refuse what this site signs. Set the clocks of both by NTP."
        )
    show("clock: as the coordinator's")


def _check_state(state: Path, show: Callable[[str], None]) -> None:
    try:
        state.mkdir(parents=True, exist_ok=True)
        probe = state / f".probe-{os.getpid()}"
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        raise NetworkSetupError(
            f"state: {state} cannot be written to ({error.strerror}); choose another folder or change its owner."
        ) from error
    try:
        require_space(state)
    except NetworkSetupError as error:
        raise NetworkSetupError(f"state: {error}") from error
    show(f"state: {state} can be written to")


def _check_privacy(site: SiteFile, show: Callable[[str], None]) -> None:
    """Read the account and compute epsilon, so that a missing package or a damaged account is seen before a run."""
    privacy = site.entry.privacy
    if privacy is None:
        return
    from client_app.privacy import account_file, read_account
    from client_app.training.errors import PrivacyError

    try:
        account = read_account(account_file(site.state, site.entry.name))
        spent, after = (each.epsilon(privacy.delta) for each in (account, account.with_upload(privacy.noise)))
    except PrivacyError as error:
        raise NetworkSetupError(f"privacy: {str(error).rstrip('.')}.") from error
    limit = "no limit" if privacy.epsilon is None else f"the limit is {privacy.epsilon:g}"
    show(
        f"privacy: {account.count} uploads so far, epsilon {spent:.3g} at delta {privacy.delta:g}; the next brings it "
        f"to {after:.3g}, {limit}"
    )
    if privacy.epsilon is not None and after > privacy.epsilon:
        show("privacy: the limit is reached, so this client will upload nothing more")


def _check_data(site: SiteFile, show: Callable[[str], None]) -> None:
    entry = site.entry
    if entry.dataset == "procedural":
        show("data: procedural scenes, nothing to read")
        return
    from fmtl_datasets.registry import open_source
    from fmtl_datasets.shared.source import SourceSettings

    from fmtl.data.check import CheckOptions, check_source

    settings = SourceSettings(entry.data_path(), site.state / "label-cache", entry.parts_flags, entry.stuff_labels)
    source = open_source(entry.dataset, settings)
    options = CheckOptions(dataset=entry.dataset, tasks=entry.tasks, sample=DATA_SAMPLE)
    report = check_source(source, options)
    if report.blocking:
        first = report.blocking[0]
        raise NetworkSetupError(
            f"data: {len(report.blocking)} findings would stop training; the first: "
            f"{first.image_id or first.image_list}: {first.what} "
            f"All of them: `fmtl data check {entry.dataset} {entry.data_path()}`."
        )
    show(f"data: {source.summary}; {DATA_SAMPLE} images of each list read without a finding that would stop training")


def _check_device(site: SiteFile, show: Callable[[str], None]) -> None:
    from client_app.round.trial_step import trial_step

    started = time.monotonic()
    trial = trial_step(site.entry, site.state / "label-cache")
    memory = f", {trial.peak_bytes / 2**30:.2f} GiB of its memory" if trial.peak_bytes else ""
    show(f"device: one training step on {trial.device} took {trial.seconds:.1f} s{memory}")
    show(f"all is well ({time.monotonic() - started:.0f} s for the step with loading)")
