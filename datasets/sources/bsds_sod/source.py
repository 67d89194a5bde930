"""BSDS300 with saliency masks: a folder data set whose layout is fixed.

``images/ID.jpg`` (481 x 321 or 321 x 481 pixels), ``saliency/ID.png`` with 0 and 255, ``edge_annotators/ID.png`` with
16 bits, of which bit k is the drawing of annotator k, and ``gt_sets/train.txt`` and ``val.txt``. The mean over
annotators in ``edge/`` is not read: training needs the number of annotators, and scoring every drawing.
"""

from __future__ import annotations

from fmtl_datasets.shared.source import DataLayoutError, SourceSettings
from fmtl_datasets.sources.folder.files import DataRoot
from fmtl_datasets.sources.folder.settings import Description
from fmtl_datasets.sources.folder.source import FolderSource

LAYOUT = Description.model_validate(
    {
        "name": "bsds_sod",
        "images": "images",
        "lists": {"train": "gt_sets/train.txt", "val": "gt_sets/val.txt"},
        "tasks": {
            "saliency": {"folder": "saliency"},
            "edge": {"folder": "edge_annotators", "annotators": "bits"},
        },
    }
)
NEEDED = ("images", "saliency", "edge_annotators", "gt_sets/train.txt", "gt_sets/val.txt")


def open_source(settings: SourceSettings) -> FolderSource:
    """Find the data set's files.

    Raises:
        DataLayoutError: the folder does not hold it; the message names the first missing path.
        DataFileError: a list is wrong.
    """
    missing = [settings.root / part for part in NEEDED if not (settings.root / part).exists()]
    if missing:
        raise DataLayoutError(
            f"data-root = {str(settings.root)!r} is not a complete bsds_sod folder: {missing[0]} is missing. It has "
            f"images/, saliency/, edge_annotators/ and gt_sets/ with train.txt and val.txt; `fmtl data help bsds_sod` "
            f"says what belongs in them."
        )
    return FolderSource(DataRoot(settings.root, lambda *_: str(settings.root)), LAYOUT, title="BSDS + saliency")
