"""What the handbook says of each data set; the page ``docs/data-sets.md`` is the only place where it is written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files

_HEADING = re.compile(r"^## `(?P<name>[a-z_]+)`: (?P<title>.+)$", re.MULTILINE)


@dataclass(frozen=True)
class DataSetPage:
    """One data set's part of the page.

    Attributes:
        name: the data set, as scenarios call it.
        title: what it is, in a few words.
        text: the part, as Markdown with its heading.
    """

    name: str
    title: str
    text: str


def read_pages() -> Mapping[str, DataSetPage]:
    """Read what is said of each data set: each has a part with a heading like ``## `nyud`: NYU Depth v2``."""
    # A link to the page in a checkout, the page itself in a wheel.
    text = (files("fmtl.data") / "data-sets.md").read_text(encoding="utf-8")
    parts = list(_HEADING.finditer(text))
    pages = {}
    for part in parts:
        rest = text[part.end() :]
        following = re.search(r"^## ", rest, re.MULTILINE)
        body = rest[: following.start()] if following else rest
        pages[part["name"]] = DataSetPage(part["name"], part["title"], f"{part.group()}{body}".rstrip() + "\n")
    return pages
