"""What a client sends under FedDEA's rule, with real training."""

from pathlib import Path

import numpy as np
import pytest

from client_app.round.handlers import _encoded_updates
from client_app.round.local_round import Received
from fmtl_strategies.contract.layout import FloatArray
from fmtl_strategies.contract.messages import Instruction
from fmtl_strategies.contract.rule import LocalRule, Sparsify
from fmtl_strategies.contract.sparse import decode_sparse, kept_count
from fmtl_strategies.contract.wire import decode_flat
from tests.support import tiny_client as tiny

TRAINED = ("encoder", "decoders.semseg", "decoders.depth", "heads.semseg", "heads.depth")
BUFFERS = ("buffers.encoder", "buffers.decoders.semseg")


def instruction(rule: LocalRule) -> Instruction:
    return tiny.instruction(1, (*TRAINED, *BUFFERS), rule=rule)


def updates_under(rule: LocalRule, root: Path) -> dict[str, FloatArray]:
    return dict(tiny.participant(root).train(instruction(rule), Received()).updates)


def together(updates: dict[str, FloatArray]) -> np.ndarray:
    return np.concatenate([updates[group] for group in sorted(TRAINED)])


def test_the_largest_values_of_what_was_trained_are_sent_magnified_and_statistics_whole(tmp_path: Path) -> None:
    rule = LocalRule(sparsify=Sparsify(fraction=0.25, rescale="inverse"))
    plain, sent = updates_under(LocalRule(), tmp_path / "plain"), updates_under(rule, tmp_path / "sent")
    before, after = together(plain), together(sent)
    due = kept_count(before.size, 0.25)
    assert np.count_nonzero(after) == due
    np.testing.assert_allclose(after[after != 0], 4 * before[after != 0], rtol=1e-6)
    assert np.abs(before[after != 0]).min() >= np.abs(before[after == 0]).max()
    for group in BUFFERS:
        np.testing.assert_array_equal(sent[group], plain[group])
        assert np.count_nonzero(sent[group]) > 0.5 * sent[group].size


@pytest.mark.parametrize("number_format", ["float32", "bfloat16"])
def test_trained_groups_travel_sparse_and_statistics_whole_in_float32(number_format: str, tmp_path: Path) -> None:
    rule = LocalRule(sparsify=Sparsify(fraction=0.25))
    asked = instruction(rule).model_copy(update={"upload_format": number_format})
    updates = updates_under(rule, tmp_path)
    arrays = _encoded_updates(updates, asked)
    for group in TRAINED:
        out = np.empty_like(updates[group])
        decode_sparse(arrays[group], out.size, asked.upload_format, out)
        np.testing.assert_allclose(out, updates[group], rtol=2**-8, atol=0)
    for group in BUFFERS:
        np.testing.assert_array_equal(decode_flat(arrays[group], updates[group].size, "float32"), updates[group])
