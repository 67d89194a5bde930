"""A saved model as a torch module that predicts for images of any size."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from fmtl_datasets.shared.colour import normalise
from fmtl_datasets.shared.objects import ObjectLabel
from fmtl_datasets.transforms.transforms import pad, rescale
from PIL import Image, ImageOps
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torchvision import tv_tensors

from client_app.model.multi_task_model import MultiTaskModel
from client_app.pictures.prediction_labels import as_labels
from client_app.saved_model.description import ModelDescription

CLASS_TASKS = ("semseg", "parts", "stuff")
AnyImage = Image.Image | Tensor | np.ndarray[Any, Any] | str | Path
"""A file, a PIL image, or an array: uint8 (H, W, 3), or as a tensor uint8 (3, H, W)."""


class SavedModel(nn.Module):
    """A client's model, ready to predict.

    Args:
        network: the model; set to evaluation mode.
        description: what it is.
    """

    def __init__(self, network: MultiTaskModel, description: ModelDescription) -> None:
        super().__init__()
        self.network = network.eval()
        self.description = description

    @property
    def classes(self) -> dict[str, tuple[str, ...]]:
        """Names of the classes by task, in the order of the output's channels."""
        return {name: task.classes for name, task in self.description.tasks.items() if task.classes}

    def forward(self, images: Tensor) -> dict[str, Any]:
        """Return each task's raw prediction for preprocessed images (B, 3, H, W)."""
        found: dict[str, Any] = self.network(images)
        return found

    def preprocess(self, image: AnyImage) -> Tensor:
        """Return an image as the network takes it: scaled down where it is too large, normalised, padded around it.

        Args:
            image: as `AnyImage` says.

        Returns:
            float32 (3, H, W) of the description's `scored_size`.

        Raises:
            OSError, ValueError: the file is no image, or the array has another form.
        """
        pixels = _pixels(image)
        scaled = rescale({"image": pixels}, self._factor(pixels.shape[-2:]))["image"]
        padded = pad({"image": normalise(scaled, self.description.normalisation)}, self.description.scored_size)
        plain: Tensor = padded["image"].as_subclass(Tensor)
        return plain

    @torch.no_grad()
    def predict(self, image: AnyImage) -> dict[str, Any]:
        """Predict every task for one image of any size.

        Args:
            image: as for `preprocess`.

        Returns:
            By task, at the size of the image: classes as uint8 (H, W); saliency and edge as probabilities, float32
            (H, W); normals as float32 unit vectors (3, H, W); depth as float32 (1, H, W) in metres; objects as
            `Instances`; panoptic segments as `PanopticSegments`.

        Raises:
            OSError, ValueError: as `preprocess`.
        """
        pixels = _pixels(image)
        device = next(self.network.parameters()).device
        raw = self(self.preprocess(pixels)[None].to(device))
        size = (int(pixels.shape[-2]), int(pixels.shape[-1]))
        return {task: self._at_size(as_labels(task, raw[task])[0], task, size) for task in self.description.tasks}

    def _factor(self, size: tuple[int, ...]) -> float:
        return min(1.0, *(wanted / side for wanted, side in zip(self.description.scored_size, size, strict=True)))

    def _at_size(self, label: Any, task: str, size: tuple[int, int]) -> Any:
        """Cut a label to the part that shows the image, and scale that to the image's size."""
        factor = self._factor(size)
        height, width = (max(1, round(side * factor)) for side in size)
        whole_height, whole_width = self.description.scored_size
        top, left = (whole_height - height) // 2, (whole_width - width) // 2
        if isinstance(label, ObjectLabel):
            return label.cropped(top, left, height, width).resized(size)
        part = label[..., top : top + height, left : left + width]
        if (height, width) == size:
            return part
        if task in CLASS_TASKS:
            return interpolate(part[None, None].float(), size, mode="nearest-exact")[0, 0].to(part.dtype)
        scaled = interpolate(part.reshape(1, -1, height, width), size, mode="bilinear", align_corners=False)[0]
        scaled = nn.functional.normalize(scaled, dim=0) if task == "normals" else scaled
        return scaled.reshape(*part.shape[:-2], *size)


def _pixels(image: AnyImage) -> tv_tensors.Image:
    """Return uint8 (3, H, W), turned as the file's EXIF says."""
    if isinstance(image, str | Path):
        with Image.open(image) as opened:
            return _pixels(opened.copy())
    if isinstance(image, Image.Image):
        image = np.array(ImageOps.exif_transpose(image).convert("RGB"))
    if isinstance(image, np.ndarray):
        image = torch.from_numpy(np.ascontiguousarray(image)).movedim(-1, 0)
    if image.dtype != torch.uint8 or image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(f"image: expected uint8 with three colours, got {image.dtype} of shape {tuple(image.shape)}")
    return tv_tensors.Image(image)
