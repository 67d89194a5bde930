"""The messages of a run and their form as Flower records.

Text goes as one JSON string, checked by a schema on arrival; arrays go as one flat array per group.

query          -> Question       <- Answer (a ClientProfile)
query.initial  -> InitialRequest <- the request, and starting parameters of the groups asked for (float32)
train          -> Instruction, parameters, anchors   <- Report and updates
evaluate       -> Instruction, parameters, anchors   <- Report without updates
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, TypeVar

from flwr.app import Array, ArrayRecord, ConfigRecord, RecordDict
from pydantic import BaseModel, Field, ValidationError, model_validator

from fmtl_strategies.contract.layout import Strict
from fmtl_strategies.contract.profile import MAX_EXAMPLES, PROTOCOL_VERSION, Name
from fmtl_strategies.contract.rule import LocalRule
from fmtl_strategies.contract.settings import LocalSettings
from fmtl_strategies.contract.wire import NumberFormat

QUERY_INITIAL = "query.initial"
TEXT_RECORD = "message"
TEXT_KEY = "json"
PARAMETERS_RECORD = "parameters"
ANCHORS_RECORD = "anchors"
UPDATES_RECORD = "updates"
MAX_TEXT_BYTES = 8_000_000

PROCESS_ENDED = "the client's process ended while it worked on this message"
"""Reason a site gives where its work was cut off from outside (killed, out of memory): asking again may help."""

FiniteFloat = Annotated[float, Field(ge=-1e100, le=1e100, allow_inf_nan=False)]


class MessageError(ValueError):
    """A message that does not have the agreed form."""


class Question(Strict):
    """Server to client: who are you? The settings fix the seed the client's model starts from."""

    protocol: int = PROTOCOL_VERSION
    experiment: Name
    settings: LocalSettings


class InitialRequest(Strict):
    """Server to client: send the starting parameters of these groups."""

    experiment: Name
    settings: LocalSettings
    groups: tuple[str, ...]


class Instruction(Strict):
    """Server to client: load the parameters that come with this, score them if asked, train if this is a train message.

    Parameters overwrite the client's own; anchors never do (a client without a state starts from them): they are what
    the rule's pull draws to. An update is what the client has after training minus what arrived for the group, as
    parameters or else as an anchor, or minus its own before training where nothing arrived.

    Attributes:
        experiment: name of the run across restarts; the client keys what it keeps by it.
        round: the round to train, from 1; for an evaluate message the last finished round.
        evaluate: score the model on the validation split before training.
        parameters_format: number format of the parameters that come with the instruction.
        upload_groups: groups whose updates the server wants.
        upload_format: number format of the updates.
        settings: optimiser and schedule.
        rule: what the method asks of the client beside plain training.
    """

    experiment: Name
    round: int = Field(ge=0)
    evaluate: bool
    parameters_format: NumberFormat = "float32"
    upload_groups: tuple[str, ...] = ()
    upload_format: NumberFormat = "bfloat16"
    settings: LocalSettings
    rule: LocalRule = LocalRule()


class Score(Strict):
    """Value of a task's metric, or the reason why there is none."""

    value: FiniteFloat | None = None
    missing_because: str | None = Field(default=None, min_length=1, max_length=500)

    @model_validator(mode="after")
    def _one_of_both(self) -> Score:
        if (self.value is None) == (self.missing_because is None):
            raise ValueError("a score is either a value or the reason why there is none")
        return self


class Report(Strict):
    """Client to server: what was done, in numbers.

    Attributes:
        client, round: copied from the instruction, so that a late answer is recognised.
        train_examples: images of the client's training split, as in its profile.
        losses: mean training loss by task over the round's last epoch; None where it could not be computed.
        scores: metric by task of the parameters that arrived, where evaluation was asked for.
        restored_round: round of the client's own state the training went on from; 0 at its start.
        seconds: wall time of training and of evaluation.
        diagnostics: further numbers by name.
        affinities: by task i and task j, the mean relative fall of the loss of j after a step for i, where the rule
            asked for it.
    """

    client: Name
    round: int = Field(ge=0)
    train_examples: int = Field(ge=1, le=MAX_EXAMPLES, strict=True)
    losses: dict[Name, FiniteFloat | None] = Field(default_factory=dict, max_length=64)
    scores: dict[Name, Score] = Field(default_factory=dict, max_length=64)
    restored_round: int = Field(default=0, ge=0)
    seconds: dict[Name, FiniteFloat] = Field(default_factory=dict, max_length=16)
    diagnostics: dict[Name, FiniteFloat] = Field(default_factory=dict, max_length=64)
    affinities: dict[Name, dict[Name, FiniteFloat]] = Field(default_factory=dict, max_length=64)


TextModel = TypeVar("TextModel", bound=BaseModel)


def to_records(text: BaseModel, **arrays: Mapping[str, Array]) -> RecordDict:
    """Return a message body.

    Args:
        text: the message's text.
        arrays: Flower arrays by group, under the record name (`parameters`, `anchors` or `updates`).
    """
    records = RecordDict({TEXT_RECORD: ConfigRecord({TEXT_KEY: text.model_dump_json()})})
    for name, by_group in arrays.items():
        records[name] = ArrayRecord(dict(by_group))
    return records


def read_text(records: RecordDict, model: type[TextModel]) -> TextModel:
    """Read and check the text of a message.

    Raises:
        MessageError: the text record is absent, too long, or does not fit the schema; says which field.
    """
    record = records.config_records.get(TEXT_RECORD)
    text = None if record is None else record.get(TEXT_KEY)
    if not isinstance(text, str):
        raise MessageError(f"message has no text under {TEXT_RECORD!r}/{TEXT_KEY!r}")
    if len(text) > MAX_TEXT_BYTES:
        raise MessageError(f"message text has {len(text)} characters, the limit is {MAX_TEXT_BYTES}")
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "message"
        raise MessageError(f"{model.__name__} field {place!r}: {first['msg']}") from error


def read_arrays(records: RecordDict, record_name: str) -> dict[str, Array]:
    """Return the Flower arrays of one record by group; an empty dict where the record is absent."""
    record = records.array_records.get(record_name)
    return {} if record is None else dict(record.items())
