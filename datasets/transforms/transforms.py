"""Joint transforms: an image and all its labels move together (methods 3.4).

Every random choice is drawn from a ``torch.Generator`` that the caller passes with the sample; nothing touches the
global random state. The published training chain is: random scale, random crop, flip, photometric distortion,
normalisation, centre padding, ignore regions. ``flip`` and ``none`` leave out the first steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from fmtl_datasets.shared.colour import distort_colours, normalise
from fmtl_datasets.shared.conventions import CLASS_TASKS, IGNORE, LABEL_KINDS, Sample
from fmtl_datasets.shared.edge_annotators import EDGE_ANNOTATORS, UNKNOWN
from fmtl_datasets.shared.nearest import nearest_pixels
from fmtl_datasets.shared.objects import ObjectLabel
from torch import Generator, Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as geometry

AugmentKind = Literal["none", "flip", "reference"]
Normalisation = Literal["imagenet", "half"]
TrainingTransform = Callable[[Sample, Generator], Sample]
EvaluationTransform = Callable[[Sample], Sample]

SCALE_RANGE = (0.5, 2.0)
CROP_RETRIES = 10
CAT_MAX_RATIO = 0.75


def uniform(generator: Generator, low: float, high: float) -> float:
    """One number from U[low, high)."""
    return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))


def chance(generator: Generator, probability: float) -> bool:
    """True with the given probability."""
    return uniform(generator, 0.0, 1.0) < probability


def flip(sample: Sample) -> Sample:
    """Mirror left and right: normals get their x negated, keypoints change sides.

    Args:
        sample: image and labels before collation.

    Returns:
        A new sample; flipping it again gives the first one back.
    """
    flipped: Sample = {}
    for key, value in sample.items():
        if isinstance(value, ObjectLabel):
            flipped[key] = value.flipped()
        elif isinstance(value, tv_tensors.TVTensor):
            flipped[key] = geometry.horizontal_flip(value)
        else:
            flipped[key] = value
    for key in flipped:
        if LABEL_KINDS.get(key) == "vectors":
            sign = torch.tensor([-1.0, 1.0, 1.0])[:, None, None]
            flipped[key] = tv_tensors.Mask(flipped[key].as_subclass(Tensor) * sign)
    return flipped


def rescale(sample: Sample, factor: float) -> Sample:
    """Zoom: image bilinear, labels nearest, depth divided by the factor (a closer camera sees things larger).

    Args:
        sample: image and labels before collation.
        factor: new side / old side.

    Returns:
        A new sample whose sides are the old ones times ``factor``, rounded.
    """
    height, width = sample["image"].shape[-2:]
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    scaled: Sample = {}
    for key, value in sample.items():
        if key == "image":
            # Without antialiasing, as the bilinear resizing of OpenCV that the published chain uses.
            scaled[key] = geometry.resize(value, list(size), InterpolationMode.BILINEAR, antialias=False)
        elif isinstance(value, ObjectLabel):
            scaled[key] = value.resized(size)
        elif isinstance(value, tv_tensors.Mask):
            label = nearest_pixels(value, size)
            scaled[key] = tv_tensors.Mask(label / factor if LABEL_KINDS.get(key) == "metres" else label)
        else:
            scaled[key] = value
    return scaled


@dataclass(frozen=True)
class Window:
    """A rectangle of pixels: first row, first column, height, width."""

    top: int
    left: int
    height: int
    width: int


def draw_window(sample: Sample, size: tuple[int, int], generator: Generator) -> Window:
    """Choose where to crop: a window in which no semseg class fills 75 % or more of the labelled pixels.

    A window that does not pass, or shows a single class, is drawn again at most ten times, and only where the sample
    has semseg, as the published chain does; the last one drawn is then taken as it is.

    Args:
        sample: image and labels before collation.
        size: height and width of the window; a smaller image is kept whole in that direction.
        generator: source of randomness.

    Returns:
        The window.
    """
    window = _random_window(sample["image"].shape[-2:], size, generator)
    if "semseg" not in sample:
        return window
    for _ in range(CROP_RETRIES):
        labels = _cut(sample["semseg"].as_subclass(Tensor), window)
        counts = torch.bincount(labels[labels != IGNORE].flatten())
        if int((counts > 0).sum()) > 1 and counts.max() / counts.sum() < CAT_MAX_RATIO:
            break
        window = _random_window(sample["image"].shape[-2:], size, generator)
    return window


def _random_window(image: torch.Size, size: tuple[int, int], generator: Generator) -> Window:
    starts, lengths = [], []
    for side, wanted in zip(image, size, strict=True):
        lengths.append(min(side, wanted))
        starts.append(int(torch.randint(side - lengths[-1] + 1, (), generator=generator)))
    return Window(starts[0], starts[1], lengths[0], lengths[1])


def _cut(value: Tensor, window: Window) -> Tensor:
    return value[..., window.top : window.top + window.height, window.left : window.left + window.width]


def crop(sample: Sample, window: Window) -> Sample:
    """Cut a window out of the image and all labels; objects outside it are dropped.

    Args:
        sample: image and labels before collation.
        window: which pixels to keep.

    Returns:
        A new sample.
    """
    cropped: Sample = {}
    for key, value in sample.items():
        if isinstance(value, ObjectLabel):
            cropped[key] = value.cropped(window.top, window.left, window.height, window.width)
        elif isinstance(value, tv_tensors.TVTensor):
            cropped[key] = geometry.crop(value, window.top, window.left, window.height, window.width)
        else:
            cropped[key] = value
    return cropped


def pad(sample: Sample, size: tuple[int, int]) -> Sample:
    """Pad to a size, the image in the centre: image 0, classes 255, normals and depth 0, annotators' edges -1.

    Objects move with the image.

    Args:
        sample: image (already normalised, so that 0 is its mean) and labels.
        size: height and width in pixels.

    Returns:
        A new sample of exactly that size.

    Raises:
        ValueError: the image is larger than the size.
    """
    height, width = sample["image"].shape[-2:]
    if height > size[0] or width > size[1]:
        raise ValueError(
            f"image-size = [{size[0]}, {size[1]}] is smaller than an image of {height} x {width} pixels. "
            f"Use fit: resize, or an image-size that holds every image."
        )
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    borders = [left, top, size[1] - width - left, size[0] - height - top]
    if not any(borders):
        return dict(sample)
    padded: Sample = {}
    for key, value in sample.items():
        if isinstance(value, ObjectLabel):
            padded[key] = value.padded(top, left, size)
        elif isinstance(value, tv_tensors.TVTensor):
            padded[key] = geometry.pad(value, borders, fill=_border_value(key))
        else:
            padded[key] = value
    return padded


def _border_value(key: str) -> int:
    if key == EDGE_ANNOTATORS:
        return UNKNOWN
    return IGNORE if key in CLASS_TASKS else 0


def mark_ignored(sample: Sample) -> Sample:
    """Ignore the parts label of an image (or crop) without any person, as the published chain does.

    Invalid depth stays 0 and invalid normals stay zero vectors: those are the marks this project uses, where the
    published code writes 255 into both.
    """
    parts = sample.get("parts")
    if parts is None:
        return sample
    plain = parts.as_subclass(Tensor)
    if bool(((plain > 0) & (plain != IGNORE)).any()):
        return sample
    return {**sample, "parts": tv_tensors.Mask(torch.full_like(plain, IGNORE))}


def training_transform(kind: AugmentKind, size: tuple[int, int], normalisation: Normalisation) -> TrainingTransform:
    """The chain a training sample goes through.

    Args:
        kind: ``none``; ``flip`` (p = 0.5); or ``reference`` (scale, crop, flip and colours as published).
        size: height and width of the result in pixels.
        normalisation: ``imagenet`` or ``half``.

    Returns:
        A function of a sample and a generator; equal generator states give equal results.

    Raises:
        ValueError: unknown kind.
    """
    if kind not in ("none", "flip", "reference"):
        raise ValueError(f"augment = {kind!r} is not known; expected none, flip or reference.")

    def transform(sample: Sample, generator: Generator) -> Sample:
        """Apply the chain once, with draws from the generator."""
        # The drawings of single annotators serve scoring only, and random scaling would break their thin lines.
        sample = {key: value for key, value in sample.items() if key != EDGE_ANNOTATORS}
        if kind == "reference":
            sample = rescale(sample, uniform(generator, *SCALE_RANGE))
            sample = crop(sample, draw_window(sample, size, generator))
        if kind != "none" and chance(generator, 0.5):
            sample = flip(sample)
        if kind == "reference":
            sample = {**sample, "image": distort_colours(sample["image"], generator)}
        return _finish(sample, size, normalisation)

    return transform


def evaluation_transform(size: tuple[int, int], normalisation: Normalisation) -> EvaluationTransform:
    """The chain an evaluated sample goes through: normalisation, centre padding, ignore regions; no resizing.

    Args:
        size: height and width of the result in pixels.
        normalisation: ``imagenet`` or ``half``.

    Returns:
        A function of a sample.
    """
    return lambda sample: _finish(sample, size, normalisation)


def _finish(sample: Sample, size: tuple[int, int], normalisation: Normalisation) -> Sample:
    return mark_ignored(pad({**sample, "image": normalise(sample["image"], normalisation)}, size))


def to_batch(samples: list[Sample]) -> dict[str, Any]:
    """Collate transformed samples.

    Args:
        samples: at least one; all with the same keys and sizes.

    Returns:
        ``image`` float32 (B, 3, H, W); class maps int64 (B, H, W); ``normals`` float32 (B, 3, H, W); ``depth`` and
        ``edge`` float32 (B, 1, H, W), edges with 255 = ignore; ``edge-annotators`` int32 (B, H, W); object labels as
        lists with one for each image.

    Raises:
        ValueError: no samples, different keys, or an image that was not normalised.
    """
    if not samples:
        raise ValueError("a batch needs at least one sample; the data set or the batch is empty.")
    if any(sample.keys() != samples[0].keys() for sample in samples):
        raise ValueError("the samples of a batch must have the same keys; they come from different data sets.")
    if not samples[0]["image"].is_floating_point():
        raise ValueError("the image is not normalised; apply training_transform or evaluation_transform first.")
    return {key: _collate(key, [sample[key] for sample in samples]) for key in samples[0]}


def _collate(key: str, values: list[Any]) -> Any:
    if isinstance(values[0], ObjectLabel):
        return values
    stacked = torch.stack([value.as_subclass(Tensor) for value in values])
    if key == "edge":
        return stacked[:, None].float()
    return stacked.long() if key in CLASS_TASKS else stacked
