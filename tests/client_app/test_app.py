from pathlib import Path

import numpy as np
import pytest
from errors import naming
from flwr.app import Array, Context, Message, RecordDict
from pydantic import BaseModel

from client_app.app import app
from fmtl_strategies.contract.layout import FloatArray
from fmtl_strategies.contract.messages import (
    PARAMETERS_RECORD,
    QUERY_INITIAL,
    UPDATES_RECORD,
    InitialRequest,
    Instruction,
    MessageError,
    Question,
    Report,
    read_arrays,
    read_text,
    to_records,
)
from fmtl_strategies.contract.profile import ClientProfile
from fmtl_strategies.contract.settings import LocalSettings
from fmtl_strategies.contract.wire import NumberFormat, WireError, decode_flat, encode_flat
from fmtl_strategies.flower_compat import identify_process

SETTINGS = LocalSettings(total_rounds=3, schedule="constant")
SCENARIO = """
name: app
description: for tests
clients:
  - name: a
    dataset: procedural
    tasks: [semseg, depth]
    image-size: [32, 32]
    train-images: 4
    validation-images: 2
    batch-size: 2
    encoder: mobilenetv2_035
    decoder-width: 4
    device: cpu
"""


@pytest.fixture(autouse=True)
def _inside_a_flower_task() -> None:
    identify_process(1)


@pytest.fixture
def context(tmp_path: Path) -> Context:
    path = tmp_path / "app.yaml"
    path.write_text(SCENARIO)
    node_config = {"partition-id": 0, "num-partitions": 1}
    return Context(1, 2, node_config, RecordDict(), {"scenario": str(path), "out-dir": str(tmp_path / "run")})


def send(context: Context, kind: str, text: BaseModel, parameters: dict[str, Array] | None = None) -> RecordDict:
    content = to_records(text) if parameters is None else to_records(text, **{PARAMETERS_RECORD: parameters})
    return app(Message(content, 2, kind), context).content


def describe(context: Context) -> ClientProfile:
    return read_text(send(context, "query", Question(experiment="e", settings=SETTINGS)), ClientProfile)


def start(context: Context, *groups: str) -> dict[str, FloatArray]:
    request = InitialRequest(experiment="e", settings=SETTINGS, groups=groups)
    layouts = describe(context).groups
    arrays = read_arrays(send(context, QUERY_INITIAL, request), PARAMETERS_RECORD)
    return {group: decode_flat(array, layouts[group].size, "float32") for group, array in arrays.items()}


def instruction(upload_format: NumberFormat = "float32", **changes: object) -> Instruction:
    values = {"round": 1, "evaluate": True, "upload_groups": ("encoder",), **changes}
    return Instruction(experiment="e", upload_format=upload_format, settings=SETTINGS, **values)


def test_a_client_says_who_it_is_without_saying_where_its_files_are(context: Context, tmp_path: Path) -> None:
    profile = describe(context)
    assert (profile.client, profile.dataset, profile.task_names) == ("a", "procedural-indoor", ("semseg", "depth"))
    assert str(tmp_path) not in profile.model_dump_json()


def test_a_train_message_brings_scores_losses_and_updates(context: Context) -> None:
    encoder = start(context, "encoder")["encoder"]
    reply = send(context, "train", instruction(), {"encoder": encode_flat(encoder, "float32")})
    report = read_text(reply, Report)
    assert (report.client, report.round, report.train_examples) == ("a", 1, 4)
    assert set(report.losses) == set(report.scores) == {"semseg", "depth"}
    updates = read_arrays(reply, UPDATES_RECORD)
    assert set(updates) == {"encoder"}
    assert decode_flat(updates["encoder"], encoder.size, "float32").any()


def test_an_evaluate_message_brings_scores_and_no_arrays(context: Context) -> None:
    reply = send(context, "evaluate", instruction(round=0, upload_groups=()))
    assert set(read_text(reply, Report).scores) == {"semseg", "depth"}
    assert not reply.array_records


def test_parameters_of_a_group_the_client_lacks_are_refused(context: Context) -> None:
    with pytest.raises(MessageError, match=naming("heads.edge", "client a", "encoder")):
        send(context, "train", instruction(), {"heads.edge": Array(np.zeros(3, np.float32))})


def test_parameters_of_another_length_are_refused(context: Context) -> None:
    with pytest.raises(WireError, match=naming("shape")):
        send(context, "train", instruction(), {"encoder": Array(np.zeros(3, np.float32))})


def test_state_lies_in_the_runs_folder(context: Context, tmp_path: Path) -> None:
    send(context, "train", instruction())
    assert (tmp_path / "run/clients/e/a/round-00001/state.safetensors").is_file()
