"""Average precision of instances, and of their boxes alone."""

from __future__ import annotations

from collections.abc import Mapping

from client_app.metrics.coco.average_precision import AveragePrecision, prefixed


class InstanceAP(AveragePrecision):
    """AP of instance masks in percent: COCO's mean over IoU 0.50:0.05:0.95, 101 recall points.

    The 100 detections with the highest scores of each image and class count.
    Crowds are neither found nor missed; a detection that mostly lies on one does not count. Small, medium and large
    (below 32 x 32, below 96 x 96 pixels) go by the label's annotated area and by the pixels of a predicted mask.
    """

    name = "AP"
    iou_type = "segm"
    geometry = "masks"

    def details(self) -> Mapping[str, float | None]:
        """Return all numbers of COCO's table for masks, and again for boxes ("box AP" and so on), in percent."""
        return {**self.summary(), **prefixed("box", self._summary("bbox"))}


class BoxAP(AveragePrecision):
    """AP of boxes in percent, by the same rules; masks are neither needed nor kept."""

    name = "box AP"
    iou_type = "bbox"
    geometry = None

    def details(self) -> Mapping[str, float | None]:
        """Return all numbers of COCO's table, in percent."""
        return self.summary()
