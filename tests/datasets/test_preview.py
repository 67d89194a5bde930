"""Pictures of samples."""

from __future__ import annotations

import numpy as np
import torch

from datasets.conventions import TASKS
from datasets.preview import colourise, label_picture
from datasets.procedural import ProceduralScenes


def test_a_grid_has_a_tile_for_the_image_and_every_label() -> None:
    sample = ProceduralScenes(TASKS, domain="indoor", indices=[0], size=(32, 48))[0]
    picture = colourise(sample, columns=4, zoom=2)
    assert picture.size == (4 * 48 * 2, 3 * 32 * 2)
    first = np.asarray(picture)[: 32 * 2 : 2, : 48 * 2 : 2]
    np.testing.assert_array_equal(first, sample["image"].numpy().transpose(1, 2, 0))


def test_ignored_pixels_are_grey_and_invalid_depth_is_black() -> None:
    image = np.zeros((2, 2, 3), dtype=np.uint8)
    semseg = label_picture("semseg", torch.tensor([[255, 3], [3, 4]], dtype=torch.uint8), image)
    assert semseg[0, 0].tolist() == [128, 128, 128]
    assert semseg[0, 1].tolist() == semseg[1, 0].tolist() != semseg[1, 1].tolist()
    depth = label_picture("depth", torch.tensor([[[0.0, 1.0], [2.0, 4.0]]]), image)
    assert depth[..., 0].tolist() == [[0, 255], [127, 63]]


def test_visible_keypoints_are_green_and_occluded_ones_red() -> None:
    people = torch.zeros(1, 17, 3)
    people[0, 0] = torch.tensor([1.5, 0.5, 2.0])
    people[0, 1] = torch.tensor([0.5, 1.5, 1.0])
    picture = label_picture("keypoints", people, np.zeros((2, 2, 3), dtype=np.uint8))
    assert picture[0, 1].tolist() == [0, 255, 0]
    assert picture[1, 0].tolist() == [255, 0, 0]
    assert picture[0, 0].tolist() == [0, 0, 0]
