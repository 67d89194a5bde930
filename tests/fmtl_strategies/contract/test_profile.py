"""Profiles that would make the server allocate, loop or crash are refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from toy_federation import profile

from fmtl_strategies.contract.profile import ClientProfile

ENCODER = {"name": "w", "shape": [4]}


def _with(**changes: Any) -> str:
    text = json.loads(profile("a", ["Edge"]).model_dump_json())
    text.update(changes)
    return json.dumps(text)


def _groups(encoder: list[dict[str, Any]], head: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    plain = {"arrays": [ENCODER]}
    return {
        "encoder": {"arrays": encoder},
        "decoders.Edge": plain,
        "heads.Edge": plain if head is None else {"arrays": head},
    }


def test_task_names_may_have_capitals_and_group_names_follow() -> None:
    read = ClientProfile.model_validate_json(_with())
    assert read.groups_of_kind("decoders") == ["decoders.Edge"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"groups": _groups([ENCODER, ENCODER])}, "groups"),
        ({"groups": _groups([{"name": "w", "shape": [-5]}])}, "shape"),
        ({"groups": _groups([{"name": "w", "shape": [10**12]}])}, "limit"),
        ({"groups": _groups([{"name": "w", "shape": [10**12]}], [{"name": "w", "shape": [-(10**12)]}])}, "shape"),
        ({"groups": {**_groups([ENCODER]), "x" * 10**6: {"arrays": [ENCODER]}}}, "groups"),
        ({"client": "../../etc"}, "client"),
        ({"train_examples": 10**12}, "train_examples"),
        ({"protocol": 2}, "protocol 2"),
        ({"versions": {"torch": "x" * 1000}}, "versions"),
    ],
)
def test_impossible_profile_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ClientProfile.model_validate_json(_with(**changes))
