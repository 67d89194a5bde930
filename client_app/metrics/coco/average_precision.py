"""Average precision of masks, boxes and keypoints: COCO's tables, computed by faster-coco-eval."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from faster_coco_eval import COCO, COCOeval_faster
from faster_coco_eval.core import mask as run_length
from fmtl_datasets.shared.objects import Instances
from torch import Tensor

from client_app.metrics.base import Metric, MetricUnavailable
from client_app.pictures.detections import DetectionOutput, Detections

Entry = dict[str, Any]
"""An object in COCO's annotation or results format, without the numbers of itself and of its image."""

BOX_AND_MASK_NUMBERS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
KEYPOINT_NUMBERS = ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl")
NO_VALUE = -1.0
"""What the library gives where there is nothing to average."""

DECIMALS = 10
"""COCO's rules add the smallest number to divisors, so that a perfect precision is a little below 1."""

GEOMETRY: Mapping[str, str] = {"segm": "segmentation", "bbox": "bbox", "keypoints": "keypoints"}
"""Field of an entry that is compared."""


class AveragePrecision(Metric):
    """Average precision in percent over all objects of the data set, which it keeps until the end.

    Class attributes: `iou_type`, COCO's word for what is compared (segm, bbox or keypoints).
    """

    higher_is_better = True
    iou_type: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self._images: list[Entry] = []
        self._labelled: list[Entry] = []
        self._predicted: list[Entry] = []

    def update(self, prediction: DetectionOutput, label: Sequence[Instances]) -> None:
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
            columns = {"score": detections.scores, **self._shapes(detections)}
            labels = {"area": truth.areas, "iscrowd": truth.crowd.int(), **self._shapes(truth)}
            self.add_image(truth.size, _entries(detections.classes, columns), _entries(truth.classes, labels))
            numbers = [detections.scores, detections.boxes]
            if self.iou_type == "keypoints" and detections.keypoints is not None:
                numbers.append(detections.keypoints)
            for values in numbers:
                self._count_non_finite(values)

    def add_image(self, size: tuple[int, int], predicted: Sequence[Entry], labelled: Sequence[Entry]) -> None:
        """Add one image.

        Args:
            size: height and width in pixels.
            predicted: what was found: category_id, score and what is compared (bbox, segmentation as compressed run
                lengths, or keypoints); objects of the same score rank in this order, as images do.
            labelled: what is annotated: category_id, area in pixels, iscrowd, bbox and what is compared.
        """
        # Numbers start at 1, as 0 stands for none.
        image_id = len(self._images) + 1
        self._images.append({"id": image_id, "height": size[0], "width": size[1]})
        self._predicted += [{**entry, "image_id": image_id} for entry in predicted]
        self._labelled += [
            {**entry, "image_id": image_id, "id": len(self._labelled) + 1 + place}
            for place, entry in enumerate(labelled)
        ]

    def compute(self) -> float:
        """Return AP in percent: the mean over IoU (OKS) thresholds 0.50 to 0.95 and classes.

        Raises:
            MetricUnavailable: no object that counts was labelled, or a predicted score, box or keypoint was not finite.
        """
        value = self.summary()["AP"]
        assert value is not None
        return value

    def details(self) -> Mapping[str, float | None]:
        """Return all numbers of COCO's table, in percent; errors as in `compute`."""
        return self.summary()

    def summary(self, iou_type: str | None = None) -> dict[str, float | None]:
        """Return AP and what else COCO's tables list, in percent; None where no labelled object is of that size.

        Args:
            iou_type: what is compared; None for what this metric is about.

        Raises:
            MetricUnavailable: as in `compute`.
        """
        self._require_finite()
        iou_type = iou_type or self.iou_type
        classes = sorted({entry["category_id"] for entry in [*self._labelled, *self._predicted]})
        truth = COCO(
            {
                "images": self._images,
                "categories": [{"id": number} for number in classes],
                "annotations": [dict(entry) for entry in self._labelled],
            }
        )
        # A mask or keypoints come without the box: an object's area would be that of the box then.
        fields = ("image_id", "category_id", "score", GEOMETRY[iou_type])
        results = truth.loadRes([{field: entry[field] for field in fields} for entry in self._predicted])
        run = COCOeval_faster(truth, results, iou_type, rle_iou_max_workers=1)
        run.run()
        if run.stats[0] == NO_VALUE:
            seen = "no object" if not self._labelled else "no object that counts (crowds do not)"
            raise MetricUnavailable(f"{self.name}: the labels hold {seen}, so recall is undefined.")
        # Beyond COCO's twelve, the library gives recalls at IoU 0.50 and 0.75.
        names = KEYPOINT_NUMBERS if iou_type == "keypoints" else BOX_AND_MASK_NUMBERS
        pairs = zip(names, run.stats.tolist(), strict=False)
        return {name: None if value == NO_VALUE else round(100.0 * value, DECIMALS) for name, value in pairs}

    def _shapes(self, objects: Detections | Instances) -> dict[str, Any]:
        """Return box, and masks or keypoints if they are compared, of each object by COCO's name of the field."""
        corners = objects.boxes.detach().cpu().double()
        shapes: dict[str, Any] = {"bbox": torch.cat([corners[:, :2], corners[:, 2:] - corners[:, :2]], dim=1)}
        if self.iou_type == "segm":
            if objects.masks is None:
                raise ValueError(f"{self.name}: the {type(objects).__name__} have no masks, which it compares.")
            shapes["segmentation"] = encoded_masks(objects.masks)
        if self.iou_type == "keypoints":
            if objects.keypoints is None:
                raise ValueError(f"{self.name}: the {type(objects).__name__} have no keypoints, which it compares.")
            shapes["keypoints"] = objects.keypoints.flatten(1)
            shapes["num_keypoints"] = (objects.keypoints[..., 2] > 0).sum(1)
        return shapes


class InstanceAP(AveragePrecision):
    """AP of instance masks in percent: COCO's mean over IoU 0.50:0.05:0.95, 101 recall points.

    The 100 detections with the highest scores of each image and class count.
    Crowds are neither found nor missed; a detection that mostly lies on one does not count. Small, medium and large
    (below 32 x 32, below 96 x 96 pixels) go by the label's annotated area and by the pixels of a predicted mask.
    """

    name = "AP"
    iou_type = "segm"

    def details(self) -> Mapping[str, float | None]:
        """Return all numbers of COCO's table for masks, and again for boxes ("box AP" and so on), in percent."""
        boxes = {f"box {name}": value for name, value in self.summary("bbox").items()}
        return {**self.summary(), **boxes}


class BoxAP(AveragePrecision):
    """AP of boxes in percent, by the same rules; masks are neither needed nor kept."""

    name = "box AP"
    iou_type = "bbox"


class KeypointAP(AveragePrecision):
    """AP of keypoints in percent: COCO's mean over object keypoint similarity 0.50:0.05:0.95.

    The 20 detections with the highest scores of each image and class count.
    The similarity of a pair is the mean of exp(-d^2 / (2 area k^2)) over the labelled keypoints, d in pixels, k twice
    COCO's spread of each keypoint. Persons without a labelled keypoint and crowds are neither found nor missed.
    """

    name = "AP"
    iou_type = "keypoints"


def encoded_masks(masks: Tensor) -> list[Entry]:
    """Return masks (n, h, w) bool as COCO's compressed run lengths."""
    pixels = np.asfortranarray(masks.cpu().numpy().astype(np.uint8).transpose(1, 2, 0))
    codes: list[Entry] = run_length.encode(pixels)
    return codes


def _entries(classes: Tensor, columns: Mapping[str, Any]) -> list[Entry]:
    """Return an entry for each object, given its class and the columns (n, ...) of its other fields."""
    lists = {
        name: values.detach().cpu().tolist() if isinstance(values, Tensor) else values
        for name, values in {"category_id": classes, **columns}.items()
    }
    return [dict(zip(lists, row, strict=True)) for row in zip(*lists.values(), strict=True)]
