"""How long odsF takes for an image on this machine: it runs on the CPU, whatever trains the model."""

from __future__ import annotations

import time

import numpy as np
from scipy.ndimage import gaussian_filter

from client_app.metrics.edge.counts import EdgeImage, image_counts
from client_app.metrics.edge.protocol import EdgeProtocol
from client_app.metrics.edge.thinning import thin

__all__ = ["contour_image", "seconds_per_edge_image"]

_IMAGES = 2


def seconds_per_edge_image(height: int, width: int, max_distance: float) -> float:
    """Measure the CPU seconds of one process for an image of drawn outlines.

    Args:
        height: of the image, in pixels.
        width: the same.
        max_distance: furthest match as a fraction of the diagonal.
    """
    protocol = EdgeProtocol(max_distance=max_distance)
    rng = np.random.default_rng((0, height, width))
    images = [contour_image(height, width, rng) for _ in range(_IMAGES)]
    image_counts(contour_image(32, 32, rng), protocol)  # imports and first calls
    started = time.process_time()
    for image in images:
        image_counts(image, protocol)
    return (time.process_time() - started) / _IMAGES


def contour_image(height: int, width: int, rng: np.random.Generator) -> EdgeImage:
    """Return an image whose annotation is the outline of random discs and whose prediction is a poor copy of it."""
    y, x = np.mgrid[:height, :width]
    labels = np.zeros((height, width), dtype=np.int64)
    for disc in range(1, 13):
        radius = rng.uniform(0.08, 0.25) * height
        labels[np.hypot(y - rng.uniform(0, height), x - rng.uniform(0, width)) < radius] = disc
    boundary = np.zeros(labels.shape, dtype=np.bool_)
    boundary[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    boundary[:-1] |= labels[:-1] != labels[1:]
    blurred = gaussian_filter(np.roll(boundary, 1, axis=1).astype(np.float64), 1.5)
    noisy = blurred / blurred.max() + 0.15 * gaussian_filter(rng.random(labels.shape), 1.0)
    return EdgeImage(np.floor(255 * noisy / noisy.max()).astype(np.uint8), thin(boundary)[None])
