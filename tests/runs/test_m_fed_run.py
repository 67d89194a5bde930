"""M-Fed in whole runs with real training: one model for a task, and encoders that g draws together."""

from pathlib import Path
from typing import Any

import numpy as np

from fmtl.engine import run
from server_app.run_folder import RunFolder

SCENARIO = """
name: tasks
description: two clients of one task, one of another
defaults: {dataset: procedural, image-size: [32, 32], encoder: mobilenetv3_small_050, decoder-width: 8,
           train-images: 4, validation-images: 2, batch-size: 2}
clients:
  - {name: one, tasks: [depth]}
  - {name: two, tasks: [depth], train-images: 2}
  - {name: three, tasks: [saliency]}
"""


def rows(tmp_path: Path, name: str, **changes: Any) -> dict[str, np.ndarray]:
    scenario = tmp_path / "tasks.yaml"
    scenario.write_text(SCENARIO)
    values = {
        "strategy": "m-fed",
        "scenario": str(scenario),
        "num-server-rounds": 3,
        "schedule": "constant",
        "encoder-learning-rate": 1e-3,
        "decoder-learning-rate": 1e-3,
        "m-fed.schedule": "constant",
        "m-fed.form": "decoupled",
        **changes,
    }
    assert run(values, tmp_path / name)["status"] == "completed"
    checkpoint = RunFolder(tmp_path / name).newest_checkpoint()
    assert checkpoint is not None
    prefix = "parameters/"
    return {n.removeprefix(prefix): a for n, a in checkpoint.arrays.items() if n.startswith(prefix)}


def test_clients_of_a_task_end_with_one_model_and_g_draws_the_tasks_together(tmp_path: Path) -> None:
    free, drawn = (
        rows(tmp_path, "free", **{"m-fed.lambda-max": 0.0}),
        rows(tmp_path, "drawn", **{"m-fed.lambda-max": 200.0}),
    )
    for found in (free, drawn):
        groups = {name.partition("/")[2] for name in found if name.startswith("one/")}
        assert {"encoder", "decoders.depth", "heads.depth", "buffers.encoder", "buffers.decoders.depth"} <= groups
        for group in groups:
            np.testing.assert_allclose(found[f"one/{group}"], found[f"two/{group}"], rtol=1e-6, err_msg=group)
        assert np.abs(found["one/buffers.encoder"] - found["three/buffers.encoder"]).max() > 1e-3
    apart = [float(np.linalg.norm(found["one/encoder"] - found["three/encoder"])) for found in (free, drawn)]
    assert 0 < apart[1] < 0.9 * apart[0]
