"""Maximal F-measure of saliency over thresholds."""

import numpy as np
import torch
from fmtl_datasets.shared.conventions import IGNORE
from torch import Tensor

from client_app.metrics.base import Metric, MetricUnavailable

THRESHOLDS = np.arange(1, 20) / 20
"""0.05, 0.10 ... 0.95, on the probability of "salient"."""
BETA_SQUARED = 0.3


class MaxF(Metric):
    """maxF in percent: the best F-measure with beta^2 = 0.3 over 19 thresholds (methods of FedHCA2's evaluation).

    Precision and recall come from counts summed over the data set. A pixel is predicted salient where softmax gives
    at least the threshold. Other published "saliency" numbers (max mIoU, per-image means) are not comparable.
    """

    name = "maxF"
    higher_is_better = True

    def update(self, prediction: Tensor, label: Tensor) -> None:
        """Add one batch: (B, 2, H, W) logits (background, salient) and (B, H, W) labels in {0, 1, 255}.

        Raises:
            ValueError: shapes do not fit, or a label has another value.
        """
        self._require_class_map(prediction, label, 2)
        salient, background = label == 1, label == 0
        if not bool((salient | background | (label == IGNORE)).all()):
            raise ValueError("maxF: the saliency label has values other than 0, 1 and 255 (ignore).")
        probability = torch.softmax(prediction.detach().double(), dim=1)[:, 1]
        thresholds = torch.as_tensor(THRESHOLDS, device=probability.device)
        # Bin k holds the pixels that exactly k thresholds accept.
        accepted = torch.bucketize(probability.contiguous(), thresholds, right=True)
        bins = len(THRESHOLDS) + 1
        self._add(
            salient=torch.bincount(accepted[salient], minlength=bins).cpu().numpy(),
            background=torch.bincount(accepted[background], minlength=bins).cpu().numpy(),
        )
        self._count_non_finite(prediction)

    def compute(self) -> float:
        """Return maxF in percent.

        Raises:
            MetricUnavailable: no salient pixel was labelled (recall has no meaning), or a prediction was not finite.
        """
        self._require_finite()
        salient, background = self.counter("salient"), self.counter("background")
        if not salient.any():
            seen = "only background" if background.any() else "no valid pixel"
            raise MetricUnavailable(f"maxF: the labels hold {seen}, so recall is undefined.")
        true_positives = salient[::-1].cumsum()[::-1][1:].astype(np.float64)
        false_positives = background[::-1].cumsum()[::-1][1:].astype(np.float64)
        # F = (1 + b) P R / (b P + R) written in counts: no 0 / 0 where nothing is predicted salient.
        f_measure = (
            (1 + BETA_SQUARED) * true_positives / (true_positives + false_positives + BETA_SQUARED * salient.sum())
        )
        return float(100.0 * f_measure.max())
