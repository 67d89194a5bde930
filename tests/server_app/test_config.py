"""The run config: values that cannot be recorded are refused before a run folder is made."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from fmtl.engine import run
from fmtl_strategies.parameters import StrategyParameterError
from server_app.config import RunConfigError

SCENARIO = Path(__file__).parents[1] / "support/tiny.yaml"


@pytest.mark.parametrize(
    ("key", "error"),
    [
        ("round-timeout", RunConfigError),
        ("max-update-norm", RunConfigError),
        ("fedhca2.attention-temperature", StrategyParameterError),
    ],
)
@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_setting_that_is_no_finite_number_is_refused_by_name(
    key: str, error: type[ValueError], value: float, tmp_path: Path
) -> None:
    values = {"strategy": "fedhca2", "scenario": str(SCENARIO), key: value}
    with pytest.raises(error, match=f"{key}.*finite"):
        run(values, tmp_path / "run")
    assert not (tmp_path / "run").exists()
