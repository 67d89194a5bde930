"""Whole runs of real training, compared to the bit: Ditto with FedAvg and local training, FedProx with FedAvg."""

from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from fmtl.engine import run
from server_app.run_folder import RunFolder

SCENARIO = Path(__file__).parents[1] / "support/tiny.yaml"
Arrays = dict[str, np.ndarray]


@lru_cache(maxsize=16)
def outcome(strategy: str, **parameters: Any) -> tuple[Arrays, Arrays, Arrays, Any]:
    """Return, after two rounds: the server's rows, each client's scored model, its exchanged model, and the result."""
    told = {f"{strategy}.{name}": value for name, value in parameters.items()}
    values = {
        "strategy": strategy,
        "scenario": str(SCENARIO),
        "num-server-rounds": 2,
        "warmup-epochs": 0,
        "encoder-learning-rate": 1e-3,
        "decoder-learning-rate": 1e-3,
        **told,
    }
    with TemporaryDirectory() as place:
        folder = Path(place) / "run"
        result = run(values, folder)
        checkpoint = RunFolder(folder).newest_checkpoint()
        assert checkpoint is not None
        server = {name: np.array(array) for name, array in checkpoint.arrays.items()}
        scored: Arrays = {}
        exchanged: Arrays = {}
        for path in sorted((folder / "clients").rglob("round-00002/state.safetensors")):
            for name, array in load_file(path).items():
                kept = exchanged if name.startswith("exchanged/") else scored
                kept[f"{path.parts[-3]}/{name.removeprefix('exchanged/')}"] = array
    assert server.keys() or strategy == "local"
    assert scored
    return server, scored, exchanged, result


def assert_same(one: Arrays, other: Arrays) -> None:
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)


def different(one: Arrays, other: Arrays, section: str) -> bool:
    assert one.keys() == other.keys()
    names = [name for name in one if section in name]
    assert names
    return all(not np.array_equal(one[name], other[name]) for name in names)


def test_dittos_common_model_is_fedavgs_on_the_server_and_on_the_clients() -> None:
    ditto, fedavg = outcome("ditto"), outcome("fedavg")
    assert_same(ditto[0], fedavg[0])
    assert_same(ditto[2], fedavg[1])
    assert not fedavg[2]


def test_dittos_personal_model_without_a_pull_is_the_local_one() -> None:
    ditto, local = outcome("ditto", **{"lambda": 0.0}), outcome("local")
    assert_same(ditto[1], local[1])
    assert _scores(ditto) == _scores(local)


def test_dittos_pull_has_an_effect_so_it_is_not_fedavg_beside_local_training() -> None:
    drawn, alone = outcome("ditto", **{"lambda": 1.0}), outcome("ditto", **{"lambda": 0.0})
    assert different(drawn[1], alone[1], "parameters/")
    assert_same(drawn[0], alone[0])
    assert different(drawn[1], drawn[2], "parameters/")


def test_fedprox_without_a_term_is_fedavg() -> None:
    fedprox, fedavg = outcome("fedprox", mu=0.0), outcome("fedavg")
    assert_same(fedprox[0], fedavg[0])
    assert_same(fedprox[1], fedavg[1])
    assert _scores(fedprox) == _scores(fedavg)


def test_fedprox_with_a_term_is_not_fedavg() -> None:
    fedavg, coupled = outcome("fedavg"), outcome("fedprox", mu=1.0)
    decoupled = outcome("fedprox", mu=1.0, form="decoupled")
    for one, other in ((coupled, fedavg), (decoupled, fedavg), (coupled, decoupled)):
        assert different(one[0], other[0], "parameters/")


def _scores(found: tuple[Arrays, Arrays, Arrays, Any]) -> dict[str, dict[str, float]]:
    clients = found[3]["clients"]
    return {name: {task: kept["value"] for task, kept in c["tasks"].items()} for name, c in clients.items()}
