"""Procedural scenes: the data set that needs no files, with exact labels for all ten tasks."""

from fmtl_datasets.sources.procedural.classes import (
    DOMAINS,
    KEYPOINT_NAMES,
    PART_CLASSES,
    SEMSEG_CLASSES,
    STUFF_CLASSES,
)
from fmtl_datasets.sources.procedural.dataset import ProceduralScenes

__all__ = ["DOMAINS", "KEYPOINT_NAMES", "PART_CLASSES", "SEMSEG_CLASSES", "STUFF_CLASSES", "ProceduralScenes"]
