"""Metrics of COCO's object tasks: average precision of masks, boxes and keypoints, and panoptic quality."""

from client_app.metrics.coco.instances import BoxAP, InstanceAP
from client_app.metrics.coco.keypoints import KeypointAP
from client_app.metrics.coco.panoptic import PanopticQuality

__all__ = ["BoxAP", "InstanceAP", "KeypointAP", "PanopticQuality"]
