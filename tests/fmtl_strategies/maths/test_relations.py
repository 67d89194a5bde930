import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import sqrtm

from fmtl_strategies.maths.relations import anchor_weights, learned_relations, mean_relations


def models(count: int, size: int = 12, seed: int = 0) -> np.ndarray:
    return np.random.default_rng([count, size, seed]).standard_normal((count, size))


def gram_of(rows: np.ndarray) -> np.ndarray:
    deviations = rows - rows.mean(axis=0)
    return deviations @ deviations.T


def test_mean_relations_are_the_mocha_papers_square() -> None:
    root = np.eye(5) - np.ones((5, 5)) / 5
    np.testing.assert_allclose(mean_relations(5), root @ root, atol=1e-15)


def test_under_mean_relations_the_anchor_is_the_mean_of_the_others() -> None:
    rows = models(4)
    found = anchor_weights(mean_relations(4)) @ rows
    for i in range(4):
        np.testing.assert_allclose(found[i], np.delete(rows, i, axis=0).mean(axis=0))


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("count", [2, 3, 6])
def test_pull_to_the_anchor_is_the_gradient_of_the_regulariser(count: int, learned: bool) -> None:
    rows, strength, step = models(count), 0.3, 1e-6
    relations = learned_relations(gram_of(rows), 0.1) if learned else mean_relations(count)

    def regulariser(at: np.ndarray) -> float:
        return strength / 2 * float(np.trace(at.T @ relations @ at))

    anchors = anchor_weights(relations) @ rows
    for i, column in [(0, 0), (count - 1, 5)]:
        moved = np.zeros_like(rows)
        moved[i, column] = step
        gradient = (regulariser(rows + moved) - regulariser(rows - moved)) / (2 * step)
        pull = strength * relations[i, i] * (rows[i, column] - anchors[i, column])
        assert gradient == pytest.approx(pull, rel=1e-6, abs=1e-8)


@pytest.mark.parametrize("count", [2, 3, 6])
def test_learned_relations_are_mochas_over_deviations(count: int) -> None:
    gram, shrinkage = gram_of(models(count)), 0.2
    root = np.real(sqrtm(gram + 1e-14 * np.eye(count)))
    projection = np.eye(count) - np.ones((count, count)) / count
    sigma = (1 - shrinkage) * (count - 1) * root / np.trace(root) + shrinkage * projection
    np.testing.assert_allclose(learned_relations(gram, shrinkage), np.linalg.pinv(sigma, rcond=1e-5), atol=1e-5)


@settings(max_examples=50)
@given(st.integers(2, 7), st.integers(1, 9), st.floats(1e-3, 1), st.floats(-150, 120))
def test_learned_relations_are_bounded_and_leave_the_mean_free(
    count: int, size: int, shrinkage: float, scale: float
) -> None:
    relations = learned_relations(gram_of(models(count, size)) * 10.0**scale, shrinkage)
    np.testing.assert_allclose(relations.sum(axis=1), 0, atol=1e-8 / shrinkage)
    values = np.linalg.eigvalsh(relations)
    assert values[-1] <= (1 + 1e-9) / shrinkage
    assert values[0] >= -1e-9 / shrinkage
    assert (np.diag(relations) > 0).all()
    weights = anchor_weights(relations)
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-7 / shrinkage)
    np.testing.assert_array_equal(np.diag(weights), 0)


@pytest.mark.parametrize(
    ("gram", "shrinkage"), [(np.zeros((4, 4)), 0.1), (gram_of(models(4)), 1.0), (2.5 * mean_relations(4), 0.1)]
)
def test_without_structure_or_with_full_shrinkage_learned_is_mean(gram: np.ndarray, shrinkage: float) -> None:
    np.testing.assert_allclose(learned_relations(gram, shrinkage), mean_relations(4), atol=1e-12)


def test_clients_of_one_cluster_are_each_others_anchor() -> None:
    centres = np.repeat([[10.0], [-10.0]], 3, axis=0)
    rows = centres * np.ones((6, 12)) + models(6)
    weights = anchor_weights(learned_relations(gram_of(rows), 0.01))
    within, across = weights[0, 1:3].sum(), weights[0, 3:].sum()
    assert within > 0.9
    assert abs(across) < 0.1


def test_a_single_client_has_no_relation_and_is_its_own_anchor() -> None:
    for relations in (mean_relations(1), learned_relations(np.zeros((1, 1)), 0.1)):
        np.testing.assert_array_equal(relations, [[0.0]])
        np.testing.assert_array_equal(anchor_weights(relations), [[1.0]])
