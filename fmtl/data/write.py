"""The files of a report."""

from __future__ import annotations

import json
from pathlib import Path

from PIL import Image

from fmtl.data.report import DataReport
from fmtl.data.report_text import markdown

SHEET = "contact-sheet.png"


def write_report(report: DataReport, folder: Path, sheet: Image.Image | None) -> list[Path]:
    """Write ``report.json``, ``report.md`` and ``contact-sheet.png``; an earlier report there is replaced.

    Args:
        report: what was found.
        folder: where; made if needed.
        sheet: the contact sheet, None where no image could be read.

    Returns:
        Paths of the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / "report.md", folder / "report.json"]
    paths[0].write_text(markdown(report, SHEET if sheet else ""), encoding="utf-8")
    paths[1].write_text(json.dumps(report.as_json(), indent=2) + "\n", encoding="utf-8")
    picture = folder / SHEET
    picture.unlink(missing_ok=True)
    if sheet is not None:
        sheet.save(picture)
        paths.append(picture)
    return paths
