"""BSDS with saliency: one edge label to train on, every annotator's drawing to score against."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from errors import naming
from fmtl_datasets.registry import open_dataset
from fmtl_datasets.scenarios.scenario import ClientEntry
from fmtl_datasets.shared.conventions import IGNORE
from fmtl_datasets.shared.edge_annotators import EDGE_ANNOTATORS, UNKNOWN, consensus, drawings, resize_codes
from fmtl_datasets.shared.memory import InMemory
from fmtl_datasets.shared.source import DataFileError, DataLayoutError, SourceSettings
from fmtl_datasets.sources.bsds_sod.source import open_source
from fmtl_datasets.transforms.resizing import Resized, resize_sample
from fmtl_datasets.transforms.transforms import evaluation_transform, to_batch, training_transform
from PIL import Image
from scipy.ndimage import gaussian_filter
from tiny_bsds import LANDSCAPE, PORTRAIT, write_bsds
from torchvision import tv_tensors
from typer.testing import CliRunner

from client_app.metrics.edge.ods import OdsF
from client_app.metrics.edge.protocol import EdgeProtocol
from client_app.tasks.dense import EdgeDetection
from client_app.training.batches import LocalData
from client_app.training.evaluation import evaluate
from fmtl.cli import build_app

TASKS = ("saliency", "edge")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bsds")
    write_bsds(root)
    return root


def codes_of(*people: list[int]) -> torch.Tensor:
    """One row of pixels; each list says in which of them a person drew."""
    width = 6
    return torch.tensor([[sum(1 << bit for bit, drawn in enumerate(people) if x in drawn) for x in range(width)]]).int()


def test_half_of_the_annotators_make_a_boundary_and_fewer_are_ignored() -> None:
    codes = codes_of([0, 1, 2], [0, 1], [0], [5])
    assert consensus(codes).tolist() == [[1, 1, IGNORE, 0, 0, IGNORE]]


def test_one_of_two_annotators_is_half_and_one_of_three_is_not() -> None:
    assert consensus(codes_of([0], [1])).tolist() == [[1, 1, 0, 0, 0, 0]]
    assert consensus(codes_of([0], [1], [2])).tolist() == [[IGNORE] * 3 + [0] * 3]


def test_an_image_without_any_drawing_is_no_boundary_everywhere() -> None:
    assert consensus(torch.zeros(2, 3, dtype=torch.int32)).unique().tolist() == [0]


def test_what_is_unknown_stays_unknown_in_label_and_drawings() -> None:
    codes = codes_of([0], [0])
    codes[0, 3] = UNKNOWN
    assert consensus(codes).tolist() == [[1, 0, 0, IGNORE, 0, 0]]
    maps, known = drawings(codes.numpy())
    assert maps.tolist() == [[[True] + [False] * 5]] * 2
    assert known.tolist() == [[True] * 3 + [False] + [True] * 2]


def test_drawings_stay_unbroken_lines_when_they_are_made_smaller() -> None:
    codes = torch.zeros(40, 40, dtype=torch.int32)
    codes[torch.arange(40), torch.arange(40)] = 1
    codes[13, :] |= 1 << 15
    small = resize_codes(codes, (10, 10))
    assert bool((small.diagonal() & 1 == 1).all())
    assert ((small >> 15 & 1) == 1).nonzero().tolist() == [[3, column] for column in range(10)]


def test_unknown_margins_survive_resizing() -> None:
    codes = torch.full((8, 8), UNKNOWN, dtype=torch.int32)
    codes[:, 4:] = 3
    assert resize_codes(codes, (4, 4)).tolist() == [[UNKNOWN, UNKNOWN, 3, 3]] * 4


def test_drawings_a_pixel_apart_agree_once_they_are_made_smaller() -> None:
    codes = torch.zeros(8, 8, dtype=torch.int32)
    for person, column in enumerate((2, 2, 3, 3, 6)):
        codes[:, column] |= 1 << person
    sample = {
        "image": tv_tensors.Image(torch.zeros(3, 8, 8, dtype=torch.uint8)),
        "edge": tv_tensors.Mask(consensus(codes)),
        EDGE_ANNOTATORS: tv_tensors.Mask(codes),
    }
    assert sample["edge"][0].tolist() == [0, 0, IGNORE, IGNORE, 0, 0, IGNORE, 0]
    assert resize_sample(sample, (4, 4))["edge"].tolist() == [[0, 1, 0, IGNORE]] * 4


def test_samples_have_both_formats_and_every_annotator(data: Path) -> None:
    source = open_source(SourceSettings(data))
    assert (source.tasks, source.lists) == (TASKS, ("train", "val"))
    samples = source.open(TASKS, "train")
    assert [tuple(samples[i]["image"].shape[1:]) for i in range(3)] == [LANDSCAPE, LANDSCAPE, PORTRAIT]
    for index in range(len(samples)):
        sample = samples[index]
        assert set(sample) == {"image", *TASKS, EDGE_ANNOTATORS}
        assert set(sample["saliency"].unique().tolist()) == {0, 1}
        maps, known = drawings(np.asarray(sample[EDGE_ANNOTATORS]))
        assert len(maps) == 3 + index % 3
        assert known.all()
        # edge/ holds 255 times the mean over annotators, which is not read otherwise.
        mean = np.asarray(Image.open(data / "edge" / f"{samples.ids[index]}.png")) / 255
        np.testing.assert_allclose(maps.mean(axis=0), mean, atol=0.5 / 255 + 1e-9)
        np.testing.assert_array_equal(np.asarray(sample["edge"]) == 1, mean >= 0.499)
        np.testing.assert_array_equal(np.asarray(sample["edge"]) == 0, mean == 0)


def test_a_saliency_client_reads_no_edges(data: Path) -> None:
    assert set(open_source(SourceSettings(data)).open(("saliency",), "val")[0]) == {"image", "saliency"}


def entry(root: Path, **changes: Any) -> ClientEntry:
    base = {"name": "a", "dataset": "bsds_sod", "data-root": str(root), "tasks": list(TASKS), "encoder": "x"}
    return ClientEntry.model_validate({**base, "image-size": [64, 64], **changes})


@pytest.mark.parametrize("fit", ["inside", "resize", "pad"])
@pytest.mark.parametrize("augment", ["flip", "reference"])
def test_both_formats_go_into_one_batch_and_the_loss_works(data: Path, fit: str, augment: Any) -> None:
    client = entry(data, fit=fit, **{"image-size": [80, 80] if fit == "pad" else [64, 64]})
    samples = open_dataset(client, "train")
    augmented = training_transform(augment, client.image_size, "imagenet")
    batch = to_batch([augmented(samples[i], torch.Generator().manual_seed(i)) for i in range(6)])
    assert set(batch) == {"image", *TASKS}
    assert batch["edge"].shape == (6, 1, *client.image_size)
    assert batch["edge"].unique().tolist() == [0, 1, 255]
    prediction = torch.zeros(batch["edge"].shape, requires_grad=True)
    loss = EdgeDetection().loss(prediction, batch["edge"])
    loss.backward()
    assert torch.isfinite(loss)
    assert prediction.grad is not None
    assert bool((prediction.grad[batch["edge"] == 255] == 0).all())
    assert bool((prediction.grad[batch["edge"] == 1] < 0).all())


def test_padding_is_unknown_to_scoring_and_the_rest_is_known(data: Path) -> None:
    sample = open_source(SourceSettings(data)).open(("edge",), "train")[2]
    batch = to_batch([evaluation_transform((80, 80), "imagenet")(sample)])
    codes = batch[EDGE_ANNOTATORS][0]
    top, left = (80 - PORTRAIT[0]) // 2, (80 - PORTRAIT[1]) // 2
    inner = codes[top : top + PORTRAIT[0], left : left + PORTRAIT[1]]
    assert torch.equal(inner, sample[EDGE_ANNOTATORS].as_subclass(torch.Tensor))
    assert int((codes == UNKNOWN).sum()) == codes.numel() - inner.numel()


def test_samples_kept_in_memory_are_the_same(data: Path) -> None:
    samples = Resized(open_source(SourceSettings(data)).open(TASKS, "val"), (32, 40), "inside")
    kept = InMemory(samples)
    for _ in range(2):
        for key, value in samples[0].items():
            assert torch.equal(kept[0][key], value)


def test_agreement_with_every_annotator_counts_where_they_disagree() -> None:
    """Two people drew different lines: a prediction of one of them is right and finds half of what was drawn."""
    codes = torch.zeros(1, 60, 80, dtype=torch.int32)
    codes[0, 20, 10:70] = 1
    codes[0, 40, 10:70] = 2
    metric = OdsF(EdgeProtocol(nms_radius=0, max_distance=0.02))
    prediction = torch.where(codes[:, None] == 1, 10.0, -10.0)
    metric.update(prediction, codes)
    assert (metric.best().precision, metric.best().recall) == (1.0, 0.5)


def test_scoring_refuses_labels_of_the_wrong_shape() -> None:
    metric = OdsF()
    for label in (torch.zeros(1, 1, 8, 8, dtype=torch.int32), torch.zeros(1, 8, 8), torch.zeros(1, 8, 9).int()):
        if label.ndim == 4:
            metric.update(torch.zeros(1, 1, 8, 8), label)  # integers 0, 1 and 255 are one label, too
            continue
        with pytest.raises(ValueError, match=naming("(B, H, W)")):
            metric.update(torch.zeros(1, 1, 8, 8), label)


class Stored(torch.nn.Module):
    """A model that predicts what it was given, image by image."""

    def __init__(self, predictions: list[torch.Tensor]) -> None:
        super().__init__()
        self.predictions = iter(predictions)

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"edge": torch.stack([next(self.predictions) for _ in images])}


def agreement(
    root: Path, image_list: str, indices: list[int], folder: Path, size: tuple[int, int]
) -> tuple[float, float]:
    """Score one prediction in training's evaluation (padded batches) and by ``fmtl score edge`` from files."""
    samples = open_source(SourceSettings(root)).open(("edge",), image_list, np.array(indices))
    logits = []
    for image_id in samples.ids:
        mean = np.asarray(Image.open(root / "edge" / f"{image_id}.png")).astype(float)
        values = np.clip(gaussian_filter(mean, 1.0) * 2, 0, 255).astype(np.uint8)
        for name in ("predictions", "truth"):
            (folder / name).mkdir(exist_ok=True)
        Image.fromarray(values).save(folder / "predictions" / f"{image_id}.png")
        (folder / "truth" / f"{image_id}.png").write_bytes((root / "edge_annotators" / f"{image_id}.png").read_bytes())
        logit = torch.logit(torch.from_numpy(((values + 0.5) / 255).clip(max=1 - 1e-9))).float()
        top, left = (size[0] - values.shape[0]) // 2, (size[1] - values.shape[1]) // 2
        padded = torch.full(size, 3.0)
        padded[top : top + values.shape[0], left : left + values.shape[1]] = logit
        logits.append(padded[None])
    unused = training_transform("none", size, "imagenet")
    local = LocalData(samples, samples, unused, evaluation_transform(size, "imagenet"), to_batch, {})
    metric = EdgeDetection().new_metric({})
    scores = evaluate(Stored(logits), {"edge": metric}, local, 2, torch.device("cpu"))
    arguments = ["score", "edge", "--predictions", str(folder / "predictions"), "--ground-truth", str(folder / "truth")]
    arguments += ["--max-distance", "0.0075", "--json"]
    result = CliRunner().invoke(build_app(arguments), arguments)
    assert result.exit_code == 0, result.output
    value = scores["edge"].value
    assert value is not None
    return value, float(json.loads(result.output)["value"])


def test_evaluation_agrees_with_scoring_from_files(data: Path, tmp_path: Path) -> None:
    evaluated, from_files = agreement(data, "train", [0, 2, 3], tmp_path, (80, 80))
    assert evaluated == pytest.approx(from_files, abs=1e-9)
    assert evaluated > 20  # a picture of 72 pixels is mostly margin to the suppression of non-maxima


def real_data() -> Path:
    root = Path(os.environ.get("FMTL_DATA_ROOT", Path(__file__).resolve().parents[5] / "shared" / "data")) / "bsds_sod"
    if not root.is_dir():
        pytest.skip(f"{root} is absent; set FMTL_DATA_ROOT to the folder that holds bsds_sod")
    return root


def test_evaluation_agrees_with_scoring_from_files_on_real_images(tmp_path: Path) -> None:
    evaluated, from_files = agreement(real_data(), "val", [0, 1, 2], tmp_path, (512, 512))
    assert evaluated == pytest.approx(from_files, abs=1e-9)
    assert evaluated > 80


def test_real_images_have_four_to_nine_annotators_and_both_formats() -> None:
    source = open_source(SourceSettings(real_data()))
    assert (len(source.ids("train")), len(source.ids("val"))) == (200, 100)
    samples = source.open(TASKS, "val", np.arange(0, 100, 5))
    shapes, counts = set(), set()
    for index in range(len(samples)):
        sample = samples[index]
        shapes.add(tuple(sample["edge"].shape))
        counts.add(len(drawings(np.asarray(sample[EDGE_ANNOTATORS]))[0]))
    assert shapes == {(321, 481), (481, 321)}
    assert counts <= set(range(4, 10))


@pytest.mark.parametrize("part", ["images", "edge_annotators", "gt_sets/val.txt"])
def test_an_incomplete_folder_is_refused_with_the_missing_path(tmp_path: Path, part: str) -> None:
    write_bsds(tmp_path, train=2, val=1)
    (tmp_path / part).rename(tmp_path / "elsewhere")
    with pytest.raises(DataLayoutError, match=naming(tmp_path / part)):
        open_source(SourceSettings(tmp_path))


def test_a_missing_drawing_is_named(tmp_path: Path) -> None:
    write_bsds(tmp_path, train=2, val=1)
    lost = tmp_path / "edge_annotators" / "100007.png"
    lost.unlink()
    with pytest.raises(DataLayoutError, match=naming(lost)):
        open_source(SourceSettings(tmp_path)).open(("edge",), "train")


def test_an_eight_bit_mean_instead_of_drawings_is_refused(tmp_path: Path) -> None:
    write_bsds(tmp_path, train=2, val=1)
    (tmp_path / "edge" / "100000.png").replace(tmp_path / "edge_annotators" / "100000.png")
    with pytest.raises(DataFileError, match=r"100000.png: holds uint8; expected 16 bits"):
        open_source(SourceSettings(tmp_path)).open(("edge",), "train")[0]
