"""Bytes of one client's update on the wire, and how long packing takes: ``python benchmarks/upload_size.py``.

Prints JSON. The update is as large as a Swin-T encoder with one decoder and head (27.72 million values) and Gaussian;
a real one is no smaller when it is dense, and its bitmap is no larger when it is sparse. Runs on one core.
"""

from __future__ import annotations

import argparse
import json
import os
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")
import numpy as np
import torch

from fmtl_strategies.contract.layout import ArraySpec, FloatArray, GroupLayout
from fmtl_strategies.contract.rule import Sparsify
from fmtl_strategies.contract.sparse import decode_sparse, encode_sparse, sparsify
from fmtl_strategies.contract.wire import NumberFormat, decode_flat, encode_flat

VALUES = 27_720_000
GROUP = "encoder"
FRACTIONS = (0.3, 0.2, 0.1)


def dense(flat: FloatArray, number_format: NumberFormat) -> dict[str, float]:
    """Return bytes and seconds of an update that is sent whole.

    Args:
        flat: (D,) float32.
        number_format: how the values travel.
    """
    out = np.empty_like(flat)
    started = time.perf_counter()
    array = encode_flat(flat, number_format)
    encoded = time.perf_counter()
    decode_flat(array, flat.size, number_format, out=out)
    return _figures(len(array.data), 0.0, encoded - started, time.perf_counter() - encoded)


def sparse(flat: FloatArray, fraction: float, number_format: NumberFormat) -> dict[str, float]:
    """Return bytes and seconds of an update of which a fraction is sent.

    Args:
        flat: (D,) float32.
        fraction: share of the values that is kept.
        number_format: how the values travel.
    """
    layout = GroupLayout(arrays=(ArraySpec(name="values", shape=(flat.size,)),))
    out = np.empty_like(flat)
    began = time.perf_counter()
    kept = sparsify({GROUP: flat}, {GROUP: layout}, Sparsify(fraction=fraction, rescale="inverse"))[GROUP]
    started = time.perf_counter()
    array = encode_sparse(kept, number_format)
    encoded = time.perf_counter()
    decode_sparse(array, flat.size, number_format, out)
    return _figures(len(array.data), started - began, encoded - started, time.perf_counter() - encoded)


def _figures(size: int, masking: float, encoding: float, decoding: float) -> dict[str, float]:
    seconds = {"mask_seconds": masking, "encode_seconds": encoding, "decode_seconds": decoding}
    return {"megabytes": round(size / 1e6, 2), **{name: round(value, 3) for name, value in seconds.items()}}


def main() -> None:
    """Measure every form once and print one JSON object."""
    parser = argparse.ArgumentParser(description="Bytes of one update, by form; seconds on one core.")
    parser.add_argument("--values", type=int, default=VALUES, help="number of values of the update")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    flat = np.random.default_rng(0).standard_normal(arguments.values, dtype=np.float32) * np.float32(1e-3)
    forms: dict[str, dict[str, float]] = {"float32": dense(flat, "float32"), "bfloat16": dense(flat, "bfloat16")}
    for fraction in FRACTIONS:
        forms[f"sparse {fraction} float32"] = sparse(flat, fraction, "float32")
        forms[f"sparse {fraction} bfloat16"] = sparse(flat, fraction, "bfloat16")
    print(
        json.dumps({"values": arguments.values, "load_average": round(os.getloadavg()[0], 2), "forms": forms}, indent=2)
    )


if __name__ == "__main__":
    main()
