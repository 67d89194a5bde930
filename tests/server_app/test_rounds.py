"""Whole runs of the server side over toy clients: history, result, skipped rounds, failures, resume."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toy_federation import ToyFederation, profile, report_with

from fmtl_strategies.contract.files import InUseError
from fmtl_strategies.contract.messages import Report, read_text
from server_app.app import run
from server_app.config import RunConfig, RunConfigError, parse_run_config
from server_app.rounds import RunFailedError
from server_app.run_folder import RunFolder, RunFolderError


def _federation(**changes: Any) -> ToyFederation:
    profiles = [profile("a", ["semseg"]), profile("b", ["edge", "depth"]), profile("c", ["depth"])]
    return ToyFederation(profiles, **changes)


def _that_raises(error: BaseException, when: Callable[[str, str, int], bool]) -> ToyFederation:
    """A federation whose client raises where `when(kind of message, round, number of the client)` holds."""
    federation = _federation()
    answer = federation.answer

    def raising(message: Any, context: Any) -> Any:
        metadata = message.metadata
        if when(metadata.message_type, metadata.group_id, context.node_config["partition-id"]):
            raise error
        return answer(message, context)

    federation.answer = raising  # type: ignore[method-assign]
    return federation


def _federation_without_data_of_b() -> ToyFederation:
    missing = FileNotFoundError("data-root = '/nowhere' does not exist")
    return _that_raises(missing, lambda kind, number, client: client == 1)


def _config(**changes: Any) -> RunConfig:
    values = {"strategy": "fedavg", "num_server_rounds": 4, "upload_format": "float32", **changes}
    return RunConfig.from_flat({key.replace("_", "-"): value for key, value in values.items()})


def _final_arrays(path: Path) -> dict[str, Any]:
    checkpoint = RunFolder(path).newest_checkpoint()
    assert checkpoint is not None
    return checkpoint.arrays


def test_history_has_a_line_for_each_round_and_scores_belong_to_the_round_before(tmp_path: Path) -> None:
    result = run(_federation().grid(), _config(), {}, tmp_path / "run")
    lines = RunFolder(tmp_path / "run").history()
    assert [line["round"] for line in lines] == [1, 2, 3, 4, 4]
    assert [line["evaluated_round"] for line in lines] == [None, 1, 2, 3, 4]
    assert [line["final"] for line in lines] == [False] * 4 + [True]
    assert result["status"] == "completed"
    assert result["clients"]["b"]["tasks"]["edge"]["value"] == 10 + len("edge") + 4
    assert json.loads((tmp_path / "run/result.json").read_text()) == result
    assert result["bytes_up"] > 0


def test_evaluate_every_skips_rounds_but_never_the_last(tmp_path: Path) -> None:
    run(_federation().grid(), _config(num_server_rounds=5, evaluate_every=2), {}, tmp_path / "run")
    lines = RunFolder(tmp_path / "run").history()
    assert [line["evaluated_round"] for line in lines] == [None, None, 2, None, 4, 5]


def test_client_missing_at_the_final_scoring_is_reported_missing_with_the_reason(tmp_path: Path) -> None:
    federation = _that_raises(RuntimeError("no power"), lambda kind, number, client: (kind, client) == ("evaluate", 2))
    result = run(federation.grid(), _config(), {}, tmp_path / "run")
    score = result["clients"]["c"]["tasks"]["depth"]
    assert score["value"] is None
    assert "no power" in score["missing_because"]
    assert result["clients"]["a"]["tasks"]["semseg"]["value"] is not None


def _federation_that_scores_nothing(reply: str) -> ToyFederation:
    """Its clients refuse to be scored (``error``), or answer that there is no score (``missing``)."""
    if reply == "missing":
        return _federation(spoil=dict.fromkeys("abc", _without_scores))
    return _that_raises(RuntimeError("image-size is too small"), lambda kind, number, client: kind == "evaluate")


def _without_scores(body: Any, _: Any) -> Any:
    scores = read_text(body, Report).scores
    return report_with(body, scores=dict.fromkeys(scores, {"missing_because": "image-size is too small"}))


@pytest.mark.parametrize("reply", ["error", "missing"])
def test_run_without_any_score_has_failed_and_says_why_and_can_be_scored_again(tmp_path: Path, reply: str) -> None:
    config = {"evaluate_every": 4}
    with pytest.raises(RunFailedError, match="rounds are done, but no client has a score: a.*image-size is too small"):
        run(_federation_that_scores_nothing(reply).grid(), _config(**config), {}, tmp_path / "run")
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert result["status"] == "failed"
    assert result["reason"].count("image-size is too small") >= 3
    assert "image-size is too small" in result["clients"]["c"]["tasks"]["depth"]["missing_because"]
    whole = run(_federation().grid(), _config(**config), {}, tmp_path / "whole")
    again = run(_federation().grid(), _config(**config, resume=True), {}, tmp_path / "run")
    assert again["status"] == "completed"
    assert again["reason"] is None
    assert again["clients"] == whole["clients"]


def test_round_with_too_few_good_replies_is_skipped_and_the_run_goes_on(tmp_path: Path) -> None:
    run(_federation(absent={"a": {2}, "b": {2}}).grid(), _config(), {}, tmp_path / "run")
    lines = RunFolder(tmp_path / "run").history()
    assert [line["skipped"] for line in lines] == [False, True, False, False, False]
    assert set(lines[1]["set_aside"]) == {"a", "b"}


def test_run_fails_with_the_reason_after_the_set_number_of_skipped_rounds(tmp_path: Path) -> None:
    absent = {name: {2, 3, 4} for name in "abc"}
    with pytest.raises(RunFailedError, match="2 rounds in a row.*toy client is away"):
        run(_federation(absent=absent).grid(), _config(max_skipped_rounds=2), {}, tmp_path / "run")
    result = json.loads((tmp_path / "run/result.json").read_text())
    assert result["status"] == "failed"
    assert "toy client is away" in result["reason"]


def test_run_shorter_than_the_set_number_fails_when_every_round_was_skipped(tmp_path: Path) -> None:
    absent, changes = {name: {1, 2} for name in "abc"}, {"num_server_rounds": 2, "max_skipped_rounds": 3}
    with pytest.raises(RunFailedError, match="2 rounds in a row.*toy client is away"):
        run(_federation(absent=absent).grid(), _config(**changes), {}, tmp_path / "run")
    with pytest.raises(RunFailedError, match="nothing is left to resume"):
        run(_federation().grid(), _config(**changes, resume=True), {}, tmp_path / "run")
    assert json.loads((tmp_path / "run/result.json").read_text())["status"] == "failed"


@pytest.mark.parametrize("min_clients", [0, 3])
def test_client_that_cannot_start_fails_the_run_at_once_with_its_reason(tmp_path: Path, min_clients: int) -> None:
    federation = _federation_without_data_of_b()
    with pytest.raises(RunFailedError, match="2 of 3 clients.*data-root = '/nowhere'"):
        run(federation.grid(), _config(min_clients=min_clients), {}, tmp_path / "run")


def test_run_goes_on_without_a_refused_client_when_fewer_are_asked_for(tmp_path: Path) -> None:
    federation = _federation_without_data_of_b()
    result = run(federation.grid(), _config(min_clients=2), {}, tmp_path / "run")
    assert set(result["clients"]) == {"a", "c"}
    lines = RunFolder(tmp_path / "run").history()
    assert all("/nowhere" in reason for line in lines for reason in line["set_aside"].values())
    assert all(line["set_aside"] for line in lines)


class _KilledError(BaseException):
    """Stands for kill -9: no handler of the server may catch it."""


@pytest.mark.parametrize("strategy", ["local", "fedavg", "fedper", "fedhca2"])
@pytest.mark.parametrize("killed_in", [1, 2, 4])
def test_run_killed_in_a_round_and_resumed_ends_with_the_same_bits(
    tmp_path: Path, strategy: str, killed_in: int
) -> None:
    whole = run(_federation().grid(), _config(strategy=strategy), {}, tmp_path / "whole")
    federation = _that_raises(_KilledError(), lambda *asked: asked == ("train", str(killed_in), 1))
    with pytest.raises(_KilledError):
        run(federation.grid(), _config(strategy=strategy), {}, tmp_path / "cut")
    resumed = run(_federation().grid(), _config(strategy=strategy, resume=True), {}, tmp_path / "cut")
    assert resumed["clients"] == whole["clients"]
    one, other = _final_arrays(tmp_path / "whole"), _final_arrays(tmp_path / "cut")
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name])
    history = [RunFolder(tmp_path / name).history() for name in ("whole", "cut")]
    for line in (*history[0], *history[1]):
        line.pop("seconds")
    assert history[0] == history[1]


def test_resumed_run_has_no_result_until_it_ends(tmp_path: Path) -> None:
    absent = {name: {2, 3} for name in "abc"}
    with pytest.raises(RunFailedError):
        run(_federation(absent=absent).grid(), _config(max_skipped_rounds=2), {}, tmp_path / "run")
    federation = _federation()
    answer, seen = federation.answer, []

    def look(message: Any, context: Any) -> Any:
        seen.append((tmp_path / "run/result.json").exists())
        return answer(message, context)

    federation.answer = look  # type: ignore[method-assign]
    run(federation.grid(), _config(max_skipped_rounds=2, resume=True), {}, tmp_path / "run")
    assert seen
    assert not any(seen)
    assert (tmp_path / "run/result.json").exists()


def test_resume_refuses_other_settings_and_finished_runs_and_empty_folders(tmp_path: Path) -> None:
    federation = _federation(absent={name: {1, 2, 3} for name in "abc"})
    with pytest.raises(RunFailedError):
        run(federation.grid(), _config(), {}, tmp_path / "run")
    with pytest.raises(RunFolderError, match="seed = 5, the run was started with 0"):
        run(_federation().grid(), _config(resume=True, seed=5), {}, tmp_path / "run")
    with pytest.raises(RunFolderError, match="fedavg.decoder-scope = 'same-task'"):
        run(_federation().grid(), _config(resume=True), {"decoder-scope": "same-task"}, tmp_path / "run")
    with pytest.raises(RunFolderError, match="already holds a run"):
        run(_federation().grid(), _config(), {}, tmp_path / "run")
    run(_federation().grid(), _config(resume=True), {}, tmp_path / "run")
    with pytest.raises(RunFolderError, match="has finished"):
        run(_federation().grid(), _config(resume=True), {}, tmp_path / "run")
    with pytest.raises(RunFolderError, match="holds no run to resume"):
        run(_federation().grid(), _config(resume=True), {}, tmp_path / "nothing")


def test_two_runs_cannot_use_one_folder_at_once(tmp_path: Path) -> None:
    first = RunFolder(tmp_path / "run")
    first.create({"run_config": {}})
    with pytest.raises(InUseError, match=str(tmp_path / "run")):
        RunFolder(tmp_path / "run").open()
    first.close()
    assert RunFolder(tmp_path / "run").open() == {"run_config": {}}


def test_only_the_newest_checkpoints_are_kept(tmp_path: Path) -> None:
    run(_federation().grid(), _config(keep_checkpoints=2), {}, tmp_path / "run")
    assert sorted(p.name for p in (tmp_path / "run/checkpoints").iterdir()) == ["round-00003", "round-00004"]


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"stratgy": "fedavg"}, "'stratgy'; did you mean 'strategy'"),
        ({"strategy": "fedavgg"}, "unknown strategy 'fedavgg'; did you mean fedavg?"),
        ({"num-server-rounds": 0}, "'num-server-rounds' = 0"),
        ({"quorum": 2.0}, "'quorum' = 2.0"),
        ({"upload-format": "int4"}, "'upload-format' = 'int4'"),
        ({"fedfoo.c": 1.0}, "no strategy 'fedfoo'"),
    ],
)
def test_wrong_run_config_names_key_value_and_what_is_known(values: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match="run-config|strategy") as caught:
        parse_run_config(values)
    assert said in str(caught.value)
    assert isinstance(caught.value, RunConfigError) or "fedavgg" in str(caught.value)
