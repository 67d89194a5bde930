"""What an error names, however its sentence reads."""

from __future__ import annotations

import re


def naming(*facts: object) -> str:
    """Return a pattern that finds all facts, in any order: settings, values, files, clients.

    For ``pytest.raises(SettingError, match=naming("train-images", 7))``. Numbers and words count as a whole only.
    """
    return r"(?s)\A" + "".join(rf"(?=.*{_whole(str(fact))})" for fact in facts)


def _whole(fact: str) -> str:
    before, after = (r"(?<!\w)" if fact[:1].isalnum() else ""), (r"(?!\w)" if fact[-1:].isalnum() else "")
    return before + re.escape(fact) + after
