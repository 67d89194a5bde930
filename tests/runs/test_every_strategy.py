"""Every strategy in a whole run with real training: two rounds, and the same after a restart between them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from fmtl.engine import run
from fmtl_strategies.registry import strategy_names
from server_app import rounds
from server_app.run_folder import RunFolder

SCENARIO = Path(__file__).parents[1] / "support/tiny.yaml"


class CutOffError(Exception):
    """Stands for the end of the server's process."""


def values(strategy: str, **changes: Any) -> dict[str, Any]:
    return {
        "strategy": strategy,
        "scenario": str(SCENARIO),
        "num-server-rounds": 2,
        "warmup-epochs": 0,
        "encoder-learning-rate": 1e-3,
        "decoder-learning-rate": 1e-3,
        **changes,
    }


def arrays(folder: Path) -> dict[str, np.ndarray]:
    checkpoint = RunFolder(folder).newest_checkpoint()
    assert checkpoint is not None
    found = {f"server/{name}": array for name, array in checkpoint.arrays.items()}
    for path in sorted((folder / "clients").rglob("round-00002/state.safetensors")):
        found.update({f"{path.parts[-3]}/{name}": array for name, array in load_file(path).items()})
    return found


def cut_after_first_round(monkeypatch: pytest.MonkeyPatch) -> None:
    keep = rounds._keep

    def keep_once(*args: Any) -> None:
        keep(*args)
        raise CutOffError

    monkeypatch.setattr(rounds, "_keep", keep_once)


@pytest.mark.parametrize("name", strategy_names())
def test_two_rounds_run_and_a_run_cut_between_them_ends_the_same(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(values(name), tmp_path / "whole")
    assert whole["status"] == "completed"
    scored = [task for client in whole["clients"].values() for task in client["tasks"].values()]
    assert len(scored) == 4
    assert all(np.isfinite(task["value"]) for task in scored)

    with monkeypatch.context() as patched:
        cut_after_first_round(patched)
        with pytest.raises(CutOffError):
            run(values(name), tmp_path / "cut")
    resumed = run(values(name, resume=True), tmp_path / "cut")

    one, other = arrays(tmp_path / "whole"), arrays(tmp_path / "cut")
    assert one.keys() == other.keys()
    for key, array in one.items():
        np.testing.assert_array_equal(array, other[key], err_msg=key)
    assert whole["clients"] == resumed["clients"]
