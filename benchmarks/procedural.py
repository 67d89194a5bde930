"""How fast procedural scenes are drawn: ``python benchmarks/procedural.py`` prints JSON.

Runs on one core. Rates are images per second with the labels of all ten tasks; ``cached`` reads them again
from memory. Under other load, the rate per second of processor time and the best of several passes say most
about the code itself.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
import torch
from fmtl_datasets.shared.conventions import TASKS
from fmtl_datasets.sources.procedural import DOMAINS, ProceduralScenes
from fmtl_datasets.sources.procedural.classes import Domain
from fmtl_datasets.sources.procedural.dataset import label_bytes


def measure(domain: Domain, images: int, size: int, passes: int) -> dict[str, float]:
    """Rates of drawing and of reading again.

    Args:
        domain: which scenes.
        images: number of scenes in one pass.
        size: image height and width in pixels.
        passes: how often to draw them all.

    Returns:
        Images per second of the best and of the median pass, from the cache, and mebibytes per image.
    """
    rates, work = [], []
    for _ in range(passes):
        data = ProceduralScenes(TASKS, domain=domain, indices=range(images), size=(size, size), cache_bytes=2**31)
        start = time.process_time()
        rates.append(_rate(data))
        work.append(images / (time.process_time() - start))
    held = sum(label_bytes(value) for value in data[0].values())
    return {
        "best": round(max(rates), 1),
        "median": round(float(np.median(rates)), 1),
        "best_per_processor_second": round(max(work), 1),
        "cached": round(_rate(data), 1),
        "mebibytes_per_image": round(held / 2**20, 3),
    }


def _rate(data: ProceduralScenes) -> float:
    start = time.perf_counter()
    for i in range(len(data)):
        data[i]
    return len(data) / (time.perf_counter() - start)


def main() -> None:
    """Measure both domains and print one JSON object."""
    parser = argparse.ArgumentParser(description="Images per second of the procedural scenes, on one core.")
    parser.add_argument("--images", type=int, default=100, help="scenes in one pass")
    parser.add_argument("--size", type=int, default=128, help="image height and width in pixels")
    parser.add_argument("--passes", type=int, default=5, help="how often to draw them all")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    ProceduralScenes(TASKS, domain="indoor", indices=[0])[0]
    result = {
        "processor": platform.processor() or platform.machine(),
        "size": arguments.size,
        "tasks": len(TASKS),
        "load_average": round(os.getloadavg()[0], 2),
        "images_per_second": {
            domain: measure(domain, arguments.images, arguments.size, arguments.passes)  # type: ignore[arg-type]
            for domain in DOMAINS
        },
    }
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
