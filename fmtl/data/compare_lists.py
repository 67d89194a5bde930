"""What is wrong between images and between lists: the same image twice, or both trained and scored on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fmtl.data.examine import Examined
from fmtl.data.findings import Finding
from fmtl.data.plan import ListPlan

TRAINING, VALIDATION = "training", "validation"


@dataclass(frozen=True)
class ListContent:
    """The images of a list by what is in them.

    Attributes:
        plan: the list.
        examined: what was found in it.
    """

    plan: ListPlan
    examined: Examined

    def files(self) -> dict[str, int]:
        """Position of each image file in the list."""
        return {path: position for position, path in self.plan.paths.items()}

    def contents(self) -> dict[bytes, list[int]]:
        """Positions of the images with each content."""
        found: dict[bytes, list[int]] = {}
        for position, digest in sorted(self.examined.digests.items()):
            found.setdefault(digest, []).append(position)
        return found


def duplicates(content: ListContent) -> list[Finding]:
    """Images of one list that have the same bytes under different names."""
    plan = content.plan
    return [
        Finding(
            kind="duplicate",
            image_list=plan.name,
            image_id=plan.ids[position],
            file=plan.paths[position],
            what=f"the same image as {plan.ids[positions[0]]}",
        )
        for positions in content.contents().values()
        for position in positions[1:]
        if plan.paths[position] != plan.paths[positions[0]]
    ]


def sides(lists: Sequence[str], contents: Mapping[str, ListContent]) -> dict[str, str]:
    """For what each list is used: the data set's first is trained on, its second scored on.

    A further list counts as one of the two where all of its images are from it.
    """
    known = dict(zip(lists, (TRAINING, VALIDATION), strict=False))
    for name in contents:
        if name not in known:
            own = set(contents[name].plan.ids)
            for main in [main for main in lists[:2] if main in contents]:
                if own <= set(contents[main].plan.ids):
                    known[name] = known[main]
    return known


def leaks(lists: Sequence[str], contents: Mapping[str, ListContent]) -> list[Finding]:
    """Images of lists to train on that are in lists to score on, by file or by content.

    Args:
        lists: all lists of the data set, in its order.
        contents: those that were checked.
    """
    known = sides(lists, contents)
    found: dict[str, Finding] = {}
    for validation in [name for name in contents if known.get(name) == VALIDATION]:
        for training in [name for name in contents if known.get(name) == TRAINING]:
            for finding in _shared(contents[training], contents[validation]):
                # An image of a short list is in the long one as well; it is told once.
                found.setdefault(finding.file, finding)
    return list(found.values())


def _shared(training: ListContent, validation: ListContent) -> list[Finding]:
    train_files, train_contents = training.files(), training.contents()
    findings = []
    for path, position in validation.files().items():
        digest = validation.examined.digests.get(position)
        other = train_files.get(path)
        if other is None and digest is not None:
            other = train_contents.get(digest, [None])[0]
        if other is None:
            continue
        twin = training.plan.ids[other]
        how = "is in" if training.plan.paths[other] == path else f"has the same content as {twin} of"
        findings.append(
            Finding(
                kind="leak",
                image_list=validation.plan.name,
                image_id=validation.plan.ids[position],
                file=path,
                what=f"this image {how} list {training.plan.name}, which is for training",
            )
        )
    return findings
