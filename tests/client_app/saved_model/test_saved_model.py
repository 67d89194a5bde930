"""What a client has scored is on its disk, bit for bit, and predicts without a data set, a run or Flower."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fmtl_datasets.shared.objects import Instances, PanopticSegments
from PIL import Image
from torch import Tensor

from client_app.round.local_data import local_data
from client_app.round.local_model import client_tasks
from client_app.round.local_round import Received
from client_app.round.participant import Participant
from client_app.saved_model.files import DESCRIPTION_FILE, MODEL_FILE, SavedModelError, load_model
from client_app.saved_model.predictor import SavedModel
from client_app.training.evaluation import evaluate
from fmtl_strategies.contract.rule import LocalRule, Personal
from tests.support import tiny_client as tiny

DENSE = ("semseg", "depth", "normals", "edge", "saliency", "parts")
OBJECTS = ("instance", "keypoints", "panoptic")


def scored(root: Path, tasks: tuple[str, ...], rule: LocalRule | None = None) -> tuple[Participant, dict[str, Any]]:
    """Train a client for a round, score it, and return it with its scores."""
    entry = tiny.entry(tasks=tasks, decoder_width=8, smallest_anchor=8.0, train_images=3)
    participant = Participant(entry, local_data(entry), root, strategy="fedavg")
    changes = {} if rule is None else {"rule": rule}
    participant.train(tiny.instruction(1, **changes), Received())
    report = participant.evaluate(tiny.instruction(1, (), evaluate=True, **changes), Received())
    return participant, dict(report.scores)


def loaded(participant: Participant) -> SavedModel:
    """Load what a client has written."""
    return load_model(participant.state_root / "test" / participant.entry.name / "model")


@pytest.fixture(scope="module")
def dense(tmp_path_factory: pytest.TempPathFactory) -> tuple[Participant, dict[str, Any]]:
    return scored(tmp_path_factory.mktemp("dense"), DENSE)


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> tuple[Participant, dict[str, Any]]:
    return scored(tmp_path_factory.mktemp("objects"), OBJECTS)


@pytest.mark.parametrize("kind", ["dense", "objects"])
def test_loaded_model_has_the_scores_of_the_run(kind: str, request: pytest.FixtureRequest) -> None:
    participant, scores = request.getfixturevalue(kind)
    model, data = loaded(participant), participant.data
    metrics = {name: task.new_metric(data.num_classes) for name, task in client_tasks(participant.entry).items()}
    again = evaluate(model, metrics, data, participant.entry.batch_size, torch.device("cpu"))
    assert again == scores
    described = {name: (task.score, task.missing_because) for name, task in model.description.tasks.items()}
    assert described == {name: (score.value, score.missing_because) for name, score in scores.items()}


def test_preprocessing_is_that_of_scoring(dense: tuple[Participant, dict[str, Any]]) -> None:
    participant, _ = dense
    image = participant.data.validation[0]["image"]
    prepared = participant.data.prepare(participant.data.validation[0])["image"]
    assert torch.equal(loaded(participant).preprocess(image.as_subclass(Tensor)), prepared.as_subclass(Tensor))


@pytest.mark.parametrize("size", [(64, 64), (200, 90), (30, 41)])
def test_dense_predictions_have_the_size_of_the_image(
    size: tuple[int, int], dense: tuple[Participant, dict[str, Any]], tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    model = loaded(dense[0])
    found = model.predict(tmp_path / "image.png")
    shapes = {"depth": (1, *size), "normals": (3, *size)}
    assert {task: tuple(label.shape) for task, label in found.items()} == {
        task: shapes.get(task, size) for task in DENSE
    }
    assert int(found["semseg"].max()) < len(model.classes["semseg"])
    torch.testing.assert_close(found["normals"].norm(dim=0), torch.ones(size))
    for task, label in model.predict(pixels).items():
        assert torch.equal(label, found[task]), task


def test_objects_lie_in_the_image(objects: tuple[Participant, dict[str, Any]]) -> None:
    found = loaded(objects[0]).predict(Image.new("L", (150, 70)))
    assert isinstance(found["panoptic"], PanopticSegments)
    for task in ("instance", "keypoints"):
        assert isinstance(found[task], Instances)
        assert found[task].size == (70, 150)
    assert found["panoptic"].size == (70, 150)


def test_the_personal_model_is_saved_where_that_is_scored(tmp_path: Path) -> None:
    participant, scores = scored(tmp_path, ("depth",), LocalRule(personal=Personal()))
    data = participant.data
    metrics = {"depth": client_tasks(participant.entry)["depth"].new_metric(data.num_classes)}
    model = loaded(participant)
    assert evaluate(model, metrics, data, 3, torch.device("cpu")) == scores


def test_description_says_what_the_model_is(dense: tuple[Participant, dict[str, Any]]) -> None:
    found = loaded(dense[0]).description
    assert (found.client, found.strategy, found.experiment, found.round) == ("tiny", "fedavg", "test", 1)
    assert tuple(found.tasks) == DENSE
    assert found.scored_size == found.image_size
    assert torch.__version__.startswith(found.versions["torch"])
    assert len(found.entry_sha256) == 64


def test_scoring_before_training_saves_the_model_of_the_round_before(tmp_path: Path) -> None:
    participant = tiny.participant(tmp_path)
    participant.train(tiny.instruction(1), Received())
    participant.train(tiny.instruction(2, evaluate=True), Received())
    assert loaded(participant).description.round == 1


def test_what_cannot_be_loaded_is_named(dense: tuple[Participant, dict[str, Any]], tmp_path: Path) -> None:
    with pytest.raises(SavedModelError, match=r"model\.json"):
        load_model(tmp_path)
    source = dense[0].state_root / "test/tiny/model"
    description = (source / DESCRIPTION_FILE).read_text()
    (tmp_path / DESCRIPTION_FILE).write_text(description)
    with pytest.raises(SavedModelError, match=r"model\.safetensors"):
        load_model(tmp_path)
    (tmp_path / MODEL_FILE).write_bytes((source / MODEL_FILE).read_bytes()[:1000])
    with pytest.raises(SavedModelError, match=r"model\.safetensors"):
        load_model(tmp_path)
    (tmp_path / MODEL_FILE).write_bytes((source / MODEL_FILE).read_bytes())
    (tmp_path / DESCRIPTION_FILE).write_text(json.dumps({**json.loads(description), "decoder_width": 12}))
    with pytest.raises(SavedModelError, match=r"does not fit"):
        load_model(tmp_path)
    (tmp_path / DESCRIPTION_FILE).write_text(json.dumps({**json.loads(description), "format": 2}))
    with pytest.raises(SavedModelError, match="format"):
        load_model(tmp_path)


@pytest.mark.process
def test_a_model_loads_and_predicts_where_neither_flower_nor_ray_is_installed(
    dense: tuple[Participant, dict[str, Any]],
) -> None:
    code = (
        "import sys\n"
        "sys.modules['flwr'] = sys.modules['ray'] = sys.modules['pycocotools'] = None\n"
        "import fmtl, numpy\n"
        "model = fmtl.load_model(sys.argv[1])\n"
        "print(sorted(model.predict(numpy.zeros((50, 60, 3), numpy.uint8))))\n"
    )
    folder = dense[0].state_root / "test/tiny/model"
    done = subprocess.run([sys.executable, "-c", code, str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(sorted(DENSE))
