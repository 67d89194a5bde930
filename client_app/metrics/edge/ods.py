"""odsF: the best boundary F-measure over thresholds that are the same for the whole data set."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from fmtl_datasets.shared.conventions import IGNORE
from fmtl_datasets.shared.edge_annotators import drawings
from torch import Tensor

from client_app.metrics.base import Metric, MetricUnavailable
from client_app.metrics.edge.counts import COUNTERS, EdgeCounts, EdgeImage
from client_app.metrics.edge.matching import BoolArray
from client_app.metrics.edge.parallel import score_images
from client_app.metrics.edge.protocol import EdgeProtocol

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True)
class BoundaryScore:
    """Precision, recall and F at one threshold, as fractions in [0, 1]; `threshold` is a probability."""

    threshold: float
    precision: float
    recall: float
    f_measure: float


def precision_recall_f(counts: EdgeCounts) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Turn counts summed over all images into precision, recall and F.

    Returns:
        Three (T,) float64 arrays of fractions. Nothing predicted gives precision 1 and recall 0; nothing annotated
        gives recall 1 and precision 0 (methods 4.3); both give precision 1 and recall 1, F = 1, because an empty
        prediction is then right.
    """
    predicted, annotated = counts["predicted"] > 0, counts["annotated"] > 0
    precision = np.where(predicted, 0.0, 1.0)
    recall = np.where(annotated, 0.0, 1.0)
    np.divide(counts["matched_predicted"], counts["predicted"], out=precision, where=predicted)
    np.divide(counts["matched_annotated"], counts["annotated"], out=recall, where=annotated)
    total = precision + recall
    f_measure = np.divide(2.0 * precision * recall, total, out=np.zeros_like(total), where=total > 0)
    return precision, recall, f_measure


class OdsF(Metric):
    """odsF in percent: suppress non-maxima, threshold, thin, match one-to-one, sum over images, best F (methods 4.3).

    With other than 99 thresholds the name is "odsF@<thresholds>", since such values cannot be compared with odsF.

    Args:
        protocol: settings of the evaluation; None for the defaults (PASCAL-Context).
    """

    name = "odsF"
    higher_is_better = True

    def __init__(self, protocol: EdgeProtocol | None = None) -> None:
        super().__init__()
        self.protocol = protocol if protocol is not None else EdgeProtocol()
        # The name is the class's for every other metric; here it must tell fast modes apart.
        self.name = self.protocol.metric_name  # type: ignore[misc]
        zeros = np.zeros(self.protocol.thresholds, dtype=np.int64)
        self._add(**dict.fromkeys(COUNTERS, zeros))

    def update(self, prediction: Tensor, label: Tensor) -> None:
        """Add one batch.

        Args:
            prediction: (B, 1, H, W) logits.
            label: (B, 1, H, W) with 0, 1 and 255 (ignore); or, where several people drew boundaries, (B, H, W) integers
                whose bit k is set where annotator k did, negative where nothing is known.

        Raises:
            ValueError: shapes do not fit, or a label has another value.
        """
        several = label.ndim == 3 and not label.is_floating_point()
        expected = (label.shape[0], 1, *label.shape[-2:])
        if tuple(prediction.shape) != expected or (label.ndim != 4 and not several):
            raise ValueError(
                f"{self.name}: expected a label and a prediction (B, 1, H, W), or as label integers (B, H, W) for "
                f"several annotators; got {tuple(label.shape)} and {tuple(prediction.shape)}."
            )
        truths = self._of_annotators(label) if several else self._of_one_label(label)
        if self._count_non_finite(prediction):
            return
        probability = torch.sigmoid(prediction.detach().float()).cpu().numpy()[:, 0]
        self.add_images(EdgeImage(image, *truth) for image, truth in zip(probability, truths, strict=True))

    def _of_one_label(self, label: Tensor) -> list[tuple[BoolArray, BoolArray]]:
        """Return one drawing (1, H, W) and the valid pixels (H, W) of each image."""
        boundary, valid = label == 1, label != IGNORE
        if label.shape[1] != 1 or not bool((boundary | (label == 0) | ~valid).all()):
            raise ValueError(f"{self.name}: the edge label has values other than 0, 1 and 255 (ignore).")
        return list(zip(boundary.cpu().numpy(), valid.cpu().numpy()[:, 0], strict=True))

    @staticmethod
    def _of_annotators(codes: Tensor) -> list[tuple[BoolArray, BoolArray]]:
        """Return every drawing (A, H, W) and the valid pixels (H, W) of each image."""
        return [drawings(image) for image in codes.cpu().numpy()]

    def add_images(self, images: Iterable[EdgeImage]) -> None:
        """Add images given as probabilities and any number of annotators; errors as in `score_images`."""
        for counts in score_images(images, self.protocol):
            self._add(**counts)

    def best(self) -> BoundaryScore:
        """Return the scores at the threshold of highest F; the lowest such threshold if several are equal.

        The maximum is over the thresholds themselves, as in the evaluation of FedHCA2 (methods 4.3). The older BSDS
        scripts interpolate between neighbouring thresholds, which can give a slightly higher value.

        Raises:
            MetricUnavailable: a prediction was not finite, or no annotated boundary pixel was seen; then recall has no
                meaning, and F would not depend on the prediction.
        """
        self._require_finite()
        if not self.counter("annotated").any():
            raise MetricUnavailable(f"{self.name}: the labels hold no boundary pixel, so recall is undefined.")
        precision, recall, f_measure = precision_recall_f({name: self.counter(name) for name in COUNTERS})
        best = int(np.argmax(f_measure))
        threshold = (best + 1) / (f_measure.size + 1)
        return BoundaryScore(threshold, float(precision[best]), float(recall[best]), float(f_measure[best]))

    def compute(self) -> float:
        """Return odsF in percent; errors as in `best`."""
        return 100.0 * self.best().f_measure
