"""The fifteen bad replies of field-notes section 4: each is set aside and named, and the round completes without it."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from flwr.app import Array, ArrayRecord, ConfigRecord
from toy_federation import ToyFederation, profile, report_with, settings, start_of, update_of

from fmtl_strategies.methods.fedper import FedPer
from fmtl_strategies.round.store import RowKey

SIZE = 16


def _replace(change: Callable[[np.ndarray], np.ndarray]) -> Callable[[Any, Any], Any]:
    def spoil(body: Any, _: Any) -> Any:
        good = body.array_records["updates"]["encoder"].numpy()
        body["updates"] = ArrayRecord({"encoder": Array(change(good))})
        return body

    return spoil


def _raw(**changes: Any) -> Callable[[Any, Any], Any]:
    def spoil(body: Any, _: Any) -> Any:
        good = body.array_records["updates"]["encoder"]
        parts = {"dtype": good.dtype, "shape": good.shape, "stype": good.stype, "data": good.data, **changes}
        body["updates"] = ArrayRecord({"encoder": Array(**parts)})
        return body

    return spoil


def _with_value(value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(flat: np.ndarray) -> np.ndarray:
        flat = flat.copy()
        flat[3] = value
        return flat

    return change


def _keys(*names: str) -> Callable[[Any, Any], Any]:
    def spoil(body: Any, _: Any) -> Any:
        good = body.array_records["updates"]["encoder"]
        body["updates"] = ArrayRecord(dict.fromkeys(names, good))
        return body

    return spoil


def _pickled() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.array([print] * SIZE, dtype=object), allow_pickle=True)
    return stream.getvalue()


def _huge_header() -> bytes:
    text = b"{'descr': '<f4', 'fortran_order': False, 'shape': (100000000000,), }".ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def _header(text: bytes) -> bytes:
    text = text.ljust(117) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


def _count(value: Any) -> Callable[[Any, Any], Any]:
    return lambda body, _: report_with(body, train_examples=value)


BAD = {
    "01 NaN values": (_replace(_with_value(np.nan)), "NaN"),
    "02 infinite values": (_replace(_with_value(np.inf)), "infinite"),
    "03 shape (N,1)": (_replace(lambda flat: flat.reshape(-1, 1)), "shape is (16, 1)"),
    "04 shape ()": (_replace(lambda flat: np.array(flat.sum(), dtype=np.float32)), "shape is ()"),
    "05 wrong shape": (_replace(lambda flat: flat[:-1]), "shape is (15,)"),
    "06 missing key": (_keys(), "lack the groups ['encoder']"),
    "07 extra key": (_keys("encoder", "heads.depth"), "not asked for: ['heads.depth']"),
    "08 garbage bytes": (_raw(data=b"\x00\xffgarbage" * 20), "npy format"),
    "09 pickled dtype": (_raw(data=_pickled()), "header says"),
    "10 int64": (_replace(lambda flat: flat.astype(np.int64)), "dtype is 'int64'"),
    "11 complex": (_replace(lambda flat: flat.astype(np.complex64)), "dtype is 'complex64'"),
    "12 header claiming 1e11 elements": (_raw(data=_huge_header()), "(100000000000,)"),
    "12b header without a dtype": (
        _raw(data=_header(b"{'descr': (), 'fortran_order': False, 'shape': (16,), }")),
        "header",
    ),
    "12c header that nests too deep": (_raw(data=_header(b"{'shape': (" + b"-" * 90 + b"1,)}")), "header says"),
    "12d header that never ends": (_raw(data=_header(b"'''")), "header says"),
    "13 count 1e9": (_count(10**9), "train_examples"),
    "13b count larger than announced": (_count(5000), "5000 training images"),
    "14 count NaN": (_count(float("nan")), "train_examples"),
    "15 count zero": (_count(0), "train_examples"),
    "15b count negative": (_count(-3), "train_examples"),
    "overflowing values": (_replace(_with_value(3e38)), "overflowing"),
    "norm beyond the limit": (_replace(_with_value(1e9)), "max-update-norm"),
    "signed by another client": (lambda body, _: report_with(body, client="a"), "signed 'a'"),
    "answers another round": (lambda body, _: report_with(body, round=7), "answers round 7"),
    "no text": (lambda body, _: body.__setitem__("message", ConfigRecord({})) or body, "no text"),
    "infinite loss": (lambda body, _: report_with(body, losses={"edge": float("inf")}), "losses"),
    "loss of a stranger task": (lambda body, _: report_with(body, losses={"parts": 1.0}), "parts"),
}


def _one_round(federation: ToyFederation) -> FedPer:
    strategy = FedPer(settings(rounds=2, quorum=0.3))
    grid = federation.grid()
    replies = grid.send_and_receive(strategy.configure_train(1, None, None, grid))  # type: ignore[arg-type]
    strategy.aggregate_train(1, replies)
    return strategy


@pytest.mark.parametrize("kind", sorted(BAD))
def test_bad_reply_is_set_aside_and_the_round_completes(kind: str) -> None:
    spoil, reason = BAD[kind]
    profiles = [profile("a", ["semseg"]), profile("bad", ["edge"]), profile("c", ["depth"])]
    strategy = _one_round(ToyFederation(profiles, spoil={"bad": spoil}))
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


def test_client_exception_is_set_aside_with_its_text() -> None:
    profiles = [profile("a", ["semseg"]), profile("bad", ["edge"]), profile("c", ["depth"])]
    strategy = _one_round(ToyFederation(profiles, absent={"bad": {1}}))
    assert strategy.record.participants == ["a", "c"]
    assert "toy client is away" in strategy.record.set_aside["bad"]


def test_bad_second_group_leaves_nothing_of_the_first_behind() -> None:
    from fmtl_strategies.methods.fedavg import FedAvg

    def spoil(body: Any, _: Any) -> Any:
        arrays = dict(body.array_records["updates"].items())
        arrays["encoder"] = Array(np.full(SIZE, np.nan, np.float32))
        body["updates"] = ArrayRecord(arrays)
        return body

    profiles = [profile("a", ["semseg"]), profile("bad", ["edge"]), profile("c", ["depth"])]
    federation = ToyFederation(profiles, spoil={"bad": spoil})
    strategy = FedAvg(settings(rounds=2, quorum=0.3))
    grid = federation.grid()
    strategy.aggregate_train(1, grid.send_and_receive(strategy.configure_train(1, None, None, grid)))  # type: ignore[arg-type]
    assert strategy.record.participants == ["a", "c"]
    for name in ("a", "c"):
        for group in strategy.roster.profiles[name].groups_of_kind("decoders"):
            assert np.isfinite(strategy.store.parameters(RowKey(name, group))).all()
