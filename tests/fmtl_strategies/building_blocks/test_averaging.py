"""Which group's mean a row takes whose client was away."""

from collections.abc import Sequence

import numpy as np
import pytest
from toy_federation import BUFFERS, DECODER

from fmtl_strategies.building_blocks.averaging import Follow, average_rows, followed_rows, rows_by_group, rows_by_task
from fmtl_strategies.round.store import PoolRound, RowKey


def pool_of(rows: Sequence[tuple[str, str]], away: Sequence[tuple[str, str]], kind: str = "decoders") -> PoolRound:
    layout = BUFFERS if kind == "buffers" else DECODER
    shape = (len(rows), layout.size)
    return PoolRound(
        kind=kind,  # type: ignore[arg-type]
        signature=layout.signature,
        layout=layout,
        rows=tuple(RowKey(*row) for row in rows),
        parameters_nd=np.zeros(shape, np.float32),
        updates_nd=np.ones(shape, np.float32),
        profiles={},
        away=tuple(RowKey(*row) for row in away),
    )


def test_a_decoder_of_another_task_does_not_follow_when_only_one_task_answered() -> None:
    pool = pool_of([("a", "decoders.edge"), ("b", "decoders.edge")], [("c", "decoders.edge"), ("d", "decoders.depth")])
    average_rows(pool, rows_by_task(pool), "uniform", follow="task")
    assert pool.follow == {RowKey("c", "decoders.edge"): 0}


def test_every_decoder_follows_a_mean_over_all_tasks() -> None:
    pool = pool_of([("a", "decoders.edge"), ("b", "decoders.semseg")], [("d", "decoders.depth")])
    average_rows(pool, [[0, 1]], "uniform", follow="pool")
    assert pool.follow == {RowKey("d", "decoders.depth"): 0}


def test_buffers_follow_those_of_the_same_name_though_encoder_decoder_and_head_share_a_layout() -> None:
    rows = [("a", "buffers.decoders.edge"), ("a", "buffers.encoder"), ("a", "buffers.heads.edge")]
    away = [("b", "buffers.heads.edge"), ("b", "buffers.encoder"), ("b", "buffers.decoders.depth")]
    pool = pool_of(rows, away, "buffers")
    average_rows(pool, rows_by_group(pool), "uniform", follow="group")
    assert pool.follow == {RowKey("b", "buffers.heads.edge"): 2, RowKey("b", "buffers.encoder"): 1}


@pytest.mark.parametrize("by", ["pool", "task"])
def test_a_row_that_fits_two_groups_is_left_out(by: Follow) -> None:
    pool = pool_of([("a", "decoders.edge"), ("b", "decoders.edge")], [("c", "decoders.edge")])
    assert followed_rows(pool, [[0], [1]], by=by) == {}
