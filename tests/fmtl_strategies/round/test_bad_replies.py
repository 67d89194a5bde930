"""Bad replies (field-notes section 4): each is set aside and named, and the round completes without it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from bad_replies import NAMED, OVERSIZED
from bad_replies import spoil as spoil_reply
from flwr.app import Array, ArrayRecord, ConfigRecord
from toy_federation import ToyFederation, profile, report_with, settings, start_of, update_of

from fmtl_strategies.methods.fedavg import FedAvg
from fmtl_strategies.methods.fedper import FedPer
from fmtl_strategies.round.store import RowKey

SIZE = 16
PROFILES = [profile("a", ["semseg"]), profile("bad", ["edge"]), profile("c", ["depth"])]
Spoil = Callable[[Any, Any], Any]


def _value(value: float) -> Spoil:
    """One value among good ones."""

    def spoil(body: Any, _: Any) -> Any:
        flat = body.array_records["updates"]["encoder"].numpy().copy()
        flat[3] = value
        body["updates"] = ArrayRecord({"encoder": Array(flat)})
        return body

    return spoil


def _header(text: bytes) -> Spoil:
    text = text.ljust(117) + b"\n"
    data = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text
    record = {"encoder": Array("float32", (SIZE,), "numpy.ndarray", data)}
    return lambda body, _: body.__setitem__("updates", ArrayRecord(record)) or body


def _report(**changes: Any) -> Spoil:
    return lambda body, _: report_with(body, **changes)


def _as_a_site_sends_it(kind: str, body: Any, _: Any) -> Any:
    spoil_reply(body, kind)
    return body


BAD: dict[str, tuple[Spoil, str]] = {
    **{kind: (partial(_as_a_site_sends_it, kind), reason) for kind, reason in NAMED.items() if kind != OVERSIZED},
    "a NaN": (_value(np.nan), "NaN"),
    "an infinite value": (_value(np.inf), "infinite"),
    "overflowing values": (_value(3e38), "overflowing"),
    "norm beyond the limit": (_value(1e9), "max-update-norm"),
    "header without a dtype": (_header(b"{'descr': (), 'fortran_order': False, 'shape': (16,), }"), "header"),
    "header that nests too deep": (_header(b"{'shape': (" + b"-" * 90 + b"1,)}"), "header says"),
    "header that never ends": (_header(b"'''"), "header says"),
    "count larger than announced": (_report(train_examples=5000), "5000 training images"),
    "count negative": (_report(train_examples=-3), "train_examples"),
    "no text": (lambda body, _: body.__setitem__("message", ConfigRecord({})) or body, "no text"),
    "infinite loss": (_report(losses={"edge": float("inf")}), "losses"),
    "loss of a stranger task": (_report(losses={"parts": 1.0}), "parts"),
}


@pytest.mark.parametrize("kind", sorted(BAD))
def test_bad_reply_is_set_aside_and_the_round_completes(kind: str) -> None:
    spoil, reason = BAD[kind]
    strategy = FedPer(settings(rounds=2, quorum=0.3))
    ToyFederation(PROFILES, spoil={"bad": spoil}).play(strategy, [1])
    assert strategy.record.participants == ["a", "c"]
    assert list(strategy.record.set_aside) == ["bad"]
    assert reason in strategy.record.set_aside["bad"]
    assert not strategy.record.skipped
    start = start_of("encoder", SIZE)
    mean = start + (update_of("a", "encoder", 1, SIZE) + update_of("c", "encoder", 1, SIZE)) / 2
    np.testing.assert_allclose(strategy.store.parameters(RowKey("a", "encoder")), mean, rtol=1e-6)
    np.testing.assert_array_equal(
        strategy.store.parameters(RowKey("a", "encoder")), strategy.store.parameters(RowKey("c", "encoder"))
    )
    # The sender of a bad reply is given the current model, into which nothing of its reply went.
    np.testing.assert_array_equal(
        strategy.store.parameters(RowKey("bad", "encoder")), strategy.store.parameters(RowKey("a", "encoder"))
    )


def test_bad_second_group_leaves_nothing_of_the_first_behind() -> None:
    def spoil(body: Any, _: Any) -> Any:
        arrays = dict(body.array_records["updates"].items())
        arrays["encoder"] = Array(np.full(SIZE, np.nan, np.float32))
        body["updates"] = ArrayRecord(arrays)
        return body

    strategy = FedAvg(settings(rounds=2, quorum=0.3))
    ToyFederation(PROFILES, spoil={"bad": spoil}).play(strategy, [1])
    assert strategy.record.participants == ["a", "c"]
    for name in ("a", "c"):
        for group in strategy.roster.profiles[name].groups_of_kind("decoders"):
            assert np.isfinite(strategy.store.parameters(RowKey(name, group))).all()
