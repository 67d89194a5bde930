"""Average precision of person keypoints."""

from __future__ import annotations

from collections.abc import Mapping

from client_app.metrics.coco.average_precision import AveragePrecision


class KeypointAP(AveragePrecision):
    """AP of keypoints in percent: COCO's mean over object keypoint similarity 0.50:0.05:0.95.

    The 20 detections with the highest scores of each image and class count.
    The similarity of a pair is the mean of exp(-d^2 / (2 area k^2)) over the labelled keypoints, d in pixels, k twice
    COCO's spread of each keypoint. Persons without a labelled keypoint and crowds are neither found nor missed.
    """

    name = "AP"
    iou_type = "keypoints"
    geometry = "keypoints"

    def details(self) -> Mapping[str, float | None]:
        """Return all numbers of COCO's table for keypoints, in percent."""
        return self.summary()
