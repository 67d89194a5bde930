"""All ten labels from the buffers of one rasterisation.

Nothing is drawn at random here, so a label does not depend on which other labels were asked for.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from fmtl_datasets.shared.objects import Instances, PanopticSegments
from fmtl_datasets.sources.procedural import classes
from fmtl_datasets.sources.procedural.raster import Buffers, Camera
from fmtl_datasets.sources.procedural.scene import F32, I32, Person, Primitives, Scene

U8 = npt.NDArray[np.uint8]

CENTRE_WIDTH = 0.25
"""Standard deviation of the centre weight of saliency, as a share of the image diagonal."""

PERSON_WEIGHT = 2.0
"""A person counts this much more than a thing of the same size and place."""

SALIENT_SHARE = 0.7
"""Things with at least this share of the largest prominence are salient too."""


class Labels:
    """Labels of one view, computed when asked for."""

    def __init__(self, scene: Scene, primitives: Primitives, buffers: Buffers, camera: Camera) -> None:
        """Set the scene, its primitives, what is seen of them, and the view."""
        self._people = scene.people
        self._category = np.array(scene.categories, dtype=np.int32)
        self._part_of = primitives.part
        self._buffers = buffers
        self._camera = camera
        self._objects: I32 = primitives.object_id[buffers.primitive]

    @property
    def semseg(self) -> U8:
        """(H, W) index into SEMSEG_CLASSES."""
        return self._category.astype(np.uint8)[self._objects]

    @property
    def stuff(self) -> U8:
        """(H, W) index into STUFF_CLASSES: 0 on things, else 1 + semantic class."""
        table = np.where(self._category >= classes.FIRST_THING, 0, self._category + 1)
        return table.astype(np.uint8)[self._objects]

    @property
    def parts(self) -> U8:
        """(H, W) index into PART_CLASSES."""
        return self._part_of.astype(np.uint8)[self._buffers.primitive]

    @property
    def depth(self) -> F32:
        """(1, H, W) metres along the optical axis, 0 in the sky."""
        return self._buffers.depth[None]

    @property
    def normals(self) -> F32:
        """(3, H, W) unit normals in the camera frame, 0 in the sky."""
        return self._buffers.normals

    @property
    def edge(self) -> U8:
        """(H, W) 1 on the upper or left side of each border between two objects or surfaces."""
        ids = self._objects
        edge = np.zeros(ids.shape, dtype=np.uint8)
        edge[:-1] |= ids[:-1] != ids[1:]
        edge[:, :-1] |= ids[:, :-1] != ids[:, 1:]
        return edge

    @cached_property
    def _instances(self) -> tuple[I32, I32]:
        """Object ids of the visible things in ascending order, and the instance id of every object (0: none)."""
        count = np.bincount(self._objects.ravel(), minlength=len(self._category))
        visible = np.flatnonzero((count > 0) & (self._category >= classes.FIRST_THING)).astype(np.int32)
        ids = np.zeros(len(self._category), dtype=np.int32)
        ids[visible] = np.arange(1, len(visible) + 1)
        return visible, ids

    @property
    def instance(self) -> Instances:
        """Every visible thing; classes count from the first thing."""
        visible, ids = self._instances
        classes_of = torch.from_numpy(self._category[visible].astype(np.int64)) - classes.FIRST_THING
        segments = PanopticSegments(
            ids=torch.from_numpy(ids[self._objects]),
            segment_ids=torch.arange(1, len(visible) + 1),
            classes=classes_of,
            crowd=torch.zeros(len(visible), dtype=torch.bool),
        )
        return segments.things(len(classes.THING_CLASSES))

    @property
    def panoptic(self) -> PanopticSegments:
        """Things as segments of their own and one segment for each background class."""
        codes = (self._category * 1000 + self._instances[1])[self._objects]
        ids = torch.from_numpy(codes) + 1
        found = torch.unique(ids.long())
        semantic = (found - 1) // 1000
        thing = semantic >= classes.FIRST_THING
        return PanopticSegments(
            ids=ids,
            segment_ids=found,
            classes=torch.where(thing, semantic - classes.FIRST_THING, semantic + len(classes.THING_CLASSES)),
            crowd=torch.zeros(len(found), dtype=torch.bool),
        )

    @property
    def saliency(self) -> U8:
        """(H, W) 1 on the most prominent things.

        Prominence is the number of visible pixels, each weighted by exp(-r^2 / (2 s^2)) with its distance r
        from the image centre and s = CENTRE_WIDTH diagonals, times PERSON_WEIGHT for people. Salient are the
        thing with the largest prominence and those that reach SALIENT_SHARE of it.
        """
        height, width = self._objects.shape
        spread = 2 * CENTRE_WIDTH**2 * (height**2 + width**2)
        rows = np.exp(-((np.arange(height) + 0.5 - height / 2) ** 2) / spread)
        columns = np.exp(-((np.arange(width) + 0.5 - width / 2) ** 2) / spread)
        weight = np.outer(rows, columns).ravel()
        mass = np.bincount(self._objects.ravel(), weight, minlength=len(self._category))
        mass = mass * (self._category >= classes.FIRST_THING)
        mass = mass * np.where(self._category == classes.PERSON, PERSON_WEIGHT, 1.0)
        salient = ((mass > 0) & (mass >= SALIENT_SHARE * mass.max())).astype(np.uint8)
        labels: U8 = salient[self._objects]
        return labels

    @property
    def keypoints(self) -> Instances:
        """The visible people with their keypoints, without masks, in order of object."""
        seen = [person for person in self._people if self._instances[1][person.object_id] > 0]
        points = np.zeros((len(seen), len(classes.KEYPOINT_NAMES), 3), dtype=np.float32)
        for row, person in zip(points, seen, strict=True):
            self._project(person, row)
        # Scenes count from the border of the image: the centre of a pixel is at a half there, at a whole number here.
        keypoints = torch.from_numpy(points)
        keypoints[..., :2] -= 0.5 * (keypoints[..., 2:] > 0)
        things = self.instance
        people = things.select(things.classes == classes.PERSON - classes.FIRST_THING)
        return replace(people, classes=torch.zeros_like(people.classes), masks=None, keypoints=keypoints)

    def _project(self, person: Person, out: F32) -> None:
        """Fill one figure's rows.

        A joint is visible (2) if its pixel shows the same figure and the surface there is not nearer than the
        joint's depth below the skin allows; else occluded (1), or outside the image (0, with x = y = 0).
        """
        camera = self._camera
        points = (np.array(person.points, dtype=np.float32) - camera.position()) @ camera.rotation().T
        height, width = camera.size
        for k, (x, y, z) in enumerate(points.tolist()):
            if z <= 0.05:
                continue
            u, v = x / z * camera.focal + width / 2, y / z * camera.focal + height / 2
            if not (0 <= u < width and 0 <= v < height):
                continue
            i, j = int(v), int(u)
            own = self._objects[i, j] == person.object_id
            clear = own and self._buffers.depth[i, j] >= z - person.slack[k]
            out[k] = (u, v, 2.0 if clear else 1.0)
