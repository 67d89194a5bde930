"""Mean intersection over union from one confusion matrix over the whole data set."""

import numpy as np
import numpy.typing as npt
import torch
from fmtl_datasets.shared.conventions import IGNORE
from torch import Tensor

from client_app.metrics.base import Metric, MetricUnavailable


class MeanIoU(Metric):
    """mIoU of semantic segmentation and human parts, in percent (methods of FedHCA2's evaluation).

    Counts are summed over all images before dividing; averaging per image is another, incomparable number. As in the
    reference, a class that is neither labelled nor predicted anywhere still counts in the mean, with 0.

    Args:
        num_classes: number of classes C, at least 2; 255 in the label is ignored.

    Raises:
        ValueError: another number of classes.
    """

    name = "mIoU"
    higher_is_better = True

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        if not 2 <= num_classes <= IGNORE:
            raise ValueError(f"num_classes = {num_classes}: expected 2 to {IGNORE}, since 255 means ignore.")
        self.num_classes = num_classes
        self._add(confusion=np.zeros((num_classes, num_classes), dtype=np.int64))

    def update(self, prediction: Tensor, label: Tensor) -> None:
        """Add one batch: (B, C, H, W) logits, of which the highest decides, and (B, H, W) int64 classes.

        Raises:
            ValueError: shapes do not fit, or a label is neither 255 nor a class.
        """
        self._require_class_map(prediction, label, self.num_classes)
        self.add_classes(prediction.detach().argmax(dim=1), label)
        self._count_non_finite(prediction)

    def add_classes(self, predicted: Tensor, label: Tensor) -> None:
        """Add maps of classes, of any one shape: the predicted class (below C where the label is known) and the label.

        Raises:
            ValueError: a label is neither 255 nor a class.
        """
        valid = label != IGNORE
        truth = label[valid].long()
        if truth.numel() and not 0 <= int(truth.min()) <= int(truth.max()) < self.num_classes:
            raise ValueError(
                f"Labels run from {int(truth.min())} to {int(truth.max())}: expected 0 to {self.num_classes - 1}, or "
                "255 for ignore. Check num_classes of the data set."
            )
        cells = truth * self.num_classes + predicted[valid]
        counts = torch.bincount(cells, minlength=self.num_classes**2).reshape(self.num_classes, self.num_classes)
        self._add(confusion=counts.cpu().numpy())

    def class_iou(self) -> npt.NDArray[np.float64]:
        """Return IoU per class (C,), percent; NaN for a class that is neither labelled nor predicted."""
        confusion = self.counter("confusion").astype(np.float64)
        intersection = np.diag(confusion)
        union = confusion.sum(axis=0) + confusion.sum(axis=1) - intersection
        iou = np.full(self.num_classes, np.nan)
        np.divide(100.0 * intersection, union, out=iou, where=union > 0)
        return iou

    def compute(self) -> float:
        """Return mIoU in percent.

        Raises:
            MetricUnavailable: no valid pixel was seen, or a prediction was not finite.
        """
        self._require_finite()
        if not self.counter("confusion").any():
            raise MetricUnavailable("mIoU: no valid pixel was seen.")
        return float(np.nan_to_num(self.class_iou(), nan=0.0).mean())
