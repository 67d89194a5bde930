"""What tasks that give every pixel one of several classes have in common."""

from collections.abc import Mapping

from torch import Tensor

from client_app.metrics.base import Metric
from client_app.metrics.mean_iou import MeanIoU
from client_app.tasks.base import DenseTask, class_count, mean_cross_entropy


class PixelClasses(DenseTask):
    """Cross-entropy over valid pixels, scored by mIoU; a subclass gives name and weight."""

    metric_name = MeanIoU.name
    higher_is_better = MeanIoU.higher_is_better

    def output_channels(self, num_classes: Mapping[str, int]) -> int:
        """Return one channel per class of the data set."""
        return class_count(num_classes, self.name)

    def new_metric(self, num_classes: Mapping[str, int]) -> Metric:
        """Return an empty mIoU over the data set's classes."""
        return MeanIoU(class_count(num_classes, self.name))

    def _loss(self, prediction: Tensor, label: Tensor) -> Tensor:
        return mean_cross_entropy(prediction, label)
