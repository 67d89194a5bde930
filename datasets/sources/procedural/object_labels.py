"""Instances, people with keypoints and panoptic segments of a procedural view, in the form every data set gives."""

from __future__ import annotations

import torch
from fmtl_datasets.shared.objects import Instances, ObjectLabel, PanopticSegments
from fmtl_datasets.sources.procedural import classes
from fmtl_datasets.sources.procedural.labels import Labels


def object_label(task: str, labels: Labels) -> ObjectLabel:
    """Return the label of an object task.

    Args:
        task: ``instance``, ``keypoints`` or ``panoptic``.
        labels: the labels of one view.
    """
    if task == "panoptic":
        return _panoptic(labels)
    visible = _things(labels)
    return visible if task == "instance" else _people(labels, visible)


def _things(labels: Labels) -> Instances:
    """Return every visible thing; classes count from the first thing."""
    semantic = torch.from_numpy(labels.instance_classes.astype("int64"))
    ids = torch.from_numpy(labels.instance.astype("int32"))
    segments = PanopticSegments(
        ids=ids,
        segment_ids=torch.arange(1, len(semantic) + 1),
        classes=semantic - classes.FIRST_THING,
        crowd=torch.zeros(len(semantic), dtype=torch.bool),
    )
    return segments.things(len(classes.THING_CLASSES))


def _people(labels: Labels, things: Instances) -> Instances:
    # The scenes count from the border of the image, so that a pixel's centre is at a half; here it is a whole number.
    keypoints = torch.from_numpy(labels.keypoints)
    keypoints[..., :2] -= 0.5 * (keypoints[..., 2:] > 0)
    people = things.select(things.classes == classes.PERSON - classes.FIRST_THING)
    return Instances(
        size=people.size,
        boxes=people.boxes,
        classes=torch.zeros_like(people.classes),
        areas=people.areas,
        crowd=people.crowd,
        keypoints=keypoints,
    )


def _panoptic(labels: Labels) -> PanopticSegments:
    """Return things as segments of their own and one segment for each background class."""
    codes = torch.from_numpy(labels.panoptic.astype("int64")) + 1
    found = torch.unique(codes)
    semantic = (found - 1) // 1000
    thing = semantic >= classes.FIRST_THING
    return PanopticSegments(
        ids=codes.to(torch.int32),
        segment_ids=found,
        classes=torch.where(thing, semantic - classes.FIRST_THING, semantic + len(classes.THING_CLASSES)),
        crowd=torch.zeros(len(found), dtype=torch.bool),
    )
