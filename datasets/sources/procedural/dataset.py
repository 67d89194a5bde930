"""The procedural scenes as a data set."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from fmtl_datasets.shared.conventions import OBJECT_TASKS, PANOPTIC_THINGS, TASKS, Sample
from fmtl_datasets.shared.objects import ObjectLabel
from fmtl_datasets.sources.procedural import classes
from fmtl_datasets.sources.procedural.labels import Labels
from fmtl_datasets.sources.procedural.layout import draw_scene
from fmtl_datasets.sources.procedural.raster import rasterise
from fmtl_datasets.sources.procedural.shading import shade
from torchvision import tv_tensors

_STREAM = 0x5CE7E
"""Sets the random stream of the scenes apart from other uses of the same seed."""

DEFAULT_CACHE_BYTES = 256 * 2**20


class ProceduralScenes:
    """Rooms or courtyards drawn from a seed and an index alone.

    The same (seed, domain, index, size) gives the same bytes in any process, in any order of access and
    whatever tasks are asked for. Rendered samples stay in memory up to ``cache_bytes``; when it is full the
    one used longest ago is dropped. A sample handed out is a copy, so changing it does not change the cache.

    Attributes:
        name: "procedural/<domain>".
        tasks: the tasks asked for.
        class_names: names of the classes, in the order of their indices.
        num_classes: class counts as ``fmtl_datasets.shared.conventions`` describes them.
    """

    num_classes: Mapping[str, int] = MappingProxyType(
        {
            "semseg": len(classes.SEMSEG_CLASSES),
            "parts": len(classes.PART_CLASSES),
            "stuff": len(classes.STUFF_CLASSES),
            "instance": len(classes.THING_CLASSES),
            "panoptic": len(classes.SEMSEG_CLASSES),
            PANOPTIC_THINGS: len(classes.THING_CLASSES),
        }
    )

    class_names: Mapping[str, tuple[str, ...]] = MappingProxyType(
        {
            "semseg": classes.SEMSEG_CLASSES,
            "parts": classes.PART_CLASSES,
            "stuff": classes.STUFF_CLASSES,
            "instance": classes.THING_CLASSES,
            "panoptic": classes.THING_CLASSES + classes.SEMSEG_CLASSES[: classes.FIRST_THING],
        }
    )

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        domain: classes.Domain,
        indices: Sequence[int],
        seed: int = 0,
        size: tuple[int, int] = (128, 128),
        cache_bytes: int = DEFAULT_CACHE_BYTES,
    ) -> None:
        """Choose what to draw.

        Args:
            tasks: label names to give, from ``fmtl_datasets.shared.conventions.TASKS``.
            domain: "indoor" or "outdoor".
            indices: which scenes; sample i shows scene ``indices[i]``. Disjoint indices give disjoint images.
            seed: non-negative; a different seed gives a different endless series of scenes.
            size: image height and width in pixels, each at least 16.
            cache_bytes: memory for rendered samples; 0 renders every time.

        Raises:
            ValueError: an argument is out of range; the message names it.
        """
        _check(tasks, domain, indices, seed, size)
        if cache_bytes < 0:
            raise ValueError(f"cache_bytes is {cache_bytes}; expected 0 (no cache) or a positive number of bytes.")
        self.name = f"procedural/{domain}"
        self.tasks: tuple[str, ...] = tuple(tasks)
        self._domain = domain
        self._indices = tuple(int(index) for index in indices)
        self._seed = seed
        self._size = (int(size[0]), int(size[1]))
        self._cache: OrderedDict[int, Sample] = OrderedDict()
        self._room = cache_bytes

    def __len__(self) -> int:
        """Number of scenes."""
        return len(self._indices)

    def __getitem__(self, i: int) -> Sample:
        """Sample i: "image" plus one key per task.

        Raises:
            IndexError: i is outside the data set.
        """
        index = self._indices[i]
        sample = self._cache.get(index)
        if sample is None:
            sample = self._render(index)
            self._remember(index, sample)
        else:
            self._cache.move_to_end(index)
        return {key: _copy(value) for key, value in sample.items()}

    def _render(self, index: int) -> Sample:
        rng = scene_generator(self._seed, self._domain, index)
        scene, camera, light = draw_scene(self._domain, rng, self._size)
        primitives = scene.primitives()
        buffers = rasterise(primitives, camera)
        image = shade(scene, primitives, buffers, camera, light, rng=rng)
        labels = Labels(scene, primitives, buffers, camera)
        sample: Sample = {"image": tv_tensors.Image(torch.from_numpy(image))}
        for task in self.tasks:
            label = getattr(labels, task)
            if task not in OBJECT_TASKS:
                label = tv_tensors.Mask(torch.from_numpy(np.ascontiguousarray(label)))
            sample[task] = label
        return sample

    def _remember(self, index: int, sample: Sample) -> None:
        size = _bytes(sample)
        while self._cache and size > self._room:
            _, oldest = self._cache.popitem(last=False)
            self._room += _bytes(oldest)
        if size <= self._room:
            self._cache[index] = sample
            self._room -= size


def scene_generator(seed: int, domain: str, index: int) -> np.random.Generator:
    """The generator from which one scene is drawn, set by nothing but these three."""
    return np.random.default_rng((_STREAM, seed, classes.DOMAINS.index(domain), index))


def _bytes(sample: Sample) -> int:
    return sum(label_bytes(value) for value in sample.values())


def label_bytes(value: Any) -> int:
    """Memory of an image or label, in bytes."""
    if isinstance(value, ObjectLabel):
        return sum(label_bytes(part) for part in vars(value).values() if isinstance(part, torch.Tensor))
    return int(value.numel() * value.element_size())


def _copy(value: Any) -> Any:
    """A copy that keeps the type of a tv_tensor."""
    if isinstance(value, ObjectLabel):
        return value.clone()
    copied = value.detach().clone()
    return tv_tensors.wrap(copied, like=value) if isinstance(value, tv_tensors.TVTensor) else copied


def _check(tasks: Sequence[str], domain: str, indices: Sequence[int], seed: int, size: tuple[int, int]) -> None:
    unknown = [task for task in tasks if task not in TASKS]
    if unknown:
        raise ValueError(
            f"tasks contains {unknown[0]!r}, which procedural scenes do not have; known: {', '.join(TASKS)}."
        )
    if domain not in classes.DOMAINS:
        raise ValueError(f"domain is {domain!r}; expected one of {', '.join(classes.DOMAINS)}.")
    negative = [index for index in indices if index < 0]
    if negative:
        raise ValueError(f"indices contains {negative[0]}; scenes are numbered from 0 upwards, give no negative index.")
    if seed < 0:
        raise ValueError(f"seed is {seed}; expected a whole number from 0 upwards.")
    if len(size) != 2 or min(size) < 16:
        raise ValueError(f"size is {size}; expected (height, width) with at least 16 pixels each.")
