"""FedDEA with real training, around a server optimiser: what the run leaves fits a client's model."""

from pathlib import Path
from typing import Any

import torch
from fmtl_datasets.scenarios.scenario import load_scenario
from safetensors.torch import load_file

from client_app.round.local_data import local_data
from client_app.round.local_model import prepare_model
from fmtl.engine import run

SCENARIO = Path(__file__).parents[1] / "support/tiny.yaml"


def test_the_unified_model_loads_into_every_clients_model(tmp_path: Path) -> None:
    values: dict[str, Any] = {
        "strategy": "feddea",
        "feddea.base": "fedadam",
        "fedadam.server-learning-rate": 1e-3,
        "scenario": str(SCENARIO),
        "num-server-rounds": 1,
        "warmup-epochs": 0,
    }
    result = run(values, tmp_path / "run")
    assert result["status"] == "completed"
    assert result["strategy_parameters"]["fedadam.server-learning-rate"] == 1e-3
    arrays = load_file(tmp_path / "run/unified.safetensors")
    tasks = set()
    for entry in load_scenario(str(SCENARIO)).clients:
        model = prepare_model(entry, local_data(entry).num_classes, 0)[0]
        own = {name for name, value in model.state_dict().items() if value.is_floating_point()}
        assert own <= set(arrays)
        model.load_state_dict({name: arrays[name] for name in own}, strict=False)
        assert all(torch.isfinite(value).all() for value in model.state_dict().values())
        tasks.update(entry.tasks)
    assert {name.split(".")[1] for name in arrays if name.startswith("heads.")} == tasks
