"""The Flower app of one client: turns messages into calls of `Participant` and back."""

from __future__ import annotations

import os
from collections.abc import Mapping

from flwr.app import Array, Context, Message, RecordDict
from flwr.clientapp import ClientApp

from client_app.identity import identify
from client_app.local_data import local_data
from client_app.participant import Participant
from fmtl_strategies.contract.layout import FloatArray
from fmtl_strategies.contract.messages import (
    PARAMETERS_RECORD,
    QUERY_INITIAL,
    InitialRequest,
    Instruction,
    MessageError,
    Question,
    read_arrays,
    read_text,
    to_records,
)
from fmtl_strategies.contract.wire import NumberFormat, decode_flat, encode_flat

app = ClientApp()


@app.query()
def describe(message: Message, context: Context) -> Message:
    """Answer who this client is: a `Question` gets a `ClientProfile`."""
    question = read_text(message.content, Question)
    return Message(to_records(_participant(context).profile(question.settings)), reply_to=message)


@app.query(QUERY_INITIAL.partition(".")[2])
def send_initial(message: Message, context: Context) -> Message:
    """Send the starting parameters of the groups asked for, as float32, with the request itself as text."""
    request = read_text(message.content, InitialRequest)
    vectors = _participant(context).initial(request.settings, request.groups)
    return Message(to_records(request, parameters=_encoded(vectors, "float32")), reply_to=message)


@app.train()
def train(message: Message, context: Context) -> Message:
    """Train a round: an `Instruction` and parameters get a `Report` and updates."""
    instruction, participant = read_text(message.content, Instruction), _participant(context)
    answer = participant.train(instruction, _received(message.content, instruction, participant))
    return Message(
        to_records(answer.report, updates=_encoded(answer.updates, instruction.upload_format)), reply_to=message
    )


@app.evaluate()
def evaluate(message: Message, context: Context) -> Message:
    """Score a personal model: an `Instruction` and parameters get a `Report`."""
    instruction, participant = read_text(message.content, Instruction), _participant(context)
    report = participant.evaluate(instruction, _received(message.content, instruction, participant))
    return Message(to_records(report), reply_to=message)


def _participant(context: Context) -> Participant:
    identity = identify(context.node_config, context.run_config, context.run_id)
    # Simulated clients share one machine already; a site has it to itself.
    workers = (os.cpu_count() or 1) if identity.is_site else 0
    return Participant(identity.entry, local_data(identity.entry), identity.state_root, metric_workers=workers)


def _received(records: RecordDict, instruction: Instruction, participant: Participant) -> dict[str, FloatArray]:
    """Check and decode the parameters that came with an instruction.

    Raises:
        MessageError: a group this client does not have.
        WireError: an array of another dtype or size than the client's group.
    """
    arrays = read_arrays(records, PARAMETERS_RECORD)
    layouts = participant.layouts()
    unknown = sorted(set(arrays) - set(layouts))
    if unknown:
        raise MessageError(
            f"parameters for {', '.join(unknown)} arrived, but client {participant.entry.name} has only "
            f"{', '.join(layouts)}"
        )
    return {
        group: decode_flat(array, layouts[group].size, instruction.parameters_format) for group, array in arrays.items()
    }


def _encoded(vectors: Mapping[str, FloatArray], number_format: NumberFormat) -> dict[str, Array]:
    return {group: encode_flat(vector, number_format) for group, vector in vectors.items()}
