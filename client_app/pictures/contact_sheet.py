"""A picture of what a client's model predicts, beside the labels; it stays on the client."""

from pathlib import Path

import numpy as np
import torch
from fmtl_datasets.pictures.contact_sheet import LabelRow, contact_sheet
from fmtl_datasets.registry import class_names
from fmtl_datasets.transforms.transforms import pad

from client_app.pictures.prediction_labels import as_labels
from client_app.round.local_round import LocalRound
from client_app.training.batches import to_device
from client_app.training.device import reproducible_kernels
from fmtl_strategies.contract.paths import PREDICTIONS_FILE


def draw_predictions(local_round: LocalRound, place: Path) -> Path:
    """Draw evenly spaced validation images with labels and predictions of the model that is scored.

    Args:
        local_round: the client, its data and the model's parameters.
        place: folder of the client; the picture there is replaced.

    Returns:
        The picture's path.

    Raises:
        ValueError: the client asks for no pictures or has no validation images.
    """
    data, entry = local_round.data, local_round.entry
    count = min(entry.contact_sheet, len(data.validation))
    if count < 1:
        raise ValueError(f"client {entry.name}: no validation images to draw")
    chosen = np.linspace(0, len(data.validation) - 1, count).round().astype(int).tolist()
    model = local_round.scored_model()
    model.eval()
    rows = []
    for index in chosen:
        sample = data.validation[index]
        prepared = data.prepare(sample)
        batch = data.collate([prepared])
        with torch.no_grad(), reproducible_kernels():
            raw = model(to_device(batch, local_round.arithmetic.device)["image"])
            predictions = {task: as_labels(task, raw[task])[0] for task in entry.tasks}
        height, width = prepared["image"].shape[-2:]
        image = pad({"image": sample["image"]}, (int(height), int(width)))["image"]
        labels = {task: prepared[task] for task in entry.tasks}
        title = f"validation image {index + 1} of {len(data.validation)}"
        rows.append(LabelRow(image=image, labels=labels, predictions=predictions, title=title))
    path = place / PREDICTIONS_FILE
    place.mkdir(parents=True, exist_ok=True)
    heading = f"{entry.name}: labels, and below them what the model of round {local_round.instruction.round} predicts"
    contact_sheet(rows, class_names(entry), heading=heading).save(path)
    return path
