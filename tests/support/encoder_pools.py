"""Pools of rows made by hand, to call a strategy's `aggregate_pool` without a federation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from toy_federation import profile

from fmtl_strategies.contract.layout import ArraySpec, GroupLayout
from fmtl_strategies.round.store import PoolRound, RowKey


def encoder_pool(
    parameters_nd: np.ndarray, updates_nd: np.ndarray, *, away: Sequence[str] = (), examples: Sequence[int] = ()
) -> PoolRound:
    """Return a pool of the encoders of clients c00, c01, ... with copies of the rows given, in float32."""
    clients = [f"c{i:02d}" for i in range(len(updates_nd))]
    sizes = examples or [10] * len(clients)
    return PoolRound(
        kind="encoder",
        signature="by-hand",
        layout=GroupLayout(arrays=(ArraySpec(name="weight", shape=(updates_nd.shape[1],)),)),
        rows=tuple(RowKey(client, "encoder") for client in clients),
        parameters_nd=np.array(parameters_nd, dtype=np.float32),
        updates_nd=np.array(updates_nd, dtype=np.float32),
        profiles={c: profile(c, ["semseg"], examples=n) for c, n in zip(clients, sizes, strict=True)},
        away=tuple(RowKey(client, "encoder") for client in away),
    )


def decoder_pool(parameters_nd: np.ndarray, updates_nd: np.ndarray, tasks: Sequence[str]) -> PoolRound:
    """Return a pool of one decoder per client, for the tasks given."""
    pool = encoder_pool(parameters_nd, updates_nd)
    pool.kind = "decoders"
    pool.rows = tuple(RowKey(key.client, f"decoders.{task}") for key, task in zip(pool.rows, tasks, strict=True))
    return pool
