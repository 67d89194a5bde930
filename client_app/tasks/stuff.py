"""Stuff segmentation: the class of every pixel that belongs to no countable object."""

from collections.abc import Mapping

from client_app.model.coco import stuff_modules
from client_app.model.task_modules import TaskModules
from client_app.tasks.pixel_classes import PixelClasses


class Stuff(PixelClasses):
    """Cross-entropy over valid pixels with weight 1, scored by mIoU; index 0 stands for all things."""

    name = "stuff"
    loss_weight = 1.0

    def modules(self, num_classes: Mapping[str, int]) -> TaskModules:
        """Return a feature pyramid and a semantic head with one channel per class."""
        return stuff_modules(self.output_channels(num_classes))
