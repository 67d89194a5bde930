"""Human parts: background and six body parts per pixel."""

from collections.abc import Mapping

from torch import Tensor

from client_app.metrics.base import Metric
from client_app.metrics.mean_iou import MeanIoU
from client_app.tasks.base import Task, class_count, mean_cross_entropy


class HumanParts(Task):
    """Cross-entropy over valid pixels, weight 2, scored by mIoU including background (FedHCA2 losses and weights)."""

    name = "parts"
    loss_weight = 2.0
    metric_name = MeanIoU.name
    higher_is_better = MeanIoU.higher_is_better

    def output_channels(self, num_classes: Mapping[str, int]) -> int:
        """Return one channel per part and one for the background."""
        return class_count(num_classes, self.name)

    def new_metric(self, num_classes: Mapping[str, int]) -> Metric:
        """Return an empty mIoU over background and parts."""
        return MeanIoU(class_count(num_classes, self.name))

    def _loss(self, prediction: Tensor, label: Tensor) -> Tensor:
        return mean_cross_entropy(prediction, label)
