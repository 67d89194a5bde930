"""Time and memory of indexing a COCO annotation file of the official size, beside ``json.loads`` of the whole.

    python benchmarks/coco_index.py

The file is made up (random polygons of 8 to 50 points) and written to a temporary folder; it needs 540 MB of disk.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from time import process_time

import numpy as np
from fmtl_datasets.sources.coco.categories import THINGS
from fmtl_datasets.sources.coco.format import BoxedAnnotation
from fmtl_datasets.sources.coco.index import forget_indices, load_index

from benchmarks.memory import peak_growth


def write_annotations(path: Path, images: int, objects: int) -> None:
    """Write an instances file of images of 480 x 640 pixels, its objects in random order as in the official file."""
    generator = np.random.default_rng(0)
    polygons = [
        json.dumps([generator.uniform(0, 480, 2 * points).round(2).tolist()])
        for points in generator.integers(8, 51, 2000)
    ]
    url = "http://images.cocodataset.org/train2017"
    with path.open("w", encoding="utf-8") as file:
        file.write('{"images": [')
        _write_list(
            file.write,
            (
                f'{{"license": 4,"file_name": "{number:012d}.jpg","coco_url": "{url}/{number:012d}.jpg",'
                f'"height": 480,"width": 640,"date_captured": "2013-11-14 11:18:45","id": {number}}}'
                for number in range(images)
            ),
        )
        file.write('],"annotations": [')
        _write_list(file.write, _objects(generator, polygons, images, objects))
        file.write("]}")


def _objects(generator: np.random.Generator, polygons: list[str], images: int, objects: int) -> Iterator[str]:
    categories = list(THINGS)
    for number in range(objects):
        left, top, width, height = generator.uniform((0, 0, 5, 5), (300, 200, 300, 200)).round(2).tolist()
        shape, image, category = generator.integers((0, 0, 0), (len(polygons), images, len(categories))).tolist()
        yield (
            f'{{"segmentation": {polygons[shape]},"area": {width * height / 2:.4f},"iscrowd": 0,"image_id": {image},'
            f'"bbox": [{left},{top},{width},{height}],"category_id": {categories[category]},"id": {number + 1}}}'
        )


def _write_list(write: Callable[[str], object], entries: Iterator[str]) -> None:
    for number, entry in enumerate(entries):
        write(("," if number else "") + entry)


def measure(what: str, work: Callable[[], object]) -> None:
    """Print the processor time and the memory of a piece of work."""
    start = process_time()
    grown = peak_growth(work)
    print(f"{what:40} {process_time() - start:7.2f} s {grown / 2**20:9.0f} MiB")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=118_287)
    parser.add_argument("--objects", type=int, default=860_001)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "coco"
        root.mkdir()
        path = root / "instances_train2017.json"
        write_annotations(path, arguments.images, arguments.objects)
        print(f"file of {path.stat().st_size / 1e6:.0f} MB; processor time, memory beyond what the process had")
        cache = Path(folder) / "labels"
        measure("index, kept in a folder", lambda: load_index(path, "instances", root, cache))
        forget_indices()
        measure("index from the folder", lambda: load_index(path, "instances", root, cache))
        index = load_index(path, "instances", root, cache)
        start = process_time()
        places = range(0, arguments.images, max(1, arguments.images // 1000))
        for place in places:
            index.read(place, path, BoxedAnnotation)
        print(f"{'annotations of an image, from the file':40} {(process_time() - start) / len(places) * 1e3:7.3f} ms")
        measure("json.loads of the whole", lambda: json.loads(path.read_bytes()))


if __name__ == "__main__":
    main()
