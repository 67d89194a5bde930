"""What a round leaves behind: one line of the history."""

from __future__ import annotations

from dataclasses import dataclass, field

from fmtl_strategies.contract.messages import Score


@dataclass
class RoundRecord:
    """Facts of one round, by client name.

    Attributes:
        round: number of the round, from 1.
        participants: clients whose updates were aggregated, or who trained under a strategy that shares nothing.
        set_aside: reason by client (or `node <id>`) of every reply that was not used.
        notes: what is worth knowing of a client, by client: that it had lost its state, say, or was asked twice.
        skipped: too few good replies: nothing was aggregated.
        losses: mean training loss by client and task; None where it could not be computed.
        evaluated_round: round of the models that `scores` belong to; None where nothing was evaluated.
        scores: metric by client and task.
        bytes_down, bytes_up: bytes of arrays sent and received.
        seconds: wall time of the round's phases on the server, and of clients (`<client>/train`).
        diagnostics: numbers of the strategy and of clients (`<client>/<name>`).
        final: the line only carries the scores of the finished run.
    """

    round: int
    participants: list[str] = field(default_factory=list)
    set_aside: dict[str, str] = field(default_factory=dict)
    notes: dict[str, str] = field(default_factory=dict)
    skipped: bool = False
    losses: dict[str, dict[str, float | None]] = field(default_factory=dict)
    evaluated_round: int | None = None
    scores: dict[str, dict[str, Score]] = field(default_factory=dict)
    bytes_down: int = 0
    bytes_up: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    diagnostics: dict[str, float] = field(default_factory=dict)
    final: bool = False

    def note(self, client: str, text: str) -> None:
        """Add a note about a client to those there are."""
        self.notes[client] = f"{self.notes[client]}; {text}" if client in self.notes else text

    def as_json(self) -> dict[str, object]:
        """Return plain JSON values; seconds rounded to milliseconds."""
        line: dict[str, object] = {
            name: value for name, value in vars(self).items() if name not in ("scores", "seconds")
        }
        line["scores"] = {
            client: {task: score.model_dump() for task, score in by_task.items()}
            for client, by_task in self.scores.items()
        }
        line["seconds"] = {name: round(value, 3) for name, value in self.seconds.items()}
        return line
