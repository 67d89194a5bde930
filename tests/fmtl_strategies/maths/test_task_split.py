import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fmtl_strategies.maths.task_split import best_group, split_score, split_tasks

NAMES = [f"t{number:02}" for number in range(12)]


def random_affinities(count: int, seed: int) -> dict[tuple[str, str], float]:
    generator = np.random.default_rng(seed)
    return {(i, j): float(generator.standard_normal()) for i in NAMES[:count] for j in NAMES[:count] if i != j}


def restated_score(labels: dict[str, int], affinities: dict[tuple[str, str], float]) -> float:
    """Sum over tasks j of the mean of Z_{i->j} over the other tasks i of j's group."""
    total = 0.0
    for j in labels:
        values = [affinities.get((i, j), 0.0) for i in labels if i != j and labels[i] == labels[j]]
        total += sum(values) / len(values) if values else 0.0
    return total


def best_by_all_labels(count: int, groups: int, affinities: dict[tuple[str, str], float]) -> float:
    """Try every assignment of a label to every task that uses all labels."""
    scores = [
        restated_score(dict(zip(NAMES, labels, strict=False)), affinities)
        for labels in itertools.product(range(groups), repeat=count)
        if len(set(labels)) == groups
    ]
    return max(scores)


@settings(deadline=None)
@given(count=st.integers(1, 6), groups=st.integers(1, 4), seed=st.integers(0, 1000))
def test_the_split_is_the_best_of_all(count: int, groups: int, seed: int) -> None:
    affinities = random_affinities(count, seed)
    found = split_tasks(NAMES[:count], affinities, groups)
    wanted = min(count, groups)
    assert len(found) == wanted
    assert sorted(itertools.chain(*found)) == NAMES[:count]
    labels = {task: number for number, group in enumerate(found) for task in group}
    assert restated_score(labels, affinities) == pytest.approx(best_by_all_labels(count, wanted, affinities))
    assert split_score(found, affinities) == pytest.approx(restated_score(labels, affinities))


def test_tasks_that_help_each_other_stay_together_whatever_their_order() -> None:
    affinities = {
        ("a", "b"): 0.2,
        ("b", "a"): 0.1,
        ("c", "d"): 0.3,
        ("d", "c"): 0.1,
        ("a", "c"): -0.5,
        ("b", "d"): -0.5,
    }
    for names in itertools.permutations("abcd"):
        assert split_tasks(names, affinities, 2) == [["a", "b"], ["c", "d"]]


def test_pairs_that_nobody_measured_neither_help_nor_harm() -> None:
    assert split_tasks("abc", {("a", "b"): 0.1, ("b", "a"): 0.1}, 2) == [["a", "b"], ["c"]]
    harmful = split_tasks("abc", {("a", "b"): -0.1, ("b", "a"): -0.1}, 2)
    assert not any({"a", "b"} <= set(group) for group in harmful)


def test_nine_tasks_are_still_split_the_best_way() -> None:
    affinities = {
        (i, j): (1.0 if (int(i[1:]) % 3 == int(j[1:]) % 3) else -1.0) for i in NAMES[:9] for j in NAMES[:9] if i != j
    }
    assert split_tasks(NAMES[:9], affinities, 3) == [
        ["t00", "t03", "t06"],
        ["t01", "t04", "t07"],
        ["t02", "t05", "t08"],
    ]


@pytest.mark.parametrize("groups", [1, 2, 3, 12, 20])
def test_beyond_nine_tasks_planted_groups_are_found(groups: int) -> None:
    planted = {(i, j): (1.0 if int(i[1:]) % 3 == int(j[1:]) % 3 else -1.0) for i in NAMES for j in NAMES if i != j}
    found = split_tasks(NAMES[::-1], planted, groups)
    assert len(found) == min(groups, 12)
    assert sorted(itertools.chain(*found)) == NAMES
    if groups == 3:
        assert found == [NAMES[0::3], NAMES[1::3], NAMES[2::3]]


@settings(deadline=None, max_examples=20)
@given(groups=st.integers(2, 4), seed=st.integers(0, 1000))
def test_beyond_nine_tasks_no_single_move_is_better(groups: int, seed: int) -> None:
    affinities = random_affinities(11, seed)
    found = split_tasks(NAMES[:11], affinities, groups)
    labels = {task: number for number, group in enumerate(found) for task in group}
    score = restated_score(labels, affinities)
    for task, number in itertools.product(labels, range(groups)):
        moved = {**labels, task: number}
        if len(set(moved.values())) == groups:
            assert restated_score(moved, affinities) <= score + 1e-12


def test_a_client_belongs_where_most_of_its_tasks_are() -> None:
    groups = [["a", "b"], ["c", "d"]]
    assert best_group(["c"], groups, {}) == 1
    assert best_group(["a", "c", "d"], groups, {}) == 1
    assert best_group(["x"], groups, {}) is None
    assert best_group(["x", "d"], groups, {}) == 1
    assert best_group(["a"], [], {}) is None


def test_equal_numbers_of_tasks_are_told_apart_by_affinity_and_then_by_order() -> None:
    groups = [["a", "b"], ["c", "d"]]
    assert best_group(["a", "c"], groups, {}) == 0
    # d helps the client's c more than b helps its a.
    assert best_group(["a", "c"], groups, {("b", "a"): 0.1, ("d", "c"): 0.2}) == 1
    assert best_group(["c", "a"], groups, {("b", "a"): 0.1, ("d", "c"): 0.2}) == 1
    # What is harmed by the client does not count, only what is done to its tasks.
    assert best_group(["a", "c"], groups, {("c", "d"): 0.9, ("b", "a"): 0.1}) == 0
