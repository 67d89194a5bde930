"""Human parts: background and six body parts per pixel."""

from client_app.tasks.pixel_classes import PixelClasses


class HumanParts(PixelClasses):
    """Cross-entropy over valid pixels, weight 2, scored by mIoU including background (FedHCA2 losses and weights)."""

    name = "parts"
    loss_weight = 2.0
