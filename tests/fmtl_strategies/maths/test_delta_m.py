"""delta_m against every value published for FedHCA2 (arXiv 2311.13250, Tables 1, 2, 4, 5)."""

import math

import pytest
from errors import naming

from fmtl_strategies.maths.delta_m import delta_m

# Columns: P-SemSeg, Parts, Sal, Normals, Edge, N-SemSeg, Depth, Normals, Edge.
TABLE_1_DIRECTIONS = (True, True, True, False, True, True, False, False, True)
TABLE_1_LOCAL = (51.69, 49.94, 80.91, 15.76, 71.95, 41.86, 0.6487, 20.59, 76.46)
TABLE_1 = {
    "FedAvg": ((39.98, 37.33, 77.56, 18.27, 69.17, 38.94, 0.7858, 21.62, 75.77), -11.76),
    "FedProx": ((44.42, 38.10, 77.26, 18.03, 69.39, 39.19, 0.8068, 21.52, 76.03), -10.68),
    "FedPer": ((54.51, 46.56, 78.85, 16.95, 71.00, 44.02, 0.6467, 21.19, 76.61), -1.11),
    "Ditto": ((46.23, 39.69, 77.99, 17.52, 69.77, 41.49, 0.6508, 20.60, 76.45), -5.57),
    "FedAMP": ((55.98, 52.05, 80.79, 15.74, 72.02, 41.67, 0.6428, 20.54, 76.40), 1.47),
    "MaT-FL": ((57.45, 48.63, 79.26, 17.26, 71.23, 40.99, 0.6352, 20.65, 76.59), -0.46),
    "FedHCA2": ((57.55, 52.30, 80.71, 15.60, 72.08, 41.47, 0.6281, 20.53, 76.50), 2.18),
    "encoder only": ((58.38, 51.64, 80.44, 15.65, 72.09, 41.21, 0.6377, 20.55, 76.50), 1.89),
    "decoder only": ((57.39, 51.65, 80.75, 15.69, 72.06, 41.48, 0.6344, 20.56, 76.41), 1.80),
}
# Columns: N-SemSeg, Depth, Normals, Edge, P-SemSeg, Parts, Sal, Normals, Edge.
TABLE_2_DIRECTIONS = (True, False, False, True, True, True, True, False, True)
TABLE_2_LOCAL = (33.59, 0.7129, 23.22, 75.02, 65.80, 55.01, 83.23, 14.21, 71.89)
TABLE_2 = {
    "FedAvg": ((25.80, 0.8295, 24.85, 75.31, 64.63, 52.88, 81.08, 15.56, 68.95), -7.56),
    "FedProx": ((25.96, 0.8316, 25.20, 75.34, 64.97, 50.78, 81.29, 15.83, 69.81), -8.12),
    "FedPer": ((35.93, 0.7460, 23.75, 75.53, 67.78, 54.75, 82.50, 14.75, 71.90), -0.16),
    "Ditto": ((28.15, 0.7482, 23.96, 75.42, 65.99, 51.45, 81.74, 15.29, 69.96), -4.67),
    "FedAMP": ((34.75, 0.7103, 23.31, 75.03, 66.08, 54.10, 83.35, 14.20, 71.88), 0.27),
    "MaT-FL": ((35.05, 0.7504, 23.39, 75.33, 67.90, 54.78, 82.84, 14.58, 71.94), -0.16),
    "FedHCA2": ((34.95, 0.7018, 23.19, 75.03, 65.81, 55.01, 83.18, 14.08, 71.97), 0.75),
}
# Table 4: the NYUD columns of Table 2. Table 5: PASCAL SemSeg, Parts, Normals; NYUD SemSeg, Normals.
TABLE_4_LOCAL, TABLE_4_DIRECTIONS = TABLE_2_LOCAL[:4], TABLE_2_DIRECTIONS[:4]
TABLE_4 = {
    "single-task": ((34.71, 0.7170, 23.25, 74.98), 0.64),
    "with multi-task": ((34.95, 0.7018, 23.19, 75.03), 1.44),
}
TABLE_5_LOCAL, TABLE_5_DIRECTIONS = (64.87, 53.34, 14.07, 39.81, 20.65), (True, True, False, True, False)
TABLE_5 = {"FedHCA2": ((64.17, 54.25, 14.01, 40.26, 20.55), 0.53)}

PUBLISHED = [
    pytest.param(values, local, directions, expected, id=f"table {number} {name}")
    for number, table, local, directions in (
        (1, TABLE_1, TABLE_1_LOCAL, TABLE_1_DIRECTIONS),
        (2, TABLE_2, TABLE_2_LOCAL, TABLE_2_DIRECTIONS),
        (4, TABLE_4, TABLE_4_LOCAL, TABLE_4_DIRECTIONS),
        (5, TABLE_5, TABLE_5_LOCAL, TABLE_5_DIRECTIONS),
    )
    for name, (values, expected) in table.items()
]


@pytest.mark.parametrize(("values", "local", "directions", "expected"), PUBLISHED)
def test_published_values_are_reproduced_to_the_last_printed_digit(
    values: tuple[float, ...], local: tuple[float, ...], directions: tuple[bool, ...], expected: float
) -> None:
    assert round(delta_m(values, local, directions), 2) == expected


def test_local_against_itself_is_zero() -> None:
    assert delta_m(TABLE_1_LOCAL, TABLE_1_LOCAL, TABLE_1_DIRECTIONS) == 0.0


def test_missing_value_raises_unless_exclusion_is_asked_for() -> None:
    values, local = [50.0, None, 11.0], [40.0, 3.0, 10.0]
    with pytest.raises(ValueError, match=naming("column 1")):
        delta_m(values, local, [True, True, False])
    assert math.isclose(delta_m(values, local, [True, True, False], missing="exclude"), (25.0 - 10.0) / 2)


@pytest.mark.parametrize(
    ("values", "local", "message"),
    [
        ([float("nan")], [1.0], "relative"),
        ([1.0], [0.0], "relative"),
        ([1.0, 2.0], [1.0], "direction"),
    ],
)
def test_values_without_relative_change_raise(values: list[float], local: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        delta_m(values, local, [True] * len(values))


def test_no_common_column_raises_instead_of_returning_a_number() -> None:
    with pytest.raises(ValueError, match=naming("column")):
        delta_m([None], [1.0], [True], missing="exclude")
