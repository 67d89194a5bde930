"""A report in words: tables for the screen and ``report.md``."""

from __future__ import annotations

from collections.abc import Iterator

from fmtl.data.examine import TaskCount
from fmtl.data.findings import KINDS, Finding
from fmtl.data.report import DataReport, ListReport
from fmtl.data.tally import ClassTally, ObjectTally, ValueTally
from fmtl.tables import markdown_table

SHOWN = 20
"""Findings of a kind that are shown; all of them are in ``report.json``."""

Cells = tuple[str, ...]

BINARY_NAMES = {"edge": ("no edge", "edge"), "saliency": ("background", "salient"), "keypoints": ("person",)}

HEADING: Cells = ("list", "task", "images", "labelled", "what they hold")


def list_rows(report: DataReport) -> Iterator[Cells]:
    """Cells of the table with one row for each list and task; its heading is ``HEADING``."""
    for found in report.lists:
        first = f"{found.name} ({_images(found)})"
        for task, count in found.tasks.items():
            yield first, task, str(count.read), str(count.labelled), contents(task, count)
            first = ""
        if first:
            yield first, "-", "0", "0", "nothing could be read" if report.complete else "not reached"


def _images(found: ListReport) -> str:
    return str(found.listed) if found.chosen == found.listed else f"{found.chosen} of {found.listed}"


def contents(task: str, count: TaskCount) -> str:
    """What the labels of a task hold, in a few words."""
    tally = count.tally
    if isinstance(tally, ValueTally):
        return _values(task, tally)
    if isinstance(tally, ObjectTally):
        return _objects(task, tally)
    assert isinstance(tally, ClassTally)
    total = int(tally.pixels.sum()) + tally.ignored
    ignored = f", {tally.ignored / total:.1%} of the pixels ignored" if tally.ignored else ""
    if task in ("edge", "saliency"):
        known = max(int(tally.pixels.sum()), 1)
        return f"{int(tally.pixels[1]) / known:.1%} of the pixels set{ignored}"
    seen = int((tally.pixels > 0).sum())
    return f"{seen} of {len(tally.pixels)} classes seen{ignored}"


def _values(task: str, tally: ValueTally) -> str:
    if not tally.valid:
        return "nothing valid"
    share = f"{tally.valid / tally.pixels:.1%} valid"
    mean = tally.total / tally.valid
    if task == "depth":
        return f"{tally.smallest:.2f} to {tally.largest:.2f} m, mean {mean:.2f} m, {share}"
    return f"{share}, mean z {mean:.2f} (-1 faces the camera)"


def _objects(task: str, tally: ObjectTally) -> str:
    crowds = f", {tally.crowds} crowd{'s' if tally.crowds > 1 else ''}" if tally.crowds else ""
    number = int(tally.objects.sum())
    if task == "keypoints":
        return f"{number} people, {tally.with_keypoints} with keypoints{crowds}"
    seen = int((tally.objects > 0).sum())
    return f"{number} objects of {seen} of {len(tally.objects)} classes{crowds}"


def verdict(report: DataReport) -> str:
    """What follows from a report, in a sentence."""
    scope = "" if report.sample is None else f" in a sample of {report.sample} images of each list"
    scope += "" if report.complete else " (interrupted; only what was read up to there)"
    if not report.trainable:
        number = report.blocking
        return f"{number} finding{'s' if number > 1 else ''} to put right before training{scope}."
    noted = f"; {len(report.findings)} to know of" if report.findings else ""
    return f"Nothing stands in the way of training{scope}{noted}."


def finding_lines(report: DataReport, *, shown: int = SHOWN) -> Iterator[str]:
    """The findings of each kind under its title, at most `shown` of each."""
    for kind, findings in report.by_kind().items():
        about = KINDS[kind]
        mark = "" if about.blocks else " (to know of)"
        yield f"{about.title}: {len(findings)}{mark}. {about.remedy}"
        for finding in findings[:shown]:
            yield f"  {sentence(finding)}"
        if len(findings) > shown:
            yield f"  ... and {len(findings) - shown} more in report.json"


def sentence(finding: Finding) -> str:
    """One finding with its place; a path that its text names already is not repeated."""
    place = " ".join(part for part in (finding.image_list, finding.image_id, finding.task) if part)
    file = f" [{finding.file}]" if finding.file and finding.file not in finding.what else ""
    return f"{place}: {finding.what}{file}" if place else f"{finding.what}{file}"


def markdown(report: DataReport, picture: str) -> str:
    """The whole report as Markdown.

    Args:
        report: what was found.
        picture: file name of the contact sheet, empty where there is none.
    """
    lines = [f"# {report.dataset}: {report.summary}", "", f"**{verdict(report)}**", ""]
    lines.append(markdown_table(HEADING, list_rows(report)))
    lines += ["", "## Images", ""]
    for found in report.lists:
        lines.append(f"- {found.name}: {_images(found)} images, {found.read} read{_sizes(found)}")
    lines += ["", "## Findings", ""]
    if not report.findings:
        lines.append("None.")
    for line in finding_lines(report):
        lines.append(f"  - {line.strip()}" if line.startswith(" ") else f"- {line}")
    for found in report.lists:
        for task, count in found.tasks.items():
            lines += _histogram(report, found.name, task, count)
    if picture:
        lines += ["", "## Images with their labels", "", f"![contact sheet]({picture})"]
    return "\n".join([*lines, ""])


def _sizes(found: ListReport) -> str:
    if not found.sizes:
        return ""
    heights, widths = zip(*found.sizes, strict=True)
    (height, width), number = max(found.sizes.items(), key=lambda item: (item[1], item[0]))
    if len(found.sizes) == 1:
        return f", all {width} x {height} (width x height)"
    return (
        f", {min(widths)} to {max(widths)} pixels wide and {min(heights)} to {max(heights)} high, "
        f"most often {width} x {height} ({number})"
    )


def _histogram(report: DataReport, name: str, task: str, count: TaskCount) -> list[str]:
    """Pixels or objects, and images, of each class."""
    tally = count.tally
    if not isinstance(tally, ObjectTally | ClassTally):
        return []
    amounts = tally.objects if isinstance(tally, ObjectTally) else tally.pixels
    names = report.class_names.get(task) or BINARY_NAMES.get(task, ())
    total = max(int(amounts.sum()), 1)
    unit = "objects" if isinstance(tally, ObjectTally) else "pixels"
    rows: list[Cells] = [
        (
            str(index),
            names[index] if index < len(names) else "",
            str(int(amounts[index])),
            f"{amounts[index] / total:.2%}",
            str(int(tally.images[index])),
        )
        for index in range(len(amounts))
    ]
    return ["", f"## {task}, list {name}", "", markdown_table(("class", "name", unit, "share", "images"), rows)]
