"""The certificates of a coordinator that runs: used as soon as they are renewed, named before they end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from fmtl.network.certificates import CertificateFiles, ending_soon, not_valid, require_usable
from fmtl.network.errors import NetworkSetupError

WARN_EVERY = timedelta(days=1)


class CertificateWatch:
    """Looks at the certificates' files again and again.

    Args:
        files: the certificates, as the SuperLink has just read them.
        show: prints one line.
        now: the time of day, UTC.
    """

    def __init__(
        self,
        files: CertificateFiles,
        show: Callable[[str], None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._files = files
        self._show = show
        self._now = now
        self._used = self._seen = self._stamp()
        self._facts = files.facts()
        self._warned = now()
        self._expired = False

    def renewed(self) -> bool:
        """Whether there are new certificates, complete and valid, that the SuperLink does not use yet; says so once."""
        stamp, before = self._stamp(), self._seen
        self._seen = stamp
        if stamp in (self._used, ()) or stamp != before:  # a change is taken once it has stood between two looks
            return False
        self._used = stamp
        try:
            require_usable(self._files, self._now())
        except NetworkSetupError as error:
            self._show(f"Error: the new certificate is not used: {error}")
            return False
        self._facts, self._expired = self._files.facts(), False
        self._show(f"The certificate {self._files.server} is new; the SuperLink starts again with it, runs go on.")
        return True

    def warn(self) -> None:
        """Say once a day that a certificate ends soon, and at once that one has ended."""
        now = self._now()
        due = now - self._warned >= WARN_EVERY
        for sentence in not_valid(self._files, self._facts, now):
            if due or not self._expired:
                self._show(f"Error: sites cannot connect: {sentence} A renewed certificate is picked up automatically.")
                self._warned, self._expired = now, True
            return
        for warning in ending_soon(self._files, self._facts, now) if due else []:
            self._show(f"Warning: {warning}")
            self._warned = now

    def _stamp(self) -> tuple[tuple[str, int, int], ...]:
        """Return what changes whenever one of the files does; empty where one is missing."""
        found = []
        for path in (self._files.ca, self._files.server, self._files.server_key):
            try:
                status = path.stat()
            except FileNotFoundError:
                return ()
            found.append((path.name, status.st_mtime_ns, status.st_ino))
        return tuple(found)
