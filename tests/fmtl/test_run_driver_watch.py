"""A simulation whose main process was killed is noticed, one that has only just ended is not mistaken for it."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from fmtl.simulation import session


@pytest.mark.parametrize(
    ("there", "lost"),
    [
        ([False] * 20, False),
        ([True] * 20, False),
        ([None] * 20, False),
        ([False] * 5 + [True] * 5 + [False] * 3, False),
        ([False] * 5 + [True] * 5 + [False] * 10, True),
        ([True] * 5 + [False] * 3 + [True], False),
    ],
)
def test_lost_means_seen_and_then_gone_for_more_than_ten_seconds(
    monkeypatch: pytest.MonkeyPatch, there: list[bool | None], lost: bool
) -> None:
    looks = iter(there)
    watch = session._DriverWatch(SimpleNamespace(has_program=lambda name: next(looks)))
    answers = []
    for number in range(len(there)):
        monkeypatch.setattr(session.time, "monotonic", lambda now=100.0 + 2.0 * number: now)
        answers.append(watch.lost())
    assert answers[-1] is lost
