"""Checking a data set: every file, every label, what they hold, and images that occur where they should not."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

from fmtl_datasets.pictures.preview_objects import class_name
from fmtl_datasets.shared.source import LeavesOut, Source

from fmtl.data.compare_lists import ListContent, duplicates, leaks
from fmtl.data.examine import Chunk, Examined, TaskCount
from fmtl.data.facts import unexpected_counts
from fmtl.data.findings import Finding
from fmtl.data.plan import ListPlan, plan_list
from fmtl.data.report import DataReport, ListReport
from fmtl.data.tally import ClassTally, ObjectTally, class_count
from fmtl.data.workers import examine_all

CHUNK = 16
"""Images that a worker process reads at once."""

ABSENT_SHOWN = 12
"""So many of the classes that never occur are named; the class histogram has all."""

Progress = Callable[[int, int], None]
"""Called with the number of images done and of images to do."""


@dataclass(frozen=True)
class CheckOptions:
    """How a data set is checked.

    Attributes:
        dataset: its name, for what is known of it.
        tasks: labels to check; all that it gives where empty.
        lists: image lists to check; all where empty.
        sample: how many images of each list, drawn with the seed; all where None.
        workers: processes; 1 to work in place, which a program with threads of its own must.
        seed: of the drawn sample.
        progress: called after every few images.
        keep_partial: on Ctrl-C, report what was read up to there instead of ending the program.
    """

    dataset: str = ""
    tasks: tuple[str, ...] = ()
    lists: tuple[str, ...] = ()
    sample: int | None = None
    workers: int = 1
    seed: int = 0
    progress: Progress | None = None
    keep_partial: bool = False


def check_source(source: Source, options: CheckOptions) -> DataReport:
    """Check a data set, one image at a time; nothing is written.

    Args:
        source: the data set, opened.
        options: what to check, and how.

    Raises:
        ValueError: a task or list that the data set does not have, or an impossible option.
    """
    start = time.monotonic()
    tasks, lists = _checked_options(source, options)
    plans: list[ListPlan] = []
    examined: list[Examined] = []
    complete = True
    try:
        for name in lists:
            plans.append(plan_list(source, name, tasks, options.sample, options.seed))
            examined.append(Examined())
        _examine(source, plans, examined, options)
    except KeyboardInterrupt:
        if not options.keep_partial:
            raise
        complete = False
    examined += [Examined() for _ in plans[len(examined) :]]
    contents = {plan.name: ListContent(plan, found) for plan, found in zip(plans, examined, strict=True)}
    reports = tuple(_list_report(content) for content in contents.values())
    findings = [finding for content in contents.values() for finding in _of_list(content)]
    findings += leaks(source.lists, contents)
    findings += _of_counts(options.dataset, plans)
    findings += [finding for plan in plans for finding in _left_out(source, plan)]
    if complete:
        findings += _of_classes(source, plans, reports, whole=options.sample is None)
    return DataReport(
        dataset=options.dataset,
        summary=source.summary,
        num_classes=source.num_classes,
        class_names=source.class_names,
        lists=reports,
        findings=tuple(sorted(_with_files(source, tasks, findings), key=lambda finding: finding.order)),
        complete=complete,
        sample=options.sample,
        seconds=time.monotonic() - start,
    )


def _checked_options(source: Source, options: CheckOptions) -> tuple[tuple[str, ...], tuple[str, ...]]:
    _require_known("tasks", options.tasks, source.tasks, source.summary)
    _require_known("lists", options.lists, source.lists, source.summary)
    if options.sample is not None and options.sample < 1:
        raise ValueError(
            f"sample = {options.sample} images of each list; expected at least 1, or leave it out for all."
        )
    tasks = tuple(task for task in source.tasks if task in options.tasks or not options.tasks)
    return tasks, tuple(name for name in source.lists if name in options.lists or not options.lists)


def _require_known(option: str, asked: Sequence[str], known: Sequence[str], summary: str) -> None:
    unknown = [name for name in asked if name not in known]
    if unknown:
        raise ValueError(f"{option} = {unknown[0]!r} is not in {summary}; it has {', '.join(known)}.")


def _examine(source: Source, plans: list[ListPlan], examined: list[Examined], options: CheckOptions) -> None:
    """Examine all parts of all lists; `examined` is filled as results come in."""
    chunks = list(_chunks(plans))
    total = sum(chunk.end - chunk.first for chunk in chunks)
    done = 0
    with closing(examine_all(source, plans, chunks, min(options.workers, len(chunks)))) as results:
        for chunk, found in results:
            examined[chunk.image_list].merge(found)
            done += chunk.end - chunk.first
            if options.progress is not None:
                options.progress(done, total)


def _chunks(plans: list[ListPlan]) -> Iterator[Chunk]:
    for number, plan in enumerate(plans):
        for part_number, part in enumerate(plan.parts):
            for first in range(0, len(part.positions), CHUNK):
                yield Chunk(number, part_number, first, min(first + CHUNK, len(part.positions)))


def _list_report(content: ListContent) -> ListReport:
    plan, examined = content.plan, content.examined
    return ListReport(
        name=plan.name,
        listed=len(plan.ids),
        chosen=len(plan.chosen),
        read=len(examined.sizes),
        sizes=Counter(examined.sizes.values()),
        tasks=examined.tasks,
    )


def _of_list(content: ListContent) -> list[Finding]:
    return [*content.plan.findings, *content.examined.findings, *duplicates(content)]


def _left_out(source: Source, plan: ListPlan) -> list[Finding]:
    """Annotated objects of the chosen images that their labels do not have."""
    if not isinstance(source, LeavesOut):
        return []
    chosen = {plan.ids[int(position)] for position in plan.chosen}
    return [
        Finding(
            kind="left-out",
            image_list=plan.name,
            task=task,
            image_id=image_id,
            what=f"{count} of the annotated objects left out: the box has no area inside the image",
        )
        for task in sorted({task for part in plan.parts for task in part.tasks})
        for image_id, count in source.left_out(plan.name, task).items()
        if image_id in chosen
    ]


def _of_counts(dataset: str, plans: list[ListPlan]) -> list[Finding]:
    unexpected = unexpected_counts(dataset, {plan.name: len(plan.ids) for plan in plans if plan.ids})
    return [Finding(kind="other-count", image_list=name, what=what) for name, what in unexpected.items()]


def _of_classes(source: Source, plans: list[ListPlan], reports: Sequence[ListReport], *, whole: bool) -> list[Finding]:
    """Tasks that nothing is labelled for, and classes that the whole training list never has."""
    findings = []
    for plan, report in zip(plans, reports, strict=True):
        for task, count in report.tasks.items():
            if count.read and not count.labelled:
                if not whole and not len(source.usable(plan.name, plan.chosen, (task,))):
                    # A few images drawn at random need not show anybody.
                    continue
                what = f"none of {count.read} images has anything to train on for {task}"
                findings.append(Finding(kind="nothing-labelled", image_list=report.name, task=task, what=what))
            elif whole and report.name == source.lists[0]:
                findings += _absent_classes(source, report.name, task, count)
    return findings


def _absent_classes(source: Source, image_list: str, task: str, count: TaskCount) -> list[Finding]:
    if isinstance(count.tally, ClassTally):
        found = count.tally.pixels
    elif isinstance(count.tally, ObjectTally):
        found = count.tally.objects
    else:
        return []
    names = source.class_names.get(task, ())
    total = class_count(task, source.num_classes)
    absent = [class_name(names, index) for index in range(total) if not found[index]]
    if not absent:
        return []
    more = f" and {len(absent) - ABSENT_SHOWN} more" if len(absent) > ABSENT_SHOWN else ""
    what = f"{len(absent)} of {total} classes never occur: {', '.join(absent[:ABSENT_SHOWN])}{more}"
    return [Finding(kind="absent-class", image_list=image_list, task=task, what=what)]


def _with_files(source: Source, tasks: Sequence[str], findings: list[Finding]) -> list[Finding]:
    """Fill in the label files of findings that only know their image and task."""
    lacking = {
        (finding.image_list, finding.image_id, finding.task)
        for finding in findings
        if finding.task and finding.image_id and not finding.file
    }
    paths: dict[tuple[str, str, str], str] = {}
    for image_list in {image_list for image_list, _, _ in lacking}:
        for file in source.files(image_list, tasks):
            key = (image_list, file.image_id, file.kind)
            if key in lacking:
                paths.setdefault(key, str(file.path))
    return [_with_file(finding, paths) for finding in findings]


def _with_file(finding: Finding, paths: Mapping[tuple[str, str, str], str]) -> Finding:
    path = paths.get((finding.image_list, finding.image_id, finding.task))
    return finding if path is None or finding.file else replace(finding, file=path)
