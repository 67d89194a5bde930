"""What can be wrong with a data set, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, NamedTuple


class Kind(NamedTuple):
    """One way in which data can be wrong: its title, what to do, and whether training would trip over it."""

    title: str
    remedy: str
    blocks: bool


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "unreadable-list": Kind(
            "Lists that cannot be read", "Restore the list from the package, or write one id per line.", True
        ),
        "empty-list": Kind("Lists without images", "Restore the list from the package, or fill it.", True),
        "missing-file": Kind(
            "Missing files", "Fetch the package again, or take the image out of the lists that name it.", True
        ),
        "unreadable-file": Kind("Files that cannot be opened", "Repair the file, its link or its permissions.", True),
        "damaged-file": Kind("Files that are damaged or of the wrong form", "Restore the file from the package.", True),
        "wrong-size": Kind(
            "Labels of another size than their image", "Write the label again at the size of its image.", True
        ),
        "wrong-values": Kind(
            "Labels with impossible values", "Compare the file's coding with the one `fmtl data help` describes.", True
        ),
        "nothing-labelled": Kind(
            "Tasks without any label", "Leave the task out, or find out where its labels should come from.", True
        ),
        "leak": Kind(
            "Images both trained and scored on", "Take them out of one of the lists; scores are too good.", True
        ),
        "duplicate": Kind("Images that occur more than once", "Keep one of them; the others weigh it twice.", False),
        "left-out": Kind(
            "Objects that no label has",
            "Give each a box with an area inside its image, or remove it; nothing is trained or scored on it.",
            False,
        ),
        "all-ignored": Kind("Labels with nothing to train on", "Nothing, if such images are to be expected.", False),
        "absent-class": Kind(
            "Classes that never occur", "Nothing, if rare; otherwise compare the classes with the coding.", False
        ),
        "suspicious-values": Kind(
            "Values that are possible but strange", "Look at the contact sheet and compare units and axes.", False
        ),
        "tiny-image": Kind("Very small images", "Nothing, if they are meant to be so small.", False),
        "other-count": Kind(
            "Lists of another length than published", "Nothing, if it is a subset; scores do not compare.", False
        ),
    }
)
"""Every kind of finding, in the order in which reports show them."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        kind: one of ``KINDS``.
        what: what is wrong, in a sentence.
        image_list: the list, empty where it is about none in particular.
        task: the task, empty where it is about the image or the list.
        image_id: the image, empty where it is about no single one.
        file: path of the file, empty where it is about none.
    """

    kind: str
    what: str
    image_list: str = ""
    task: str = ""
    image_id: str = ""
    file: str = ""

    @property
    def blocks(self) -> bool:
        """Whether training would trip over it."""
        return KINDS[self.kind].blocks

    @property
    def order(self) -> tuple[Any, ...]:
        """Where a report shows it: by kind, then by place."""
        return (list(KINDS).index(self.kind), self.image_list, self.image_id, self.task, self.file)

    @property
    def sentence(self) -> str:
        """What is wrong, with its place; a path that the text names already is not repeated."""
        place = " ".join(part for part in (self.image_list, self.image_id, self.task) if part)
        file = f" [{self.file}]" if self.file and self.file not in self.what else ""
        return f"{place}: {self.what}{file}" if place else f"{self.what}{file}"

    def as_json(self) -> dict[str, Any]:
        """The finding for ``report.json``."""
        return {**asdict(self), "to_do": KINDS[self.kind].remedy, "blocks": self.blocks}


PACKAGES: Mapping[str, Mapping[str, Mapping[str, int]]] = MappingProxyType(
    {
        "nyud": {"the official split": {"train": 795, "val": 654}},
        "pascal_context": {"the full package": {"train": 4998, "val": 5105}},
        "coco": {
            "COCO 2017": {"train2017": 118287, "val2017": 5000},
            "the subset coco_mt200": {"train2017": 100, "val2017": 100},
        },
        "bsds_sod": {"BSDS300": {"train": 200, "val": 100}},
    }
)
"""Images of each list of the known packages of a data set, the usual package first.

Source: methods 3.2, 3.3, 3.6 and the packages' own lists."""


def unexpected_counts(dataset: str, found: Mapping[str, int]) -> dict[str, str]:
    """Lists whose length is that of no known package, with what was expected.

    Args:
        dataset: name of the data set.
        found: number of images of each list.

    Returns:
        A sentence for each such list; empty where one package fits all of its lists that were found.
    """
    wrong: list[dict[str, str]] = []
    for package, images in PACKAGES.get(dataset, {}).items():
        shared = {name: count for name, count in images.items() if name in found}
        texts = {name: f"{found[name]} images; {count} are expected in {package}" for name, count in shared.items()}
        wrong.append({name: text for name, text in texts.items() if found[name] != shared[name]})
    return {} if not all(wrong) or not wrong else wrong[0]
