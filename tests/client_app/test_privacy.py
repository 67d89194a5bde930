"""What a client that asks for privacy lets out, and how it accounts for it."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dp_accounting import dp_event, pld
from errors import naming
from fmtl_datasets.shared.privacy import Privacy
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from client_app.privacy import (
    Account,
    fresh_generator,
    keep_variances,
    privatise,
    read_account,
    require_budget,
    write_account,
)
from client_app.training.errors import PrivacyError
from fmtl.engine import run
from fmtl_strategies.contract.layout import ArraySpec, GroupLayout

SCENARIO = """
name: private
description: One client asks for privacy, one does not.
defaults:
  dataset: procedural
  image-size: [32, 32]
  encoder: mobilenetv3_small_050
  decoder-width: 8
  train-images: 2
  validation-images: 2
  batch-size: 2
clients:
  - {name: careful, tasks: [semseg], privacy: {clip: 0.5, noise: 0.1, epsilon: LIMIT}}
  - {name: open, tasks: [semseg]}
"""


def _updates(size: int = 40_000, length: float = 3.0) -> dict[str, Any]:
    values = np.random.default_rng(3).standard_normal(size).astype(np.float32)
    values *= np.float32(length / np.linalg.norm(values))
    return {"encoder": values[: size // 4], "decoders.semseg": values[size // 4 :]}


def test_long_upload_is_shortened_over_all_groups_together_and_gets_the_noise_that_was_asked_for() -> None:
    privacy = Privacy(clip=1.0, noise=0.25)
    updates = _updates(length=3.0)
    private = privatise(updates, privacy, np.random.default_rng(1))
    noise = np.concatenate([private[group] - updates[group] / 3.0 for group in sorted(updates)])
    assert np.std(noise) == pytest.approx(2 * 1.0 * 0.25, rel=0.02)
    assert np.mean(noise) == pytest.approx(0, abs=0.01)
    assert updates["encoder"] is not private["encoder"]


@examples(max_examples=30, deadline=None)
@given(st.floats(1e-6, 1e6), st.floats(1e-3, 1e3))
def test_whatever_the_update_the_clipped_part_is_at_most_the_clipping_norm(length: float, clip: float) -> None:
    updates = _updates(size=100, length=length)
    private = privatise(updates, Privacy(clip=clip, noise=1e-12), np.random.default_rng(1))
    norm = math.sqrt(sum(float(np.sum(np.float64(flat) ** 2)) for flat in private.values()))
    assert norm <= clip * (1 + 1e-5)
    assert norm == pytest.approx(min(length, clip), rel=1e-4)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_update_that_no_clipping_bounds_is_not_uploaded(bad: float) -> None:
    updates = _updates()
    updates["encoder"][3] = bad
    with pytest.raises(PrivacyError, match=naming("NaN")):
        privatise(updates, Privacy(clip=1.0, noise=1.0), fresh_generator())


def test_noise_is_never_the_same_twice() -> None:
    first, second = (privatise(_updates(), Privacy(clip=1.0, noise=1.0), fresh_generator()) for _ in range(2))
    assert not np.array_equal(first["encoder"], second["encoder"])


@pytest.mark.parametrize("arrived", [True, False])
def test_noise_leaves_no_variance_below_zero_where_the_start_arrived_and_means_alone(arrived: bool) -> None:
    names = ("n.running_mean", "n.running_var")
    layout = GroupLayout(arrays=tuple(ArraySpec(name=name, shape=(2,)) for name in names))
    before = {"buffers.encoder": np.array([0.0, 0.0, 0.5, 0.5], dtype=np.float32)}
    noisy = {"buffers.encoder": np.array([-3.0, 2.0, -0.7, 0.2], dtype=np.float32)}
    kept = keep_variances(noisy, before if arrived else {}, {"buffers.encoder": layout})["buffers.encoder"]
    np.testing.assert_array_equal(kept, np.array([-3.0, 2.0, -0.5 if arrived else -0.7, 0.2], dtype=np.float32))


def test_account_agrees_with_privacy_loss_distributions_and_never_claims_less() -> None:
    account = Account({4.0: 20, 2.0: 10})
    exact = pld.PLDAccountant()
    exact.compose(dp_event.GaussianDpEvent(4.0), 20).compose(dp_event.GaussianDpEvent(2.0), 10)
    tight = exact.get_epsilon(1e-5)
    assert tight <= account.epsilon(1e-5) <= 1.15 * tight


def test_account_survives_and_adds_up_over_runs(tmp_path: Path) -> None:
    path = tmp_path / "privacy/a.json"
    assert read_account(path).epsilon(1e-5) == 0
    for _ in range(3):
        write_account(path, read_account(path).with_upload(2.0))
    write_account(path, read_account(path).with_upload(1.0))
    assert read_account(path).uploads == {2.0: 3, 1.0: 1}
    path.write_text("{")
    with pytest.raises(PrivacyError, match="damaged"):
        read_account(path)


def test_limit_is_checked_before_it_is_exceeded() -> None:
    privacy = Privacy(clip=1.0, noise=2.0, epsilon=10.0)
    account = Account({})
    while account.with_upload(2.0).epsilon(1e-5) <= 10.0:
        require_budget(account, privacy, "a")
        account = account.with_upload(2.0)
    assert account.count > 1
    with pytest.raises(PrivacyError, match=naming("limit", "10")):
        require_budget(account, privacy, "a")


def _run(folder: Path, limit: str, strategy: str, rounds: int = 2) -> dict[str, Any]:
    folder.mkdir()
    scenario = folder / "private.yaml"
    scenario.write_text(SCENARIO.replace("LIMIT", limit), encoding="utf-8")
    values = {"strategy": strategy, "scenario": str(scenario), "num-server-rounds": rounds, "quorum": 0.1}
    return run(values, folder / "run")


@pytest.mark.parametrize("strategy", ["fedhca2", "feddea", "m-fed"])
def test_run_reports_each_clients_budget_and_keeps_what_noise_does_not_cover(tmp_path: Path, strategy: str) -> None:
    result = _run(tmp_path / "a", "1e6", strategy)
    score = result["clients"]["careful"]["tasks"]["semseg"]
    assert score["value"] is None
    assert "asks for privacy" in score["missing_because"]
    assert result["clients"]["open"]["tasks"]["semseg"]["value"] is not None
    lines = [json.loads(line) for line in (tmp_path / "a/run/history.jsonl").read_text().splitlines()]
    assert [line["set_aside"] for line in lines] == [{}, {}, {}]
    spent = [line["diagnostics"]["careful/privacy_epsilon"] for line in lines]
    assert spent[0] == pytest.approx(Account({0.1: 1}).epsilon(1e-5))
    assert spent[1] == spent[2] == pytest.approx(Account({0.1: 2}).epsilon(1e-5))
    assert "open/privacy_epsilon" not in lines[0]["diagnostics"]
    assert lines[0]["losses"]["careful"] == {}
    kept = (tmp_path / "a/run/clients/privacy/careful-scores.jsonl").read_text().splitlines()
    assert json.loads(kept[-1])["scores"]["semseg"]["value"] is not None


def test_client_stops_uploading_at_its_limit_and_the_run_goes_on(tmp_path: Path) -> None:
    limit = Account({0.1: 1}).epsilon(1e-5) * 1.01
    _run(tmp_path / "a", f"{limit:.6f}", "fedper", rounds=2)
    lines = [json.loads(line) for line in (tmp_path / "a/run/history.jsonl").read_text().splitlines()]
    assert lines[0]["participants"] == ["careful", "open"]
    assert lines[1]["participants"] == ["open"]
    assert "uploads nothing more" in lines[1]["set_aside"]["careful"]
