"""What a client keeps from round to round, in a folder of its own.

    <root>/<experiment>/<client>/round-00007/state.safetensors    parameters, buffers, optimiser moments
                                             state.json           counters and what the state belongs to
                                             answer.json          the report of that round
                                             updates.safetensors  the updates sent, for the newest round only

A round's folder appears whole or not at all. The newest round's folder and the one it was trained from are kept, so
the newest round can be trained again.
"""

import json
import logging
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError

from client_app.training.errors import StateError
from client_app.training.vectors import NamedArrays
from fmtl_strategies.contract.files import atomic_folder, load_arrays, save_arrays, write_json
from fmtl_strategies.contract.layout import FloatArray
from fmtl_strategies.contract.messages import Report
from fmtl_strategies.flower_compat import log

FORMAT = 1
_ROUND_FOLDER = re.compile(r"^round-(\d{5,})$")
_SECTIONS = ("parameters", "buffers", "optimiser")
_EXCHANGED = "exchanged/"


class Counters(BaseModel):
    """The part of a client's state that is not arrays.

    Attributes:
        format: version of this form.
        round: the round after which the state was saved.
        restored_round: the round whose state this one was trained from; 0 for the start.
        completed_epochs: local epochs since the start of the run: the position in the schedule.
        model: signature of every group's layout; the state fits no other model.
        scaler: state of the loss scaler; empty unless training runs in float16.
        exchanged_scaler: the same of the model that is exchanged, where the client has a second one.
        request: digest of the instruction and parameters that were answered.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int = FORMAT
    round: int = Field(ge=1)
    restored_round: int = Field(ge=0)
    completed_epochs: int = Field(ge=0)
    model: dict[str, str]
    scaler: dict[str, int | float] = Field(default_factory=dict)
    exchanged_scaler: dict[str, int | float] = Field(default_factory=dict)
    request: str


@dataclass(frozen=True)
class ModelState:
    """One model and its optimiser.

    Attributes:
        parameters: flat (D,) float32 vector by group.
        buffers, optimiser: arrays by name.
    """

    parameters: dict[str, FloatArray]
    buffers: NamedArrays
    optimiser: NamedArrays


@dataclass(frozen=True)
class ClientState:
    """Everything a client needs to go on after a round.

    Attributes:
        counters: round, schedule position and what the state belongs to.
        model: the client's model: the one that is scored.
        exchanged: the model that is exchanged, where that is another one (Ditto).
    """

    counters: Counters
    model: ModelState
    exchanged: ModelState | None = None


@dataclass(frozen=True)
class Restored:
    """The state to go on from.

    Attributes:
        state: None at the start of a run.
        unreadable: rounds whose state was there and could not be read.
    """

    state: ClientState | None
    unreadable: tuple[int, ...] = ()


@dataclass(frozen=True)
class Answer:
    """What a client sent back for a round: its report and its updates by group, flat (D,) float32."""

    report: Report
    updates: Mapping[str, FloatArray] = field(default_factory=dict)


class StateFolder:
    """The folder of one client in one experiment.

    Args:
        root: where all clients on this machine keep their state.
        experiment: name of the run across restarts.
        client: name of the client.
    """

    def __init__(self, root: Path, experiment: str, client: str) -> None:
        self.path = root / experiment / client

    def rounds(self) -> list[int]:
        """Return the rounds with a saved state, oldest first."""
        if not self.path.is_dir():
            return []
        found = (_ROUND_FOLDER.match(entry.name) for entry in self.path.iterdir() if entry.is_dir())
        return sorted(int(match.group(1)) for match in found if match)

    def answer(self, round_number: int, request: str) -> Answer | None:
        """Return what was answered to exactly this request, or None where it has to be worked out."""
        place = self._place(round_number)
        if not place.is_dir():
            return None
        try:
            counters = _read_counters(place)
            if counters.request != request or not (place / "updates.safetensors").is_file():
                return None
            report = Report.model_validate_json((place / "answer.json").read_text(encoding="utf-8"))
            updates = load_arrays(place / "updates.safetensors")
            return Answer(report, {group: vector.astype(np.float32, copy=False) for group, vector in updates.items()})
        except (OSError, ValueError, SafetensorError) as error:
            log(logging.WARNING, "%s: kept answer is unreadable, training the round again: %s", place, error)
            return None

    def restore(self, before: int) -> Restored:
        """Return the newest readable state of a round earlier than `before`.

        Args:
            before: the round about to be trained.

        Raises:
            StateError: states exist, but none that `before` can go on from.
        """
        rounds = self.rounds()
        earlier = [number for number in rounds if number < before]
        unreadable: list[int] = []
        for number in reversed(earlier):
            try:
                return Restored(_read_state(self._place(number)), tuple(unreadable))
            except (OSError, ValueError, SafetensorError) as error:
                unreadable.append(number)
                log(logging.WARNING, "%s: state is unreadable, going back one: %s", self._place(number), error)
        if unreadable:
            raise StateError(
                f"none of the states in {self.path} can be read (rounds {_listed(earlier)}). The heads and optimiser "
                f"state kept there are lost; remove the folder to let this client start anew, or put back a copy."
            )
        if rounds:
            self._require_start_of_run(rounds[0], before)
        return Restored(None)

    def save(self, state: ClientState, answer: Answer, book: Callable[[], None] | None = None) -> None:
        """Write the state and answer of a round, then remove what is no longer needed.

        States of later rounds are removed too: they grew out of a round that has just been trained differently.

        Args:
            state: what the client goes on from.
            answer: what it sends.
            book: called when all is written and before anybody can read the answer back.
        """
        number = state.counters.round
        with atomic_folder(self._place(number)) as place:
            arrays = _flattened(state.model)
            if state.exchanged is not None:
                arrays |= {_EXCHANGED + name: array for name, array in _flattened(state.exchanged).items()}
            save_arrays(place / "state.safetensors", arrays)
            save_arrays(place / "updates.safetensors", answer.updates)
            write_json(place / "answer.json", answer.report.model_dump(mode="json"))
            write_json(place / "state.json", state.counters.model_dump(mode="json"))
            if book is not None:
                book()
        for other in self.rounds():
            if other not in (number, state.counters.restored_round):
                shutil.rmtree(self._place(other))
            elif other != number:
                (self._place(other) / "updates.safetensors").unlink(missing_ok=True)

    def _place(self, round_number: int) -> Path:
        return self.path / f"round-{round_number:05d}"

    def _require_start_of_run(self, oldest: int, before: int) -> None:
        """Allow a fresh start only where this client had not been trained before round `before` either."""
        try:
            trained_from = _read_counters(self._place(oldest)).restored_round
        except (OSError, ValueError) as error:
            raise StateError(
                f"{self._place(oldest)} cannot be read ({error}); remove {self.path} to start anew"
            ) from error
        if trained_from > 0:
            raise StateError(
                f"round {before} was asked for, but {self.path} keeps only the states of rounds "
                f"{_listed(self.rounds())} and this client had trained before. The server went back further than the "
                f"client can: resume it from a checkpoint of round {oldest} or later, or remove the folder to let "
                f"this client start anew."
            )


def _read_counters(place: Path) -> Counters:
    try:
        text = json.loads((place / "state.json").read_text(encoding="utf-8"))
        counters = Counters.model_validate(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(f"state.json: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    if counters.format != FORMAT:
        raise ValueError(f"state.json has format {counters.format}, this version reads {FORMAT}")
    return counters


def _flattened(model: ModelState) -> NamedArrays:
    arrays: NamedArrays = {f"parameters/{group}": vector for group, vector in model.parameters.items()}
    arrays |= {f"buffers/{name}": array for name, array in model.buffers.items()}
    return arrays | {f"optimiser/{name}": array for name, array in model.optimiser.items()}


def _read_state(place: Path) -> ClientState:
    counters = _read_counters(place)
    arrays = load_arrays(place / "state.safetensors")
    second = {name.removeprefix(_EXCHANGED): array for name, array in arrays.items() if name.startswith(_EXCHANGED)}
    first = {name: array for name, array in arrays.items() if not name.startswith(_EXCHANGED)}
    return ClientState(counters, _model_state(first), _model_state(second) if second else None)


def _model_state(arrays: NamedArrays) -> ModelState:
    sections: dict[str, NamedArrays] = {section: {} for section in _SECTIONS}
    for key, array in arrays.items():
        section, _, name = key.partition("/")
        if section not in sections:
            raise ValueError(f"state.safetensors holds {key!r}, which belongs to none of {', '.join(_SECTIONS)}")
        sections[section][name] = array
    parameters = {group: vector.astype(np.float32, copy=False) for group, vector in sections["parameters"].items()}
    return ModelState(parameters, sections["buffers"], sections["optimiser"])


def _listed(rounds: list[int]) -> str:
    return ", ".join(map(str, rounds))
