"""PQ of files against panopticapi, the library that defines it, and against its rule in sets of pixels.

panopticapi is in no package index; where it is not installed, those tests say so and are skipped:
``pip install git+https://github.com/cocodataset/panopticapi``.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from perturbed_coco import ABSENT, ANNOTATIONS, Json, load, spoiled_segments
from PIL import Image

from fmtl.scoring.panoptic import score_panoptic
from fmtl.scoring.result import ScoreOptions

Ids = npt.NDArray[np.int64]
Reference = Callable[[Path, Path], Mapping[str, float]]
PARTS = {"": None, "_th": 1, "_st": 0}
THINGS, CLASSES = 3, 6


def panopticapi_values(truth: Path, found: Path) -> dict[str, float]:
    """PQ, SQ and RQ in percent by panopticapi's own code, in this process."""
    evaluation: Any = pytest.importorskip(
        "panopticapi.evaluation",
        reason="panopticapi is not installed: pip install git+https://github.com/cocodataset/panopticapi",
    )
    labels, guesses = json.loads(truth.read_text()), json.loads(found.read_text())
    categories = {category["id"]: category for category in labels["categories"]}
    by_image = {annotation["image_id"]: annotation for annotation in guesses["annotations"]}
    pairs = [(annotation, by_image[annotation["image_id"]]) for annotation in labels["annotations"]]
    folders = (str(truth.with_suffix("")), str(found.with_suffix("")))
    counts = evaluation.pq_compute_single_core(0, pairs, *folders, categories)
    values = {}
    for ending, isthing in PARTS.items():
        means, _ = counts.pq_average(categories, None if isthing is None else isthing == 1)
        values |= {f"{key.upper()}{ending}": 100 * means[key] for key in ("pq", "sq", "rq")}
    return values


def rule_restated(truth: Path, found: Path) -> dict[str, float]:
    """The same by panopticapi's rule, every segment a set of pixels (a mask), one sentence of the rule at a time."""
    labels, guesses = json.loads(truth.read_text()), json.loads(found.read_text())
    counts = {category["id"]: [0.0, 0, 0, 0] for category in labels["categories"]}
    by_image = {annotation["image_id"]: annotation for annotation in guesses["annotations"]}
    for annotation in labels["annotations"]:
        void, objects = segment_masks(truth, annotation)
        _, guessed = segment_masks(found, by_image[annotation["image_id"]])
        count_image(void, objects, guessed, counts)
    values = {}
    for ending, isthing in PARTS.items():
        chosen = [entry["id"] for entry in labels["categories"] if isthing is None or entry["isthing"] == isthing]
        seen = [counts[number] for number in chosen if any(counts[number][1:])]
        half = [pairs + false / 2 + missed / 2 for _, pairs, false, missed in seen]
        values[f"PQ{ending}"] = 100 * np.mean([iou / all_ for (iou, *_), all_ in zip(seen, half, strict=True)])
        values[f"SQ{ending}"] = 100 * np.mean([iou / pairs if pairs else 0 for iou, pairs, *_ in seen])
        values[f"RQ{ending}"] = 100 * np.mean([pairs / all_ for (_, pairs, *_), all_ in zip(seen, half, strict=True)])
    return values


def segment_masks(path: Path, annotation: Json) -> tuple[Any, list[tuple[Json, Any]]]:
    red, green, blue = (
        np.array(Image.open(path.with_suffix("") / annotation["file_name"])).astype(int).transpose(2, 0, 1)
    )
    ids = red + 256 * green + 65536 * blue
    return ids == 0, [(segment, ids == segment["id"]) for segment in annotation["segments_info"]]


def count_image(void: Any, objects: Sequence[Any], guessed: Sequence[Any], counts: dict[int, list[float]]) -> None:
    paired_objects, paired_guesses = set(), set()
    for label, pixels in objects:
        for guess, guess_pixels in guessed:
            # A crowd is no object, and a pair has one category.
            if label["iscrowd"] or label["category_id"] != guess["category_id"]:
                continue
            # What is guessed on void is left out of the union.
            union = (pixels | guess_pixels) & ~(void & guess_pixels)
            iou = (pixels & guess_pixels).sum() / union.sum()
            if iou > 0.5:
                counts[label["category_id"]][0] += iou
                counts[label["category_id"]][1] += 1
                paired_objects.add(label["id"])
                paired_guesses.add(guess["id"])
    for guess, guess_pixels in guessed:
        if guess["id"] in paired_guesses:
            continue
        # A guess is not false if more than half of it is on void and on the crowd of its category.
        excused = void.copy()
        for label, pixels in objects:
            if label["iscrowd"] and label["category_id"] == guess["category_id"]:
                excused |= pixels
        if (guess_pixels & excused).sum() / guess_pixels.sum() <= 0.5:
            counts[guess["category_id"]][2] += 1
    for label, _ in objects:
        if not label["iscrowd"] and label["id"] not in paired_objects:
            counts[label["category_id"]][3] += 1


def write(path: Path, categories: Sequence[Json], images: Sequence[tuple[int, Ids, list[Json]]]) -> Path:
    """Write a panoptic JSON file, and the PNG files beside it."""
    folder = path.with_suffix("")
    folder.mkdir()
    annotations = []
    for image_id, ids, listed in images:
        colours = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1).astype(np.uint8)
        Image.fromarray(colours).save(folder / f"{image_id}.png")
        entries = [{"iscrowd": 0, **entry, "area": int((ids == entry["id"]).sum())} for entry in listed]
        annotations.append({"image_id": image_id, "file_name": f"{image_id}.png", "segments_info": entries})
    images_listed = [{"id": number, "height": ids.shape[0], "width": ids.shape[1]} for number, ids, _ in images]
    content = {"images": images_listed, "annotations": annotations, "categories": categories}
    path.write_text(json.dumps(content))
    return path


def write_both(
    folder: Path, categories: Sequence[Json], images: Sequence[tuple[int, Ids, list[Json]]]
) -> tuple[Path, Path]:
    """Write labels, and predictions spoiled from them; every label and most predictions have void."""
    spoiled = []
    for image_id, ids, listed in images:
        guess, found = spoiled_segments(ids, listed, [entry["id"] for entry in categories], image_id)
        spoiled.append((image_id, guess, found))
    assert any((guess == 0).any() for _, guess, _ in spoiled)
    return write(folder / "truth.json", categories, images), write(folder / "found.json", categories, spoiled)


def drawn_image(seed: int) -> tuple[int, Ids, list[Json]]:
    """Rectangles over each other with void between them; every third image or so has a crowd of a thing."""
    draw = np.random.default_rng(seed)
    ids = np.zeros((60, 80), dtype=np.int64)
    for number in range(1, 13):
        top, left = draw.integers(0, 50), draw.integers(0, 70)
        ids[top : top + draw.integers(5, 40), left : left + draw.integers(5, 40)] = number * 300
    numbers = [int(number) for number in np.unique(ids) if number]
    stuff = {number: 10 + THINGS + kind for kind, number in enumerate(numbers[: CLASSES - THINGS])}
    listed = [{"id": number, "category_id": stuff.get(number, 10 + number // 300 % THINGS)} for number in numbers]
    crowds: set[int] = set()
    for entry in listed:
        category = entry["category_id"]
        # Of several crowds of a category panopticapi knows one, which COCO never has more of.
        is_crowd = entry["id"] not in stuff and category not in crowds and draw.random() < 0.4
        entry["iscrowd"] = int(is_crowd)
        crowds |= {category} if is_crowd else set()
    return seed, ids, listed


REFERENCES = pytest.mark.parametrize("reference", [panopticapi_values, rule_restated])


def assert_equal(reference: Reference, truth: Path, found: Path) -> None:
    expected = reference(truth, found)
    ours = score_panoptic(found, truth, ScoreOptions()).details
    assert 5 < expected["PQ"] < 95
    assert set(ours) == set(expected)
    for name, value in expected.items():
        assert ours[name] == pytest.approx(value, abs=1e-6), name


@REFERENCES
def test_equal_on_drawn_maps_with_crowds_and_predicted_void(reference: Reference, tmp_path: Path) -> None:
    categories = [{"id": 10 + kind, "isthing": int(kind < THINGS)} for kind in range(CLASSES)]
    images = [drawn_image(seed) for seed in range(1, 41)]
    assert sum(entry["iscrowd"] for _, _, listed in images for entry in listed) > 10
    assert_equal(reference, *write_both(tmp_path, categories, images))


@pytest.mark.skipif(not ANNOTATIONS.is_dir(), reason=ABSENT)
@REFERENCES
def test_equal_on_spoiled_real_maps(reference: Reference, tmp_path: Path) -> None:
    file = load(ANNOTATIONS / "panoptic_val2017.json")
    crowded = [entry for entry in file["annotations"] if any(part["iscrowd"] for part in entry["segments_info"])]
    plain = [entry for entry in file["annotations"] if entry not in crowded]
    assert len(crowded) > 3
    images = []
    for annotation in (*crowded, *plain[:30]):
        pixels = np.asarray(Image.open(ANNOTATIONS / "panoptic_val2017" / annotation["file_name"])).astype(np.int64)
        ids = pixels @ np.array([1, 256, 65536])
        images.append((annotation["image_id"], ids, annotation["segments_info"]))
    assert_equal(reference, *write_both(tmp_path, file["categories"], images))
