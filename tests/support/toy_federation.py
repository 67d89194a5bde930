"""The toy federation, under the name that tests import it by."""

from fmtl.toy_federation import *  # noqa: F403
