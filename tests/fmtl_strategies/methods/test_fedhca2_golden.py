"""The FedHCA2 strategy, run through rounds of messages, gives what the authors' code gave."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from flwr.app import Context, Message
from safetensors.numpy import load_file
from toy_federation import settings

from fmtl.engine.inline import InlineGrid
from fmtl_strategies.contract.groups import group_of, relative_name
from fmtl_strategies.contract.layout import ArraySpec, GroupLayout
from fmtl_strategies.contract.messages import (
    PARAMETERS_RECORD,
    UPDATES_RECORD,
    InitialRequest,
    Instruction,
    Report,
    read_arrays,
    read_text,
    to_records,
)
from fmtl_strategies.contract.profile import ClientProfile, TaskProfile
from fmtl_strategies.contract.wire import decode_flat, encode_flat
from fmtl_strategies.methods.fedhca2 import FedHCA2, FedHCA2Parameters
from fmtl_strategies.round.store import RowKey

GOLDEN = Path(os.environ.get("FMTL_GOLDEN_ROOT", Path(__file__).parents[4] / "shared/golden")) / "fedhca2"
LAYOUTS = ("st5mt1", "st4mt1", "st5x2mt1x2", "mtmt")
BUFFERS = ("running_mean", "running_var", "num_batches_tracked", "relative_position_index")

pytestmark = pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"no golden vectors at {GOLDEN} (FMTL_GOLDEN_ROOT)")

Arrays = dict[str, np.ndarray]


def _client_arrays(golden: Mapping[str, np.ndarray], moment: str, client: str) -> Arrays:
    prefix = f"{moment}/{client}/"
    found = {name.removeprefix(prefix): array for name, array in golden.items() if name.startswith(prefix)}
    named = {name.replace("backbone.", "encoder.", 1): array for name, array in found.items()}
    return {name: array for name, array in named.items() if not name.endswith(BUFFERS)}


def _layouts(arrays: Arrays) -> dict[str, GroupLayout]:
    by_group: dict[str, list[ArraySpec]] = {}
    for name, array in arrays.items():
        by_group.setdefault(group_of(name), []).append(ArraySpec(name=relative_name(name), shape=array.shape))
    return {group: GroupLayout(arrays=tuple(specs)) for group, specs in by_group.items()}


def _profile(number: str, arrays: Arrays) -> ClientProfile:
    groups = _layouts(arrays)
    tasks = sorted(group.removeprefix("heads.") for group in groups if group.startswith("heads."))
    # NYUD's semseg has 40 classes, PASCAL's 21; single tasks of a layout all come from the other data set.
    depth_or_40 = "depth" in tasks or ("semseg" in tasks and arrays["heads.semseg.last_conv.bias"].size == 40)
    return ClientProfile(
        protocol=1,
        client=f"client-{int(number):02d}",
        dataset="nyud" if depth_or_40 else "other",
        encoder="golden",
        tasks=tuple(TaskProfile(name=task, metric="m", higher_is_better=True) for task in tasks),
        train_examples=1,
        validation_examples=0,
        local_epochs=1,
        groups=groups,
        weights_report="none",
        versions={},
    )


class _Replay:
    """Clients that start from, and change by, what the golden rounds recorded."""

    def __init__(self, rounds: list[dict[str, np.ndarray]]) -> None:
        self.rounds = rounds
        self.numbers = sorted({name.split("/")[1] for name in rounds[0] if name.startswith("before/")}, key=int)
        self.profiles = [_profile(n, _client_arrays(rounds[0], "before", n)) for n in self.numbers]
        self.received: dict[int, dict[str, Any]] = {}

    def flat(self, server_round: int, moment: str, index: int, group: str) -> np.ndarray:
        arrays = _client_arrays(self.rounds[server_round - 1], moment, self.numbers[index])
        mine = {relative_name(name): array for name, array in arrays.items() if group_of(name) == group}
        return self.profiles[index].groups[group].pack(mine)

    def answer(self, message: Message, context: Context) -> Message:
        index = int(context.node_config["partition-id"])
        me = self.profiles[index]
        if message.metadata.message_type == "query":
            return Message(to_records(me), reply_to=message)
        if message.metadata.message_type == "query.initial":
            groups = read_text(message.content, InitialRequest).groups
            starts = {g: encode_flat(self.flat(1, "before", index, g), "float32") for g in groups}
            return Message(to_records(me, **{PARAMETERS_RECORD: starts}), reply_to=message)
        instruction = read_text(message.content, Instruction)
        arrays = read_arrays(message.content, PARAMETERS_RECORD)
        self.received[index] = {g: decode_flat(a, me.groups[g].size, "float32") for g, a in arrays.items()}
        updates = {}
        for group in instruction.upload_groups:
            after, before = (self.flat(instruction.round, moment, index, group) for moment in ("after", "before"))
            updates[group] = encode_flat(after - before, "float32")
        report = Report(client=me.client, round=instruction.round, train_examples=1)
        return Message(to_records(report, **{UPDATES_RECORD: updates}), reply_to=message)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_strategy_reproduces_the_authors_rounds(layout: str) -> None:
    replay = _Replay([load_file(GOLDEN / layout / f"round{r}.safetensors") for r in range(4)])
    strategy = FedHCA2(settings(rounds=4), FedHCA2Parameters())
    count = len(replay.profiles)
    grid = InlineGrid(replay.answer, [{"partition-id": i, "num-partitions": count} for i in range(count)], {})
    strategy.enrol(grid)
    # The recorded clients start from different parameters; enrolment gives them equal ones.
    for index, profile in enumerate(replay.profiles):
        for group in strategy.shared_groups(profile):
            strategy.store.parameters(RowKey(profile.client, group))[:] = replay.flat(1, "before", index, group)
    for server_round in range(1, 5):
        messages = strategy.configure_train(server_round, None, None, grid)  # type: ignore[arg-type]
        strategy.aggregate_train(server_round, grid.send_and_receive(messages))
        assert not strategy.record.set_aside
        for index, profile in enumerate(replay.profiles):
            for group in strategy.shared_groups(profile):
                ours = strategy.store.parameters(RowKey(profile.client, group))
                theirs = replay.flat(server_round, "aggregated", index, group)
                before = replay.flat(server_round, "before", index, group)
                np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * float(np.abs(theirs - before).max()))
