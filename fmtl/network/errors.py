"""What can be wrong with a coordinator or a site that its administrator can put right."""

from __future__ import annotations


class NetworkSetupError(ValueError):
    """A key, certificate, setting or machine is not as it has to be; the message says what to do about it."""
