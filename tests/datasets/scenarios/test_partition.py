"""The published client partition, and parts that are disjoint without talking to each other."""

from __future__ import annotations

import numpy as np
import pytest
from errors import naming
from fmtl_datasets.scenarios.partition import disjoint_part, fraction_part
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_partition import REFERENCE_SCENARIOS, reference_partition


def test_single_data_set_part_equals_the_reference_partition() -> None:
    nyud = reference_partition(REFERENCE_SCENARIOS["nyud_st_pascal_mt_1c"])[0]
    assert all(np.array_equal(disjoint_part(795, part, 4, 0), nyud[part]) for part in range(4))


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 300), seed=st.integers(0, 5), data=st.data())
def test_parts_are_disjoint_and_cover_everything(n: int, seed: int, data: st.DataObject) -> None:
    of = data.draw(st.integers(1, n))
    everything = np.concatenate([disjoint_part(n, part, of, seed) for part in range(of)])
    assert sorted(everything.tolist()) == list(range(n))


@settings(max_examples=30, deadline=None)
@given(n=st.integers(20, 300), border=st.floats(0.1, 0.9))
def test_touching_fractions_are_disjoint_and_cover_everything(n: int, border: float) -> None:
    both = np.concatenate([fraction_part(n, 0.0, border, 3), fraction_part(n, border, 1 - border, 3)])
    assert sorted(both.tolist()) == list(range(n))


def test_another_seed_gives_another_part() -> None:
    assert not np.array_equal(disjoint_part(100, 0, 5, 0), disjoint_part(100, 0, 5, 1))


def test_partition_leaves_the_global_random_state_alone() -> None:
    before = np.random.get_state()[1].copy()  # type: ignore[index, union-attr]  # noqa: NPY002
    disjoint_part(100, 0, 5, 0)
    assert np.array_equal(before, np.random.get_state()[1])  # type: ignore[index]  # noqa: NPY002


@pytest.mark.parametrize(("part", "of"), [(5, 5), (-1, 5), (0, 0)])
def test_part_that_does_not_exist_is_refused(part: int, of: int) -> None:
    with pytest.raises(ValueError, match=naming("exist")):
        disjoint_part(10, part, of, 0)


def test_more_parts_than_images_and_empty_fractions_are_refused() -> None:
    with pytest.raises(ValueError, match=naming("3 images", "4 clients")):
        disjoint_part(3, 0, 4, 0)
    with pytest.raises(ValueError, match=naming("image")):
        fraction_part(10, 0.0, 0.01, 0)
    with pytest.raises(ValueError, match=naming("within")):
        fraction_part(10, 0.6, 0.6, 0)
