"""Bad replies, made from a good one: by sites of a real federation, and by toy clients of the unit tests."""

import json

import numpy as np
from flwr.app import Array, ArrayRecord

OVERSIZED = "oversized"
"""24 MB where half a MB is due."""

NAMED = {
    "nan": "NaN",
    "inf": "NaN",
    "shape-4-1": "(4, 1)",
    "shape-scalar": "()",
    "wrong-shape": "shape",
    "missing-key": "groups",
    "extra-key": "encoder.of.somebody",
    "garbage-bytes": "npy",
    "pickled-dtype": "'object'",
    "int64": "'int64'",
    "complex": "'complex64'",
    "header-1e11": "(100000000000,)",
    "examples-1e9": "train_examples",
    "examples-nan": "train_examples",
    "examples-0": "train_examples",
    "other-client": "signed",
    "other-round": "round",
    "huge-norm": "max-update-norm",
    OVERSIZED: "refused",
}
"""What the history names as the reason, by kind of bad reply."""


def spoil(reply, kind):
    """Make a reply bad in place."""
    if kind.startswith(("examples", "other")):
        _spoil_text(reply, kind)
        return
    updates = reply.array_records["updates"]
    group = next(iter(updates))
    array = updates[group]
    dtype = np.dtype(array.dtype)
    updates[group] = {
        "nan": lambda: _filled(array, np.nan),
        "inf": lambda: _filled(array, np.inf),
        "huge-norm": lambda: _filled(array, 1e10),
        "shape-4-1": lambda: Array(np.zeros((4, 1), dtype)),
        "shape-scalar": lambda: Array(np.zeros((), dtype)),
        "wrong-shape": lambda: Array(np.zeros(array.shape[0] + 1, dtype)),
        "missing-key": lambda: array,
        "extra-key": lambda: array,
        "garbage-bytes": lambda: Array(array.dtype, array.shape, array.stype, b"\x00garbage" * 100),
        "pickled-dtype": lambda: Array("object", array.shape, array.stype, array.data),
        "int64": lambda: Array(np.zeros(array.shape, dtype=np.int64)),
        "complex": lambda: Array(np.zeros(array.shape, dtype=np.complex64)),
        "header-1e11": lambda: Array(array.dtype, (100_000_000_000,), array.stype, array.data[:4096]),
        OVERSIZED: lambda: Array(np.random.default_rng(0).integers(0, 2**16, 12_000_000, dtype=np.uint16)),
    }[kind]()
    if kind == "missing-key":
        reply["updates"] = ArrayRecord({name: value for name, value in updates.items() if name != group})
    if kind == "extra-key":
        reply["updates"] = ArrayRecord({**updates, "encoder.of.somebody": array})


def _filled(array, value):
    values = np.full(array.shape, value, np.float32)
    return Array(values if array.dtype == "float32" else (values.view(np.uint32) >> 16).astype(np.uint16))


def _spoil_text(reply, kind):
    record = reply.config_records["message"]
    report = json.loads(record["json"])
    if kind == "other-client":
        report["client"] = "two" if report["client"] != "two" else "one"
    elif kind == "other-round":
        report["round"] += 7
    else:
        report["train_examples"] = {"examples-1e9": 10**9, "examples-nan": float("nan"), "examples-0": 0}[kind]
    record["json"] = json.dumps(report)
