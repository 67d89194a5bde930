"""What the handbook says of each data set; the page ``docs/data-sets.md`` is the only place where it is written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "data-sets.md"

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


def read_pages(page: Path = PAGE) -> Mapping[str, DataSetPage]:
    """Read what is said of each data set.

    Args:
        page: a Markdown file in which each data set has a part with a heading like ``## `nyud`: NYU Depth v2``.

    Raises:
        FileNotFoundError: the page is not there, as where only the installed packages are.
    """
    if not page.is_file():
        raise FileNotFoundError(f"{page} is missing: it comes with fmtl's source checkout; run fmtl from there.")
    text = page.read_text(encoding="utf-8")
    parts = list(_HEADING.finditer(text))
    pages = {}
    for part in parts:
        rest = text[part.end() :]
        following = re.search(r"^## ", rest, re.MULTILINE)
        body = rest[: following.start()] if following else rest
        pages[part["name"]] = DataSetPage(part["name"], part["title"], f"{part.group()}{body}".rstrip() + "\n")
    return pages
