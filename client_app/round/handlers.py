"""What a client does with each kind of message: bodies of messages become calls of `Participant`, and back."""

import os
from collections.abc import Mapping

from flwr.app import Array, RecordDict

from client_app.call import Call
from client_app.round.identity import identify
from client_app.round.local_data import local_data
from client_app.round.local_round import Received
from client_app.round.participant import Participant
from fmtl_strategies.contract.groups import kind_of
from fmtl_strategies.contract.layout import FloatArray
from fmtl_strategies.contract.messages import (
    ANCHORS_RECORD,
    PARAMETERS_RECORD,
    InitialRequest,
    Instruction,
    MessageError,
    Question,
    read_arrays,
    read_text,
    to_records,
)
from fmtl_strategies.contract.sparse import encode_sparse
from fmtl_strategies.contract.wire import NumberFormat, decode_flat, encode_flat


def answer(call: Call, content: RecordDict) -> RecordDict:
    """Answer a message.

    Args:
        call: what is asked.
        content: body of the message.

    Returns:
        Body of the reply.

    Raises:
        ValueError, RuntimeError: it cannot be answered; the text says why.
    """
    participant = _participant(call)
    if call.kind == "describe":
        return to_records(participant.profile(read_text(content, Question).settings))
    if call.kind == "initial":
        request = read_text(content, InitialRequest)
        vectors = participant.initial(request.settings, request.groups)
        return to_records(request, parameters=_encoded(vectors, "float32"))
    instruction = read_text(content, Instruction)
    received = _received(content, instruction, participant)
    if call.kind == "train":
        trained = participant.train(instruction, received)
        return to_records(trained.report, updates=_encoded_updates(trained.updates, instruction))
    return to_records(participant.evaluate(instruction, received))


def _participant(call: Call) -> Participant:
    identity = identify(call.node_config, call.run_config, call.run_id)
    # Simulated clients share one machine already; a site has it to itself.
    workers = (os.cpu_count() or 1) if identity.is_site else 0
    data = local_data(identity.entry, identity.label_cache)
    strategy = str(call.run_config.get("strategy", ""))
    return Participant(identity.entry, data, identity.state_root, metric_workers=workers, strategy=strategy)


def _received(records: RecordDict, instruction: Instruction, participant: Participant) -> Received:
    """Decode the arrays that came with an instruction; MessageError or WireError where they do not fit the client."""
    layouts = participant.layouts()
    found: dict[str, dict[str, FloatArray]] = {}
    for record in (PARAMETERS_RECORD, ANCHORS_RECORD):
        arrays = read_arrays(records, record)
        unknown = sorted(set(arrays) - set(layouts))
        if unknown:
            raise MessageError(
                f"{record} for {', '.join(unknown)} arrived, but client {participant.entry.name} has only "
                f"{', '.join(layouts)}"
            )
        found[record] = {
            group: decode_flat(array, layouts[group].size, instruction.parameters_format)
            for group, array in arrays.items()
        }
    return Received(found[PARAMETERS_RECORD], found[ANCHORS_RECORD])


def _encoded_updates(updates: Mapping[str, FloatArray], instruction: Instruction) -> dict[str, Array]:
    """Buffers go up as float32, whole: they are few, and a rounded variance could become negative."""
    encode = encode_flat if instruction.rule.sparsify is None else encode_sparse
    return {
        group: encode_flat(flat, "float32") if kind_of(group) == "buffers" else encode(flat, instruction.upload_format)
        for group, flat in updates.items()
    }


def _encoded(vectors: Mapping[str, FloatArray], number_format: NumberFormat) -> dict[str, Array]:
    return {group: encode_flat(vector, number_format) for group, vector in vectors.items()}
