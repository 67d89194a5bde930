import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmtl_strategies.maths.gram import cosine_matrix
from fmtl_strategies.maths.grouping import hard_groups, soft_scores


def clustered(cosines: np.ndarray, count: int) -> set[frozenset[int]]:
    """Average linkage as its definition says: merge the two clusters of the smallest mean distance, repeatedly."""
    clusters = [frozenset([i]) for i in range(len(cosines))]

    def distance(one: frozenset[int], other: frozenset[int]) -> float:
        return float(np.mean([1 - cosines[i, j] for i in one for j in other]))

    while len(clusters) > count:
        pairs = [(a, b) for k, a in enumerate(clusters) for b in clusters[k + 1 :]]
        one, other = min(pairs, key=lambda pair: distance(*pair))
        clusters = [c for c in clusters if c not in (one, other)] + [one | other]
    return set(clusters)


def as_sets(groups: list[int]) -> set[frozenset[int]]:
    return {frozenset(i for i, g in enumerate(groups) if g == group) for group in groups}


def cosines_of(count: int, seed: int) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((count, 5))
    rows -= rows.mean(axis=0)
    return cosine_matrix(rows @ rows.T)


@given(count=st.integers(2, 8), groups=st.integers(1, 8), seed=st.integers(0, 1000))
def test_clusters_are_those_of_average_linkage_by_its_definition(count: int, groups: int, seed: int) -> None:
    cosines = cosines_of(count, seed)
    found = hard_groups(cosines, groups)
    assert as_sets(found) == clustered(cosines, groups)
    assert len(set(found)) == min(groups, count)


def test_groups_are_numbered_by_their_first_clients() -> None:
    rows = np.array([[1.0, 0], [0, 1], [1, 0.1], [0.1, 1]])
    assert hard_groups(cosine_matrix(rows @ rows.T), 2) == [0, 1, 0, 1]


@pytest.mark.parametrize("groups", [2, 3])
def test_equal_distances_still_give_as_many_groups_as_asked_for(groups: int) -> None:
    assert len(set(hard_groups(np.eye(4), groups))) == groups


@pytest.mark.parametrize("groups", [3, 4, 9])
def test_no_more_clients_than_groups_leaves_everybody_alone(groups: int) -> None:
    assert hard_groups(np.ones((3, 3)), groups) == [0, 1, 2]


def test_a_client_without_a_direction_does_not_spoil_the_others() -> None:
    rows = np.array([[1.0, 0], [0, 0], [1, 0.1], [-1, 0]])
    found = hard_groups(cosine_matrix(rows @ rows.T), 3)
    assert found == [0, 1, 0, 2]


@given(count=st.integers(1, 7), threshold=st.floats(-0.99, 2), seed=st.integers(0, 1000))
def test_soft_scores_are_shares_of_what_exceeds_the_threshold(count: int, threshold: float, seed: int) -> None:
    cosines = cosines_of(count, seed)
    found = soft_scores(cosines, threshold)
    for i in range(count):
        raw = [max((1.0 if i == j else cosines[i, j]) + threshold, 0.0) for j in range(count)]
        assert found[i] == pytest.approx([value / max(sum(raw), 1e-8) for value in raw])
    assert found.sum(axis=1) == pytest.approx(np.ones(count))


def test_threshold_decides_between_everybody_for_itself_and_the_mean_of_all() -> None:
    cosines = cosines_of(4, 1)
    np.testing.assert_array_equal(soft_scores(cosines, -0.99), np.eye(4))
    np.testing.assert_allclose(soft_scores(cosines, 1e6), np.full((4, 4), 0.25), atol=1e-5)
