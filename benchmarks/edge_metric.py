"""Time of odsF per image, and its counts beside those of pyEdgeEval on the same input; prints JSON.

    python benchmarks/edge_metric.py --images 2 --reference-thresholds 5

Inputs are drawn from a seed: closed contours as annotation, and a blurred, shifted, noisy copy as prediction. Times
are CPU time of one process. The reference gets the suppressed map and so repeats thinning and matching only.
"""

import argparse
import importlib.util
import json
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from client_app.metrics.edge.counts import EdgeCounts, EdgeImage, image_counts, passed_thresholds
from client_app.metrics.edge.nms import edge_strength
from client_app.metrics.edge.protocol import EdgeProtocol
from client_app.metrics.edge.thinning import thin

SIZES = ((120, 160), (321, 481))
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Reference:
    """What pyEdgeEval adds: milliseconds per threshold, and how far the matched pixels differ."""

    milliseconds_per_threshold: float
    matched: int
    matched_here: int


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


def timed_counts(image: EdgeImage, protocol: EdgeProtocol) -> tuple[EdgeCounts, float]:
    """Return the counts and the CPU milliseconds they took."""
    start = time.process_time()
    counts = image_counts(image, protocol)
    return counts, 1e3 * (time.process_time() - start)


def compare(image: EdgeImage, counts: EdgeCounts, protocol: EdgeProtocol, thresholds: int) -> Reference:
    """Run pyEdgeEval on some thresholds of one image."""
    import pyEdgeEval
    from pyEdgeEval._lib import correspond_pixels

    path = Path(pyEdgeEval.__path__[0]) / "preprocess" / "thin" / "thin.py"
    # Loaded by path: importing its package `preprocess` needs OpenCV, which thinning does not.
    spec = importlib.util.spec_from_file_location("reference_thin", path)
    if spec is None or spec.loader is None:
        raise FileNotFoundError(f"pyEdgeEval has no {path}; use version 0.1 or later.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    levels = passed_thresholds(edge_strength(image.probability.astype(np.float64), protocol), protocol)
    chosen = np.unique(np.linspace(0, protocol.thresholds * 0.7, thresholds).astype(np.int64))
    matched, start = 0, time.process_time()
    for threshold in chosen:
        first, _, _, _ = correspond_pixels(
            module.binary_thin(levels > threshold), image.annotators[0], max_dist=protocol.max_distance
        )
        matched += int(np.count_nonzero(first))
    milliseconds = 1e3 * (time.process_time() - start) / len(chosen)
    return Reference(milliseconds, matched, int(counts["matched_predicted"][chosen].sum()))


def measure(size: tuple[int, int], images: int, reference_thresholds: int) -> dict[str, object]:
    """Measure one image size."""
    protocol = EdgeProtocol(max_distance=0.011)
    rng = np.random.default_rng((0, *size))
    inputs = [contour_image(*size, rng) for _ in range(images)]
    image_counts(inputs[0], protocol)  # imports and first calls
    full = [timed_counts(image, protocol) for image in inputs]
    fast = [timed_counts(image, replace(protocol, thresholds=9))[1] for image in inputs]
    result: dict[str, object] = {
        "height": size[0],
        "width": size[1],
        "images": images,
        "milliseconds_per_image_99_thresholds": round(float(np.median([time_ for _, time_ in full])), 1),
        "milliseconds_per_image_9_thresholds": round(float(np.median(fast)), 1),
    }
    if reference_thresholds and importlib.util.find_spec("pyEdgeEval") is not None:
        references = [
            compare(image, counts, protocol, reference_thresholds)
            for image, (counts, _) in zip(inputs, full, strict=True)
        ]
        matched, here = (sum(getattr(each, key) for each in references) for key in ("matched", "matched_here"))
        per_threshold = float(np.median([each.milliseconds_per_threshold for each in references]))
        result["pyedgeeval_milliseconds_per_threshold"] = round(per_threshold, 1)
        result["pyedgeeval_milliseconds_99_thresholds_extrapolated"] = round(99 * per_threshold, 1)
        result["matched_pixels"] = here
        result["matched_pixels_pyedgeeval"] = matched
        result["matched_relative_difference"] = (here - matched) / max(matched, 1)
    return result


def main() -> None:
    """Parse the command line and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=3, help="images of each size")
    parser.add_argument(
        "--reference-thresholds", type=int, default=5, help="thresholds to repeat with pyEdgeEval; 0: none"
    )
    arguments = parser.parse_args()
    if arguments.images < 1:
        parser.error("--images must be at least 1")
    sizes = [measure(size, arguments.images, arguments.reference_thresholds) for size in SIZES]
    print(json.dumps({"benchmark": "edge_metric", "sizes": sizes}, indent=2))


if __name__ == "__main__":
    main()
