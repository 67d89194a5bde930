"""What the metrics of average precision have in common: objects in, pycocotools' numbers out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
from fmtl_datasets.shared.objects import Instances

from client_app.metrics.base import Array, MetricUnavailable
from client_app.metrics.coco.objects import (
    KEYPOINT_VALUES,
    LabelledObjects,
    PredictedObjects,
    labelled_objects,
    predicted_objects,
)
from client_app.metrics.coco.pycocotools_quiet import annotation_set, evaluation
from client_app.metrics.records import RecordMetric
from client_app.pictures.detections import Detections

BOX_AND_MASK_NUMBERS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
KEYPOINT_NUMBERS = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")
NO_VALUE = -1.0
"""What pycocotools gives where there is nothing to average."""

DECIMALS = 10
"""pycocotools adds the smallest number to its divisors, so that a perfect precision is a little below 1."""


class HasDetections(Protocol):
    """A prediction that can say what it found in each image; see `client_app.pictures.detections.DetectionOutput`."""

    def detections(self) -> list[Detections]:
        """Return what was found in each image."""
        ...


class AveragePrecision(RecordMetric):
    """Average precision in percent, computed by pycocotools over all objects of the data set.

    Class attributes: `iou_type`, pycocotools' word for what is compared (segm, bbox or keypoints); `geometry`, the
    fields of `PredictedObjects` and `LabelledObjects` that this needs beside classes, scores, areas and boxes.
    """

    higher_is_better = True
    unit = "%"
    iou_type: ClassVar[str]
    geometry: ClassVar[str | None]

    def __init__(self) -> None:
        records: dict[str, Array] = {
            "image": np.zeros((0, 4), np.int64),
            "predicted_class": np.zeros(0, np.int64),
            "predicted_score": np.zeros(0, np.float64),
            "predicted_box": np.zeros((0, 4), np.float64),
            "labelled_class": np.zeros(0, np.int64),
            "labelled_area": np.zeros(0, np.float64),
            "labelled_crowd": np.zeros(0, np.bool_),
            "labelled_box": np.zeros((0, 4), np.float64),
        }
        for side in ("predicted", "labelled"):
            if self.geometry == "masks":
                records[f"{side}_mask_length"] = np.zeros(0, np.int64)
                records[f"{side}_mask"] = np.zeros(0, np.uint8)
            elif self.geometry == "keypoints":
                records[f"{side}_keypoints"] = np.zeros((0, KEYPOINT_VALUES), np.float64)
        super().__init__({"non_finite": np.zeros((), dtype=np.int64)}, records)

    def update(self, prediction: HasDetections, label: Sequence[Instances]) -> None:
        """Add one batch: the output of a detection head, and the label of each image.

        Raises:
            ValueError: another number or size of images, or masks or keypoints that are needed are missing.
        """
        found = prediction.detections()
        if len(found) != len(label):
            raise ValueError(
                f"{self.name}: the model gave detections of {len(found)} images, but there are {len(label)} labels."
            )
        for detections, truth in zip(found, label, strict=True):
            if tuple(detections.size) != tuple(truth.size):
                raise ValueError(
                    f"{self.name}: detections are of an image of {detections.size}, its label of {truth.size} (height, "
                    "width). Give detections at the size of the image that the model was given."
                )
            self.add_image(truth.size, predicted_objects(detections), labelled_objects(truth))

    def add_image(self, size: tuple[int, int], predicted: PredictedObjects, labelled: LabelledObjects) -> None:
        """Add one image.

        Args:
            size: height and width in pixels.
            predicted: what was found; objects of the same score rank in this order, as images do.
            labelled: what is annotated.

        Raises:
            ValueError: masks or keypoints that are needed are missing.
        """
        self._append(
            image=np.array([[*size, len(predicted.classes), len(labelled.classes)]]),
            predicted_class=predicted.classes,
            predicted_score=predicted.scores,
            predicted_box=predicted.boxes,
            labelled_class=labelled.classes,
            labelled_area=labelled.areas,
            labelled_crowd=labelled.crowd,
            labelled_box=labelled.boxes,
            **self._geometry_records("predicted", predicted),
            **self._geometry_records("labelled", labelled),
        )
        values = [predicted.scores, predicted.boxes]
        if self.geometry == "keypoints" and predicted.keypoints is not None:
            values.append(predicted.keypoints)
        self._add(non_finite=np.asarray(sum(int((~np.isfinite(array)).sum()) for array in values), dtype=np.int64))

    def compute(self) -> float:
        """Return AP in percent: the mean over IoU (OKS) thresholds 0.50 to 0.95 and classes.

        Raises:
            MetricUnavailable: no object that counts was labelled, or a predicted score, box or keypoint was not finite.
        """
        value = self.summary()["AP"]
        assert value is not None
        return value

    def summary(self) -> dict[str, float | None]:
        """Return AP and what else COCO's tables list, in percent; None where no labelled object is of that size.

        Raises:
            MetricUnavailable: as in `compute`.
        """
        return self._summary(self.iou_type)

    def _summary(self, iou_type: str) -> dict[str, float | None]:
        self._require_finite()
        truth = annotation_set(self._truth())
        predicted = self._predictions(iou_type)
        results = truth.loadRes(predicted) if predicted else annotation_set({**truth.dataset, "annotations": []})
        run = evaluation(truth, results, iou_type)
        run.evaluate()
        run.accumulate()
        run.summarize()
        if run.stats[0] == NO_VALUE:
            seen = "no object" if not len(self.record("labelled_class")) else "no object that counts (crowds do not)"
            raise MetricUnavailable(f"{self.name}: the labels hold {seen}, so recall is undefined.")
        names = KEYPOINT_NUMBERS if iou_type == "keypoints" else BOX_AND_MASK_NUMBERS
        pairs = zip(names, run.stats.tolist(), strict=True)
        return {name: None if value == NO_VALUE else round(100.0 * value, DECIMALS) for name, value in pairs}

    def _geometry_records(self, side: str, objects: PredictedObjects | LabelledObjects) -> dict[str, Array]:
        if self.geometry is None:
            return {}
        shapes = getattr(objects, self.geometry)
        if shapes is None:
            raise ValueError(f"{self.name}: the {side} objects have no {self.geometry}, which it compares.")
        if self.geometry == "keypoints":
            return {f"{side}_keypoints": shapes}
        return {
            f"{side}_mask_length": np.array([len(code) for code in shapes], dtype=np.int64),
            f"{side}_mask": np.frombuffer(b"".join(shapes), dtype=np.uint8),
        }

    def _truth(self) -> dict[str, Any]:
        """Return the labels in COCO's annotation format; identifiers start at 1, as pycocotools takes 0 for none."""
        images = self.record("image")
        image_ids = np.repeat(np.arange(1, len(images) + 1), images[:, 3])
        annotations = [
            {
                "id": index + 1,
                "image_id": int(image_ids[index]),
                "category_id": int(self.record("labelled_class")[index]),
                "area": float(self.record("labelled_area")[index]),
                "iscrowd": int(self.record("labelled_crowd")[index]),
                "bbox": self.record("labelled_box")[index].tolist(),
                **shape,
            }
            for index, shape in enumerate(self._shapes("labelled", self.geometry))
        ]
        classes = np.union1d(self.record("labelled_class"), self.record("predicted_class")).tolist()
        return {
            "images": [{"id": n + 1, "height": row[0], "width": row[1]} for n, row in enumerate(images.tolist())],
            "categories": [{"id": number} for number in classes],
            "annotations": annotations,
        }

    def _predictions(self, iou_type: str) -> list[dict[str, Any]]:
        """Return the predictions in COCO's results format.

        A mask or keypoints come without the box: pycocotools would take an object's area from the box then.
        """
        images = self.record("image")
        image_ids = np.repeat(np.arange(1, len(images) + 1), images[:, 2]).tolist()
        geometry = "boxes" if iou_type == "bbox" else self.geometry
        columns = (image_ids, self.record("predicted_class").tolist(), self.record("predicted_score").tolist())
        return [
            {"image_id": image, "category_id": number, "score": score, **shape}
            for image, number, score, shape in zip(*columns, self._shapes("predicted", geometry), strict=True)
        ]

    def _shapes(self, side: str, geometry: str | None) -> list[dict[str, Any]]:
        if geometry == "boxes":
            return [{"bbox": box} for box in self.record(f"{side}_box").tolist()]
        if geometry == "keypoints":
            return [_keypoint_fields(row) for row in self.record(f"{side}_keypoints")]
        if geometry is None:
            return [{} for _ in self.record(f"{side}_class")]
        images = self.record("image")
        sizes = np.repeat(images[:, :2], images[:, 2 if side == "predicted" else 3], axis=0).tolist()
        ends = np.cumsum(self.record(f"{side}_mask_length"))
        codes = np.split(self.record(f"{side}_mask"), ends[:-1])
        return [
            {"segmentation": {"size": size, "counts": code.tobytes()}}
            for size, code in zip(sizes, codes[: len(sizes)], strict=True)
        ]


def _keypoint_fields(row: Array) -> dict[str, Any]:
    return {"keypoints": row.tolist(), "num_keypoints": int((row[2::3] > 0).sum())}


def prefixed(prefix: str, numbers: Mapping[str, float | None]) -> dict[str, float | None]:
    """Return numbers with a word before each name."""
    return {f"{prefix} {name}": value for name, value in numbers.items()}
