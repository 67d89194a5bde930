"""Panoptic segmentation: every pixel belongs to an object or to a stuff class."""

from collections.abc import Mapping

from fmtl_datasets.shared.conventions import PANOPTIC_THINGS

from client_app.metrics.base import Metric
from client_app.metrics.coco import PanopticQuality
from client_app.model.coco import PanopticSettings, panoptic_modules
from client_app.model.task_modules import TaskModules
from client_app.tasks.object_task import ObjectTask, thing_count


class Panoptic(ObjectTask):
    """Panoptic FPN (arXiv 1901.02446): the instance losses and a semantic one with weight 1, scored by PQ."""

    name = "panoptic"
    metric_name = PanopticQuality.name

    def modules(self, num_classes: Mapping[str, int]) -> TaskModules:
        """Return a feature pyramid and a head for instances and stuff."""
        things = thing_count(num_classes, PANOPTIC_THINGS)
        return panoptic_modules(PanopticSettings(thing_count(num_classes, self.name), things, self.smallest_anchor))

    def new_metric(self, num_classes: Mapping[str, int]) -> Metric:
        """Return an empty PQ over the data set's classes."""
        return PanopticQuality(thing_count(num_classes, self.name), thing_count(num_classes, PANOPTIC_THINGS))
