"""Lists every file of docs/decisions in the navigation of the site; mkdocs calls it (mkdocs.yml)."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def on_config(config: Any) -> None:
    """Add the section of decisions to the navigation."""
    docs = Path(config.docs_dir)
    config.nav.append({"Decisions": sorted(str(page.relative_to(docs)) for page in docs.glob("decisions/*.md"))})
