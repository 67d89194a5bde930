"""Metrics of COCO's object tasks: average precision of masks, boxes and keypoints, and panoptic quality."""

from client_app.metrics.coco.average_precision import BoxAP, InstanceAP, KeypointAP
from client_app.metrics.coco.panoptic import PanopticQuality

__all__ = ["BoxAP", "InstanceAP", "KeypointAP", "PanopticQuality"]
