"""The edge benchmark measures what it says, on a small size."""

from benchmarks.edge_metric import measure


def test_small_measurement_has_times_of_both_modes() -> None:
    result = measure((40, 50), images=1, reference_thresholds=0)
    assert float(str(result["milliseconds_per_image_99_thresholds"])) > 0
    assert float(str(result["milliseconds_per_image_9_thresholds"])) > 0
    assert "matched_pixels_pyedgeeval" not in result
