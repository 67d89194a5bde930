"""Instance segmentation: class, box and mask of every object."""

from collections.abc import Mapping

from client_app.metrics.base import Metric
from client_app.metrics.coco import InstanceAP
from client_app.model.coco import instance_modules
from client_app.model.task_modules import TaskModules
from client_app.tasks.object_task import ObjectTask, thing_count


class InstanceSegmentation(ObjectTask):
    """Mask R-CNN (arXiv 1703.06870): five losses with weight 1, scored by COCO's AP of masks."""

    name = "instance"
    metric_name = InstanceAP.name

    def modules(self, num_classes: Mapping[str, int]) -> TaskModules:
        """Return a feature pyramid and Mask R-CNN's head."""
        return instance_modules(thing_count(num_classes, self.name), self.smallest_anchor)

    def new_metric(self, num_classes: Mapping[str, int]) -> Metric:
        """Return an empty AP."""
        return InstanceAP()
