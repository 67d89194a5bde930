"""What the coordinator says of a round that is under way, and of clients that are not what they should be."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from fmtl import toy_federation as toy
from fmtl_strategies.contract.messages import PROCESS_ENDED, Instruction
from fmtl_strategies.flower_compat import set_message_id
from fmtl_strategies.methods.fedper import FedPer
from fmtl_strategies.round.enrolment import read_known_sites
from fmtl_strategies.round.exchange import RetryPolicy
from server_app.config import RunConfigError, parse_run_config
from server_app.progress import exchange
from server_app.run_folder import RunFolder


def _folder(path: Path) -> RunFolder:
    folder = RunFolder(path / "run")
    folder.create({})
    return folder


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (path / "run/progress.jsonl").read_text().splitlines()]


def test_every_answer_is_written_down_when_it_comes_and_every_failure_with_its_reason(tmp_path: Path) -> None:
    profiles = [toy.profile("a", ["semseg"]), toy.profile("b", ["depth"]), toy.profile("c", ["depth"])]
    federation = toy.ToyFederation(profiles, absent={"b": {1}})
    strategy, grid = FedPer(toy.settings()), federation.grid()
    messages = strategy.configure_train(1, None, None, grid)  # type: ignore[arg-type]
    replies = exchange(_folder(tmp_path), strategy, grid, messages, RetryPolicy(5.0))
    strategy.aggregate_train(1, replies)
    lines = _lines(tmp_path)
    assert [line["event"] for line in lines][0] == "asked"
    assert lines[0]["clients"] == ["a", "b", "c"]
    assert {line["client"]: line["event"] for line in lines[1:]} == {"a": "answered", "b": "failed", "c": "answered"}
    assert sum(line.get("bytes_up", 0) for line in lines) == strategy.record.bytes_up > 0
    assert "toy client is away" in next(line["reason"] for line in lines if line["event"] == "failed")


def test_client_without_an_answer_is_late(tmp_path: Path) -> None:
    federation = toy.ToyFederation([toy.profile("a", ["semseg"]), toy.profile("b", ["depth"])])
    strategy, grid = FedPer(toy.settings()), federation.grid()
    messages = list(strategy.configure_train(1, None, None, grid))  # type: ignore[arg-type]
    lost = messages[1]
    push = grid.push_messages

    def push_all_but_one(sent: Any) -> Any:
        ids = list(push([message for message in sent if message is not lost]))
        set_message_id(lost, "never-answered")
        return [*ids, "never-answered"]

    grid.push_messages = push_all_but_one  # type: ignore[method-assign]
    replies = exchange(_folder(tmp_path), strategy, grid, messages, RetryPolicy(0.3))
    assert len(replies) == 1
    assert [(line["event"], line["client"]) for line in _lines(tmp_path)[1:]] == [("answered", "a"), ("late", "b")]


def test_client_whose_process_ended_is_asked_again_and_takes_part(tmp_path: Path) -> None:
    ended = [RuntimeError(f"{PROCESS_ENDED} (killed)")]

    def die_once(body: Any, instruction: Instruction) -> Any:
        if ended:
            raise ended.pop()
        return body

    federation = toy.ToyFederation([toy.profile("a", ["semseg"]), toy.profile("b", ["depth"])], spoil={"b": die_once})
    strategy, grid = FedPer(toy.settings()), federation.grid()
    messages = strategy.configure_train(1, None, None, grid)  # type: ignore[arg-type]
    replies = exchange(_folder(tmp_path), strategy, grid, messages, RetryPolicy(5.0, retries=1))
    strategy.aggregate_train(1, replies)
    assert strategy.record.participants == ["a", "b"]
    assert strategy.record.set_aside == {}
    assert strategy.record.notes.keys() == {"b"}
    assert re.fullmatch(rf"asked again after \d+ s: {PROCESS_ENDED}", strategy.record.notes["b"])
    events = [(line["event"], line.get("client")) for line in _lines(tmp_path)]
    assert events == [("asked", None), ("answered", "a"), ("asked again", "b"), ("answered", "b")]


def test_client_that_lost_its_state_is_noted_and_only_it() -> None:
    def forget(body: Any, instruction: Instruction) -> Any:
        return toy.report_with(body, restored_round=0)

    federation = toy.ToyFederation([toy.profile("a", ["semseg"]), toy.profile("b", ["depth"])], spoil={"b": forget})
    strategy = FedPer(toy.settings(rounds=3))
    federation.play(strategy, [1])
    assert strategy.record.notes == {}
    federation.play(strategy, [2])
    assert strategy.record.notes.keys() == {"b"}
    assert "round 1 is lost" in strategy.record.notes["b"]
    assert strategy.record.participants == ["a", "b"]


def test_restarted_server_still_knows_which_states_clients_should_have() -> None:
    federation = toy.ToyFederation([toy.profile("a", ["semseg"]), toy.profile("b", ["depth"])])
    first = FedPer(toy.settings(rounds=3))
    federation.play(first, [1, 2])
    second = FedPer(toy.settings(rounds=3))
    second.load_state(*first.state())
    assert second.roster.lost_state("a", 1) is not None
    assert second.roster.lost_state("a", 2) is None


def test_node_may_only_be_the_client_whose_name_its_key_was_registered_for(tmp_path: Path) -> None:
    sites = tmp_path / "sites.json"
    sites.write_text(json.dumps({"1001": {"name": "a"}, "1002": {"name": "somebody-else"}}))
    _, parameters = parse_run_config({"known-sites": str(sites), "strategy": "fedper"})
    assert parameters == {}
    profiles = [toy.profile("a", ["semseg"]), toy.profile("b", ["depth"]), toy.profile("c", ["depth"])]
    federation = toy.ToyFederation(profiles)
    strategy = FedPer(toy.settings(known_sites=str(sites)))
    federation.play(strategy, [1])
    assert strategy.record.participants == ["a"]
    assert "belongs to site 'somebody-else'" in strategy.record.set_aside["node 1002"]
    assert "belongs to no registered site" in strategy.record.set_aside["node 1003"]


@pytest.mark.parametrize("content", ["", "[]", '{"x": {"name": "a"}}', '{"1": "a"}'])
def test_damaged_list_of_sites_stops_the_run_instead_of_letting_everybody_in(tmp_path: Path, content: str) -> None:
    (tmp_path / "sites.json").write_text(content)
    with pytest.raises(RunConfigError, match="known-sites"):
        read_known_sites(str(tmp_path / "sites.json"))
