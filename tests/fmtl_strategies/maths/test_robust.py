"""Robust statistics: who looks unusual among the rows of a Gram matrix."""

import numpy as np
import pytest
from errors import naming
from flwr.app import ArrayRecord, RecordDict
from flwr.serverapp.strategy.multikrum import select_multikrum

from fmtl_strategies.maths.gram import gram_matrix
from fmtl_strategies.maths.robust import (
    krum_applies,
    krum_choice,
    krum_scores,
    lower_median,
    norm_bound,
    outlier_scores,
)

SIZE = 20_000


def noise(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, SIZE)).astype(np.float32)


def related(count: int, share: float = 0.7, seed: int = 0) -> np.ndarray:
    """Rows with pairwise cosines of about share^2 / (share^2 + (1 - share)^2)."""
    rows = noise(count + 1, seed)
    return np.float32(share) * rows[0] + np.float32(1 - share) * rows[1:]


@pytest.mark.parametrize(("values", "median"), [([3.0], 3), ([1.0, 9.0], 1), ([5.0, 1.0, 3.0], 3), ([4, 1, 3, 2], 2)])
def test_the_lower_median_is_one_of_the_values(values: list[float], median: float) -> None:
    assert lower_median(np.array(values, dtype=float)) == median


def test_half_of_the_rows_cannot_raise_the_norm_bound() -> None:
    assert norm_bound(np.array([1.0, 1.1, 1.2, 1e5, 1e5, 1e5]), 2.0) == pytest.approx(2.4)


def test_rows_of_zeros_do_not_lower_the_norm_bound_to_nothing() -> None:
    assert norm_bound(np.array([0.0, 0.0, 0.0, 2.0]), 3.0) == 6.0
    assert norm_bound(np.zeros(4), 3.0) is None


@pytest.mark.parametrize("count", [6, 20])
@pytest.mark.parametrize("make", [noise, related])
def test_honest_rows_score_low_whether_they_agree_or_not(make: object, count: int) -> None:
    for seed in range(20):
        scores = outlier_scores(gram_matrix(make(count, seed=seed)))  # type: ignore[operator]
        assert scores.score_n.max() < 2.5


@pytest.mark.parametrize("factor", [10.0, 100.0, 1e6])
def test_a_long_row_is_an_outlier_by_its_size(factor: float) -> None:
    rows = related(6)
    rows[2] *= np.float32(factor)
    scores = outlier_scores(gram_matrix(rows))
    assert scores.size_n[2] > 5
    assert scores.score_n[[0, 1, 3, 4, 5]].max() < 2.5


def test_a_short_row_is_none() -> None:
    rows = related(6)
    rows[2] *= np.float32(1e-4)
    rows[3] = 0
    assert outlier_scores(gram_matrix(rows)).score_n.max() < 2.5


@pytest.mark.parametrize("factor", [-1.0, -4.0])
def test_a_flipped_row_among_rows_that_agree_is_an_outlier_by_its_direction(factor: float) -> None:
    rows = related(6)
    rows[2] *= np.float32(factor)
    scores = outlier_scores(gram_matrix(rows))
    assert scores.direction_n[2] > 5
    assert scores.score_n[[0, 1, 3, 4, 5]].max() < 2.5


def test_a_flipped_row_among_unrelated_rows_cannot_be_told_from_an_honest_one() -> None:
    rows = noise(6)
    rows[2] *= np.float32(-1)
    assert outlier_scores(gram_matrix(rows)).score_n.max() < 2.5


@pytest.mark.parametrize(("honest", "colluding"), [(4, 2), (11, 9)])
def test_equal_outliers_are_found_while_they_are_fewer_than_half(honest: int, colluding: int) -> None:
    rows = related(honest + colluding)
    rows[honest:] = -4 * rows[-1]
    scores = outlier_scores(gram_matrix(rows)).score_n
    assert scores[honest:].min() > 5
    assert scores[:honest].max() < 2.5


def test_scores_do_not_depend_on_the_unit_of_the_updates() -> None:
    rows = related(6)
    rows[0] *= np.float32(7)
    once = outlier_scores(gram_matrix(rows)).score_n
    np.testing.assert_allclose(outlier_scores(gram_matrix(np.float32(2.0**-9) * rows)).score_n, once, rtol=1e-6)


@pytest.mark.parametrize(("count", "attackers", "applies"), [(5, 1, True), (4, 1, False), (7, 2, True), (6, 2, False)])
def test_krum_needs_two_attackers_and_three_more_rows(count: int, attackers: int, applies: bool) -> None:
    assert krum_applies(count, attackers) == applies
    if not applies:
        with pytest.raises(ValueError, match=naming(2 * attackers + 3, "rows")):
            krum_scores(np.eye(count), attackers)


@pytest.mark.parametrize(("count", "attackers"), [(6, 1), (9, 3), (20, 4)])
def test_krum_scores_are_sums_over_the_nearest_rows(count: int, attackers: int) -> None:
    rows = related(count, seed=count)
    rows[1] *= np.float32(3)
    expected = []
    for i in range(count):
        distances = sorted(float(((rows[i].astype(float) - rows[j]) ** 2).sum()) for j in range(count) if j != i)
        expected.append(sum(distances[: count - attackers - 2]))
    np.testing.assert_allclose(krum_scores(gram_matrix(rows), attackers), expected, rtol=1e-4)


@pytest.mark.parametrize(("count", "attackers"), [(6, 1), (9, 3), (20, 4)])
def test_krum_chooses_what_flowers_multi_krum_chooses(count: int, attackers: int) -> None:
    rows = related(count, seed=count)
    rows[:attackers] *= np.float32(-2)
    contents = [RecordDict({"arrays": ArrayRecord([row])}) for row in rows]
    theirs = select_multikrum(contents, attackers, count - attackers)
    numbers = [i for i, content in enumerate(contents) if any(content is one for one in theirs)]
    assert krum_choice(krum_scores(gram_matrix(rows), attackers), attackers) == numbers
    assert set(numbers).isdisjoint(range(attackers))
