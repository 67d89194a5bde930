"""Keypoints: the box and the 17 keypoints of every person."""

from collections.abc import Mapping

from client_app.metrics.base import Metric
from client_app.metrics.coco import KeypointAP
from client_app.model.coco import keypoint_modules
from client_app.model.task_modules import TaskModules
from client_app.tasks.object_task import ObjectTask


class Keypoints(ObjectTask):
    """Keypoint R-CNN (arXiv 1703.06870, section 5): five losses with weight 1, scored by COCO's AP over OKS."""

    name = "keypoints"
    metric_name = KeypointAP.name

    def modules(self, num_classes: Mapping[str, int]) -> TaskModules:
        """Return a feature pyramid and Keypoint R-CNN's head."""
        return keypoint_modules(self.smallest_anchor)

    def new_metric(self, num_classes: Mapping[str, int]) -> Metric:
        """Return an empty AP."""
        return KeypointAP()
