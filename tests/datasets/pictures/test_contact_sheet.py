"""Contact sheets: a place for every image and label, legends that name what is shown, predictions below labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fmtl_datasets.pictures.contact_sheet import GAP, LabelRow, contact_sheet, sample_row
from fmtl_datasets.pictures.preview import class_colour
from fmtl_datasets.shared.conventions import TASKS
from fmtl_datasets.sources.procedural import ProceduralScenes
from PIL import Image


def rows(count: int, size: tuple[int, int] = (48, 64)) -> list[LabelRow]:
    scenes = ProceduralScenes(TASKS, domain="outdoor", indices=range(count), size=size)
    return [sample_row(scenes[index], f"scene {index}") for index in range(count)]


def has_colour(sheet: Image.Image, colour: tuple[int, int, int]) -> bool:
    return bool((np.asarray(sheet) == colour).all(axis=2).any())


def test_sheet_shows_all_ten_tasks_and_grows_with_its_images() -> None:
    one, two = (contact_sheet(rows(count), ProceduralScenes.class_names) for count in (1, 2))
    assert one.width == two.width > 11 * 240
    assert 180 <= two.height - one.height <= 180 + 60, "a row is a picture of 240 x 180 and its caption"


def test_pictures_are_wider_where_tasks_are_few() -> None:
    row = rows(1)[0]
    few = contact_sheet([LabelRow(image=row.image, labels={"edge": row.labels["edge"]})], {})
    assert few.width == GAP + 2 * (320 + GAP)


def test_legend_has_the_classes_that_are_shown_and_no_others() -> None:
    label = torch.zeros(30, 40, dtype=torch.uint8)
    label[:, 20:] = 5
    image = torch.zeros(3, 30, 40, dtype=torch.uint8)
    sheet = contact_sheet([LabelRow(image=image, labels={"semseg": label})], {})
    assert has_colour(sheet, class_colour(0))
    assert has_colour(sheet, class_colour(5))
    assert not has_colour(sheet, class_colour(4))


def test_image_is_where_its_column_is() -> None:
    image = torch.zeros(3, 30, 40, dtype=torch.uint8)
    image[0] = 250
    sheet = np.asarray(contact_sheet([LabelRow(image=image, labels={"edge": torch.zeros(30, 40)})], {}))
    red = (sheet == (250, 0, 0)).all(axis=2)
    rows_of_red, columns_of_red = red.nonzero()
    assert (columns_of_red.min(), columns_of_red.max()) == (GAP, GAP + 319)
    assert rows_of_red.max() - rows_of_red.min() == 239


def test_tall_image_stays_within_the_height_of_a_cell() -> None:
    image = torch.zeros(3, 400, 40, dtype=torch.uint8)
    sheet = contact_sheet([LabelRow(image=image, labels={"edge": torch.zeros(400, 40)})], {})
    assert sheet.height < 320 * 1.1 + 80


def test_predictions_lie_below_labels_of_the_same_task() -> None:
    image = torch.zeros(3, 30, 40, dtype=torch.uint8)
    none, everywhere = torch.zeros(30, 40, dtype=torch.uint8), torch.ones(30, 40)
    row = LabelRow(image=image, labels={"edge": none}, predictions={"edge": everywhere})
    yellow = (np.asarray(contact_sheet([row], {})) == (255, 220, 40)).all(axis=2)
    lines, columns = yellow.nonzero()
    assert columns.min() >= 2 * GAP + 320
    assert yellow.sum() == 240 * 320
    assert lines.min() > 240, "the label's line, without an edge, comes first"


def test_task_without_prediction_or_label_leaves_its_place_empty() -> None:
    row = rows(1)[0]
    shown = LabelRow(image=row.image, labels={"depth": row.labels["depth"]}, predictions={})
    unlabelled = LabelRow(image=row.image, labels={}, predictions={"depth": row.labels["depth"]})
    assert contact_sheet([shown], {}).size == contact_sheet([unlabelled], {}).size


def test_long_title_is_shortened_to_the_width_of_its_cell() -> None:
    row = rows(1)[0]
    labels = {"edge": row.labels["edge"]}
    long = contact_sheet([LabelRow(image=row.image, labels=labels, title="abcdefgh" * 60 + "END")], {}, heading="x")
    short = contact_sheet([LabelRow(image=row.image, labels=labels, title="END")], {}, heading="x")
    assert long.size == short.size
    second_column = slice(GAP + 320, None)
    assert np.array_equal(np.asarray(long)[:, second_column], np.asarray(short)[:, second_column])


def test_same_samples_give_the_same_sheet() -> None:
    first, second = (contact_sheet(rows(2), ProceduralScenes.class_names) for _ in range(2))
    assert np.array_equal(np.asarray(first), np.asarray(second))


def test_sheet_without_images_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        contact_sheet([], {})
