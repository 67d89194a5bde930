"""All ten labels from the buffers of one rasterisation.

Nothing is drawn at random here, so a label does not depend on which other labels were asked for.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import numpy.typing as npt
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
    def instance(self) -> I32:
        """(H, W) id 1..N of the visible things, 0 elsewhere."""
        return self._instances[1][self._objects]

    @property
    def instance_classes(self) -> I32:
        """(N,) semantic class of instance k + 1."""
        return self._category[self._instances[0]]

    @property
    def panoptic(self) -> I32:
        """(H, W) semantic class * 1000 + instance id."""
        return (self._category * 1000 + self._instances[1])[self._objects]

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
    def keypoints(self) -> F32:
        """(P, 17, 3) x, y in pixels and COCO visibility of the visible people, in order of instance id."""
        seen = [person for person in self._people if self._instances[1][person.object_id] > 0]
        out = np.zeros((len(seen), len(classes.KEYPOINT_NAMES), 3), dtype=np.float32)
        for row, person in zip(out, seen, strict=True):
            self._project(person, row)
        return out

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
