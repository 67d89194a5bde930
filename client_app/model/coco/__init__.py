"""Decoders and heads of the COCO tasks, made of torchvision's detection parts; the encoder is the one all tasks use."""

from client_app.model.coco.detection import DetectionHead, DetectionPrediction, DetectionSettings
from client_app.model.coco.modules import instance_modules, keypoint_modules, panoptic_modules, stuff_modules
from client_app.model.coco.panoptic import PanopticHead, PanopticPrediction, PanopticSettings
from client_app.model.coco.pyramid import FeaturePyramid
from client_app.model.coco.semantic import SemanticHead

__all__ = [
    "DetectionHead",
    "DetectionPrediction",
    "DetectionSettings",
    "FeaturePyramid",
    "PanopticHead",
    "PanopticPrediction",
    "PanopticSettings",
    "SemanticHead",
    "instance_modules",
    "keypoint_modules",
    "panoptic_modules",
    "stuff_modules",
]
