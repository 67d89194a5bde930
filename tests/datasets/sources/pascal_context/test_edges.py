"""Boundaries of a label map: by the published rule, one pixel wide, and never broken by thinning."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from fmtl_datasets.sources.pascal_context.edges import boundaries, thin
from scipy import ndimage

from client_app.metrics.edge.thinning import thin as thin_of_the_metric

EIGHT = np.ones((3, 3), dtype=np.int64)


def random_maps(count: int) -> list[npt.NDArray[np.bool_]]:
    draws = np.random.default_rng(3)
    maps = []
    for number in range(count):
        noise = draws.random(tuple(draws.integers(1, 50, 2)))
        maps.append(noise < draws.random() if number % 2 else ndimage.gaussian_filter(noise, 2) > 0.5)
    return maps


def test_thinning_agrees_with_the_one_that_scores_edges() -> None:
    for binary in random_maps(40):
        np.testing.assert_array_equal(thin(binary), thin_of_the_metric(binary))


def test_thinning_keeps_every_line_connected_and_takes_no_new_pixel() -> None:
    for binary in random_maps(40):
        thinned = thin(binary)
        assert not (thinned & ~binary).any()
        assert ndimage.label(thinned, EIGHT)[1] == ndimage.label(binary, EIGHT)[1]


def test_a_straight_border_between_two_regions_is_one_line() -> None:
    regions = np.full((9, 12), 440, dtype=np.uint16)
    regions[:, 6:] = 158
    edge = boundaries(regions)
    # Both sides of the border have a Laplacian that is not 0; thinning leaves one of the two columns, and may shorten
    # it by a pixel.
    assert edge[1:].sum(axis=1).tolist() == [1] * 8
    assert set(np.flatnonzero(edge.any(axis=0))) <= {5, 6}


def test_one_region_has_no_boundary_not_even_at_the_rim_of_the_image() -> None:
    assert not boundaries(np.full((7, 5), 459, dtype=np.uint16)).any()


def test_a_pixel_whose_neighbours_cancel_out_is_no_boundary_as_published() -> None:
    # Left of the middle column 1, in it 2, right of it 3: its Laplacian is 1 + 3 + 2 + 2 - 4 * 2 = 0.
    regions = np.repeat(np.array([[1, 1, 1, 2, 3, 3, 3]], dtype=np.uint16), 6, axis=0)
    assert not boundaries(regions)[:, 3].any()
    assert boundaries(regions).any()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int16, np.float64])
def test_the_type_in_which_a_label_map_is_stored_does_not_matter(dtype: type[np.generic]) -> None:
    regions = np.random.default_rng(0).integers(0, 200, (6, 8)).repeat(5, 0).repeat(5, 1)
    np.testing.assert_array_equal(boundaries(regions.astype(dtype)), boundaries(regions))
