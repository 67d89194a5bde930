"""Semantic segmentation: a class per pixel."""

from client_app.tasks.pixel_classes import PixelClasses


class SemanticSegmentation(PixelClasses):
    """Cross-entropy over valid pixels, weight 1, scored by mIoU (FedHCA2 losses and weights)."""

    name = "semseg"
    loss_weight = 1.0
