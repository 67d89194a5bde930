"""FedDEA over toy clients: what is kept and averaged, the one model, what it wraps, and sparse replies that are bad."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord
from safetensors.numpy import load_file
from toy_federation import BUFFERS, ENCODER, ToyFederation, profile, settings, start_of, update_of

from fmtl_strategies.contract.layout import ArraySpec, GroupLayout
from fmtl_strategies.contract.profile import ClientProfile
from fmtl_strategies.contract.rule import Pull, Sparsify
from fmtl_strategies.contract.sparse import encode_sparse
from fmtl_strategies.parameters import StrategyParameterError
from fmtl_strategies.registry import make_strategy
from fmtl_strategies.round.base import PersonalizedStrategy
from server_app.app import run
from server_app.config import effective_config, parse_run_config
from server_app.run_folder import RunFolderError

CLIENTS = (
    profile("a", ["semseg"], buffers=True),
    profile("b", ["semseg", "edge"], examples=30, buffers=True),
    profile("c", ["edge"], buffers=True),
    profile("d", ["depth"], buffers=True),
)
SHARED = ("encoder", "decoders", "heads")


def new(rounds: int = 9, **parameters: Any) -> PersonalizedStrategy:
    named = {key.replace("__", ".").replace("_", "-"): value for key, value in parameters.items()}
    return make_strategy("feddea", settings(rounds=rounds, quorum=0.1), named)


def play(strategy: PersonalizedStrategy, toys: ToyFederation, rounds: Sequence[int]) -> dict[str, np.ndarray]:
    toys.play(strategy, rounds)
    return {name: np.array(row) for name, row in strategy.store.arrays().items()}


def masked(client: ClientProfile, server_round: int, rho: float, factor: float) -> dict[str, np.ndarray]:
    """What a client should send, by plain sorting: the ceil(rho d) largest of all trained values, times the factor."""
    groups = sorted(group for group in client.groups if not group.startswith("buffers."))
    updates = {g: update_of(client.client, g, server_round, client.groups[g].size).astype(np.float64) for g in groups}
    everything = sorted((abs(float(v)) for u in updates.values() for v in u), reverse=True)
    threshold = everything[math.ceil(rho * len(everything)) - 1]
    return {g: np.array([factor * v if abs(v) >= threshold else 0.0 for v in u]) for g, u in updates.items()}


@pytest.mark.parametrize("weighting", ["uniform", "examples"])
def test_the_model_moves_by_the_weighted_mean_of_what_owners_kept(weighting: str) -> None:
    found = play(new(rho=0.3, weighting=weighting), ToyFederation(CLIENTS), [1])
    sent = {client.client: masked(client, 1, 0.3, 1 / 0.3) for client in CLIENTS}
    for client in CLIENTS:
        for group in sent[client.client]:
            owners = [other for other in CLIENTS if group in other.groups]
            weights = [1.0 if weighting == "uniform" else other.train_examples for other in owners]
            size = client.groups[group].size
            expected = start_of(group, size).astype(np.float64)
            for weight, owner in zip(weights, owners, strict=True):
                expected += weight / sum(weights) * sent[owner.client][group]
            np.testing.assert_allclose(found[f"{client.client}/{group}"], expected, rtol=1e-5, atol=1e-7)


def test_with_rho_of_one_in_n_the_kept_changes_of_the_encoder_are_added_up() -> None:
    found = play(new(rho="1/n"), ToyFederation(CLIENTS), [1])
    kept = [masked(client, 1, 1 / 4, 1.0)["encoder"] for client in CLIENTS]
    np.testing.assert_allclose(found["a/encoder"], start_of("encoder", 16) + np.sum(kept, axis=0), rtol=1e-5, atol=1e-7)


def test_magnifying_the_encoder_alone_leaves_decoders_and_heads_at_the_size_they_had() -> None:
    found = play(new(rho="1/n", magnify="encoder"), ToyFederation(CLIENTS), [1])
    kept = {client.client: masked(client, 1, 1 / 4, 1.0) for client in CLIENTS}
    added = np.sum([kept[name]["encoder"] for name in "abcd"], axis=0)
    np.testing.assert_allclose(found["a/encoder"], start_of("encoder", 16) + added, rtol=1e-5, atol=1e-7)
    for group, owners in (("heads.depth", "d"), ("decoders.edge", "bc")):
        row = found[f"{owners[0]}/{group}"]
        mean = np.mean([kept[name][group] for name in owners], axis=0)
        np.testing.assert_allclose(row, start_of(group, row.size) + mean, rtol=1e-5, atol=1e-7)


def test_one_in_n_counts_the_clients_asked_in_the_round() -> None:
    strategy, toys = new(rho="1/n"), ToyFederation(CLIENTS[:2])
    play(strategy, toys, [1])
    later = ToyFederation(CLIENTS)
    play(strategy, later, [2])
    assert toys.rules["a", 1].sparsify == Sparsify(fraction=1 / 2, rescale="inverse")
    assert later.rules["a", 2].sparsify == Sparsify(fraction=1 / 4, rescale="inverse")


def test_buffers_are_averaged_over_their_owners_as_they_are() -> None:
    found = play(new(rho=0.2), ToyFederation(CLIENTS), [1])
    for group, owners in (
        ("buffers.encoder", "abcd"),
        ("buffers.decoders.edge", "bc"),
        ("buffers.decoders.depth", "d"),
    ):
        mean = np.mean([update_of(owner, group, 1, BUFFERS.size) for owner in owners], axis=0)
        np.testing.assert_allclose(found[f"{owners[0]}/{group}"], start_of(group, BUFFERS.size) + mean, rtol=1e-5)


@pytest.mark.parametrize("base", ["fedavg", "fedprox", "fedadam", "fedyogi", "fedadagrad", "fedavgm"])
def test_all_clients_hold_one_model_with_absent_vanished_and_new_clients(base: str) -> None:
    strategy = new(base=base)
    play(strategy, ToyFederation(CLIENTS[:3], absent={"b": {2}, "a": {3}}), [1, 2, 3])
    found = play(strategy, ToyFederation(CLIENTS, absent={"c": {5}, "a": {4, 5}}), [4, 5])
    by_group: dict[str, list[np.ndarray]] = {}
    for name, row in found.items():
        by_group.setdefault(name.partition("/")[2], []).append(row)
    assert len(by_group["encoder"]) == 4
    for group, rows in by_group.items():
        for row in rows:
            np.testing.assert_array_equal(row, rows[0], err_msg=group)
    assert not np.array_equal(by_group["heads.depth"][0], start_of("heads.depth", 2))


def test_a_server_optimiser_takes_what_was_kept_for_its_gradient() -> None:
    found = play(new(base="fedadam", fedadam__server_learning_rate=0.05), ToyFederation(CLIENTS), [1])
    delta = np.mean([masked(client, 1, 0.3, 1 / 0.3)["encoder"] for client in CLIENTS], axis=0)
    expected = start_of("encoder", 16) + 0.05 * 0.1 * delta / (np.sqrt(0.99e-6 + 0.01 * delta**2) + 1e-3)
    np.testing.assert_allclose(found["a/encoder"], expected, rtol=1e-5, atol=1e-7)
    plain = play(new(), ToyFederation(CLIENTS), [1, 2])
    same = play(new(base="fedavgm", fedavgm__momentum=0.0), ToyFederation(CLIENTS), [1, 2])
    for name, row in plain.items():
        np.testing.assert_allclose(same[name], row, rtol=1e-5, atol=1e-7)


def test_the_state_of_a_wrapped_optimiser_survives_a_restart() -> None:
    straight, before = new(base="fedyogi"), new(base="fedyogi")
    expected = play(straight, ToyFederation(CLIENTS), [1, 2, 3])
    play(before, ToyFederation(CLIENTS), [1, 2])
    arrays, values = before.state()
    after = new(base="fedyogi")
    after.load_state({name: np.array(array) for name, array in arrays.items()}, json.loads(json.dumps(values)))
    found = play(after, ToyFederation(CLIENTS), [3])
    for name, row in expected.items():
        np.testing.assert_array_equal(found[name], row)


def test_fedprox_pulls_everything_that_is_trained_and_the_update_is_masked_too() -> None:
    toys = ToyFederation(CLIENTS)
    play(new(base="fedprox", fedprox__mu=0.1, scope="layer", rescale="energy"), toys, [1])
    rule = toys.rules["b", 1]
    groups = ("encoder", "decoders.semseg", "decoders.edge", "heads.semseg", "heads.edge")
    assert rule.pull == Pull(strength=0.1, groups=groups)
    assert rule.sparsify == Sparsify(fraction=0.3, scope="layer", rescale="energy")


@pytest.mark.parametrize("rho", [0, 1.5, "n", "", "nan", True, "-0.1", "1e-40"])
def test_a_share_that_cannot_be_is_refused_with_what_it_may_be(rho: object) -> None:
    with pytest.raises(StrategyParameterError, match=r'feddea\.rho = .* number from 1e-06 to 1, or "1/n"'):
        new(rho=rho)


# Parameters of the wrapped strategy -----------------------------------------------------------------------------------


def parsed(**values: Any) -> Any:
    return parse_run_config({"strategy": "feddea", "num-server-rounds": 2, "upload-format": "float32", **values})


def test_parameters_of_the_base_are_in_force_recorded_and_read_back() -> None:
    sections = {"feddea.base": "fedprox", "fedprox.mu": 0.1, "fedprox.decoder-scope": "all", "fedadam.tau": 1e-3}
    effective = effective_config(*parsed(**sections))
    assert effective["feddea.base"] == "fedprox"
    assert effective["fedprox.mu"] == 0.1
    assert effective["fedprox.decoder-scope"] == "same-task"
    assert not any(key.startswith("fedadam.") for key in effective)
    assert effective_config(*parse_run_config(effective)) == effective


def test_result_shows_the_base_and_resuming_with_another_one_is_refused(tmp_path: Path) -> None:
    chosen = {"feddea.base": "fedprox", "fedprox.mu": 0.1}
    result = run(ToyFederation(CLIENTS).grid(), *parsed(**chosen), tmp_path / "run")
    assert result["strategy_parameters"]["rho"] == "0.3"
    assert result["strategy_parameters"]["fedprox.mu"] == 0.1
    origins = result["strategy_parameter_origins"]
    assert origins.keys() == result["strategy_parameters"].keys()
    assert origins["fedprox.mu"] == "given"
    assert origins["fedprox.decoder-scope"] == origins["fedprox.weighting"] == "paper"
    (tmp_path / "run/result.json").unlink()
    changed = parsed(**{**chosen, "fedprox.mu": 0.2, "resume": True})
    with pytest.raises(RunFolderError, match=r"fedprox\.mu = 0\.2, the run was started with 0\.1"):
        run(ToyFederation(CLIENTS).grid(), *changed, tmp_path / "run")


# The unified model ----------------------------------------------------------------------------------------------------


def test_a_run_ends_with_the_one_model_under_the_names_of_a_clients_model(tmp_path: Path) -> None:
    toys = ToyFederation(CLIENTS)
    run(toys.grid(), *parsed(), tmp_path / "run")
    found = load_file(tmp_path / "run/unified.safetensors")
    tasks = ("depth", "edge", "semseg")
    encoder = {f"encoder.{spec.name}" for spec in (*ENCODER.arrays, *BUFFERS.arrays)}
    heads = {f"heads.{task}.last_conv.weight" for task in tasks}
    decoders = {name for name in found if name.startswith("decoders.")}
    assert set(found) == encoder | heads | decoders
    assert {name.split(".")[1] for name in decoders} == set(tasks)
    for client in CLIENTS:
        sent = toys.received[client.client, 3]
        assert sent.keys() == client.groups.keys()
        for group, layout in client.groups.items():
            for name, array in layout.unpack(sent[group]).items():
                np.testing.assert_array_equal(found[f"{group.removeprefix('buffers.')}.{name}"], array)


def test_clients_of_another_layout_have_a_model_of_their_own(tmp_path: Path) -> None:
    other = GroupLayout(arrays=(ArraySpec(name="stem.weight", shape=(5,)),))
    groups = {**CLIENTS[2].groups, "encoder": other}
    clients = [*CLIENTS[:2], CLIENTS[2].model_copy(update={"groups": groups})]
    run(ToyFederation(clients).grid(), *parsed(), tmp_path / "run")
    found = load_file(tmp_path / "run/unified.safetensors")
    assert {name.partition("/")[0] for name in found} == {"model-of-a", "model-of-c"}
    assert found["model-of-a/encoder.stem.weight"].shape == (4, 3)
    assert found["model-of-c/encoder.stem.weight"].shape == (5,)
    np.testing.assert_array_equal(
        found["model-of-a/heads.edge.last_conv.weight"], found["model-of-c/heads.edge.last_conv.weight"]
    )


# Bad replies ----------------------------------------------------------------------------------------------------------


def with_encoder(array: Callable[[], Array]) -> Callable[[Any, Any], Any]:
    def spoil(body: Any, _: Any) -> Any:
        arrays = dict(body.array_records["updates"].items())
        arrays["encoder"] = array()
        body["updates"] = ArrayRecord(arrays)
        return body

    return spoil


def sparse_with(values: dict[int, float], size: int = 16) -> Callable[[], Array]:
    flat = np.zeros(size, np.float32)
    flat[list(values)] = list(values.values())
    return lambda: encode_sparse(flat, "float32")


def only_the_encoder(body: Any, _: Any) -> Any:
    full = encode_sparse(np.ones(16, np.float32), "float32")
    none = {name: encode_sparse(np.zeros(12, np.float32), "float32") for name in ("decoders.edge",)}
    arrays = dict(body.array_records["updates"].items())
    body["updates"] = ArrayRecord({**arrays, **none, "encoder": full})
    return body


BAD: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "NaN among the values": (with_encoder(sparse_with({2: math.nan})), "encoder"),
    "infinity among the values": (with_encoder(sparse_with({2: math.inf})), "encoder"),
    "a norm that is not believed": (with_encoder(sparse_with({2: 1e9})), "max-update-norm"),
    "more values than asked for over all groups": (only_the_encoder, "values"),
    "a vector of another size": (with_encoder(sparse_with({2: 1.0}, size=40)), "encoder"),
    "all values instead of the kept ones": (with_encoder(lambda: Array(np.ones(16, np.float32))), "encoder"),
    "garbage": (with_encoder(lambda: Array(np.arange(60, dtype=np.uint8))), "encoder"),
}


@pytest.mark.parametrize("kind", sorted(BAD))
def test_a_bad_sparse_reply_is_set_aside_and_the_round_completes(kind: str) -> None:
    spoil, reason = BAD[kind]
    strategy = new()
    found = play(strategy, ToyFederation(CLIENTS, spoil={"c": spoil}), [1])
    assert strategy.record.participants == ["a", "b", "d"]
    assert reason in strategy.record.set_aside["c"]
    without = play(new(), ToyFederation(CLIENTS, absent={"c": {1}}), [1])
    for name, row in without.items():
        np.testing.assert_array_equal(found[name], row)
