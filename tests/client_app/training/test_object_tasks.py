"""Rounds of clients whose tasks have decoders and heads of their own kind, on drawn scenes."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from fmtl_datasets.scenarios.scenario import ClientEntry
from fmtl_datasets.sources.procedural.dataset import ProceduralScenes
from fmtl_datasets.transforms.transforms import evaluation_transform, to_batch

from client_app.model.coco.detection import DetectionHead
from client_app.model.coco.panoptic import PanopticHead
from client_app.model.multi_task_model import MultiTaskModel
from client_app.round.local_data import local_data
from client_app.round.local_model import client_tasks
from client_app.round.local_round import Received
from client_app.round.participant import Participant
from client_app.tasks.objects import ObjectTask
from client_app.training.state import StateFolder
from fmtl_strategies.contract.layout import FloatArray
from tests.support import coco_models as coco
from tests.support import tiny_client as tiny

CLIENTS = (("instance", "semseg"), ("keypoints",), ("stuff", "panoptic"))


def _participant(root: Path, tasks: tuple[str, ...]) -> Participant:
    entry: ClientEntry = tiny.entry(
        tasks=tasks,
        image_size=(64, 64),
        train_images=4,
        validation_images=2,
        batch_size=2,
        decoder_width=8,
        smallest_anchor=8.0,
    )
    return Participant(entry, local_data(entry), root)


def _groups(tasks: tuple[str, ...]) -> tuple[str, ...]:
    return ("encoder", *(f"{kind}.{task}" for kind in ("decoders", "heads") for task in tasks))


def _kept(participant: Participant, after_round: int) -> dict[str, FloatArray]:
    state = StateFolder(participant.state_root, "test", "tiny").restore(before=after_round + 1).state
    assert state is not None
    return state.model.parameters


@pytest.mark.parametrize("tasks", CLIENTS)
def test_profile_gives_every_task_a_decoder_a_head_and_a_metric(tmp_path: Path, tasks: tuple[str, ...]) -> None:
    profile = _participant(tmp_path, tasks).profile(tiny.settings())
    assert set(_groups(tasks)) <= set(profile.groups)
    scores = {"instance": "AP", "keypoints": "AP", "semseg": "mIoU", "stuff": "mIoU", "panoptic": "PQ"}
    assert {task.name: task.metric for task in profile.tasks} == {task: scores[task] for task in tasks}


@pytest.mark.parametrize("tasks", CLIENTS)
def test_two_rounds_train_score_and_resume_to_the_same_bits(tmp_path: Path, tasks: tuple[str, ...]) -> None:
    """The second run reads its state from disk as after a crash; sampling of anchors and regions is part of it."""
    groups = _groups(tasks)
    kept = []
    for run in ("first", "second"):
        torch.rand(3)  # what was drawn before must not matter
        participant = _participant(tmp_path / run, tasks)
        for number in (1, 2):
            answer = _participant(tmp_path / run, tasks).train(tiny.instruction(number, groups), Received())
            assert set(answer.report.losses) == set(tasks)
            assert all(loss is not None and math.isfinite(loss) for loss in answer.report.losses.values())
        assert answer.report.restored_round == 1
        assert all(bool(np.abs(answer.updates[group]).max() > 0) for group in groups)
        kept.append(_kept(participant, 2))
    assert all(np.array_equal(kept[0][group], kept[1][group]) for group in groups)


def test_bfloat16_training_of_object_tasks_is_finite(tmp_path: Path) -> None:
    participant = _participant(tmp_path, ("keypoints", "panoptic"))
    asked = tiny.instruction(1, settings=tiny.settings(precision="bfloat16"))
    losses = participant.train(asked, Received()).report.losses
    assert all(loss is not None and math.isfinite(loss) for loss in losses.values())


def test_smallest_anchor_of_the_entry_reaches_every_head_with_boxes() -> None:
    entry = tiny.entry(tasks=("instance", "keypoints", "panoptic", "stuff"), smallest_anchor=8.0)
    tasks = client_tasks(entry)
    anchors = {name: task.smallest_anchor for name, task in tasks.items() if isinstance(task, ObjectTask)}
    assert anchors == {"instance": 8.0, "keypoints": 8.0, "panoptic": 8.0}
    model = coco.model(("panoptic",))
    generator = model.heads["panoptic"].detection.rpn.anchor_generator
    assert generator.sizes == ((8.0,), (16.0,), (32.0,), (64.0,), (128.0,))
    assert generator.aspect_ratios == ((0.5, 1.0, 2.0),) * 5


def _sample_less(model: MultiTaskModel) -> None:
    """Look at fewer regions of each image, which a handful of small images does without."""
    for head in model.heads.values():
        detector = head.detection if isinstance(head, PanopticHead) else head
        if isinstance(detector, DetectionHead):
            detector.roi_heads.fg_bg_sampler.batch_size_per_image = 96
            detector.rpn._post_nms_top_n = {"training": 300, "testing": 300}


@pytest.mark.parametrize(("task", "side", "width", "steps"), [("keypoints", 96, 16, 60), ("panoptic", 64, 32, 50)])
def test_two_scenes_are_learnt_by_heart(task: str, side: int, width: int, steps: int) -> None:
    size = (side, side)
    scenes = ProceduralScenes((task,), domain="indoor", indices=range(2), size=size)
    prepare = evaluation_transform(size, "imagenet")
    batch = to_batch([prepare(scenes[index]) for index in range(2)])
    trained = client_tasks(tiny.entry(tasks=(task,), smallest_anchor=8.0))[task]
    model = coco.model((task,), width=width, size=size, num_classes=scenes.num_classes)
    _sample_less(model)

    def score() -> float:
        metric = trained.new_metric(scenes.num_classes)
        with torch.no_grad():
            metric.update(model.eval()(batch["image"])[task], batch[task])
        return metric.compute()

    before = score()
    model.train()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        optimiser = torch.optim.AdamW(model.parameters(), lr=0.004)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, steps)
        for _ in range(steps):
            optimiser.zero_grad()
            trained.loss(model(batch["image"])[task], batch[task]).backward()
            optimiser.step()
            schedule.step()
    assert before < 5
    assert score() > 15
