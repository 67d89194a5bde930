"""The round loop: train, aggregate, record, checkpoint; at the end, score and write the result.

A run killed at any moment goes on from its newest checkpoint and ends with the same bits: the history is cut back to
what it was at the checkpoint, and clients answer a repeated round with what they answered before.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from typing import Any

from flwr.app import ArrayRecord, ConfigRecord
from flwr.serverapp import Grid

from fmtl_strategies.flower_compat import log
from fmtl_strategies.round.base import PersonalizedStrategy
from fmtl_strategies.round.exchange import RetryPolicy
from fmtl_strategies.round.record import RoundRecord
from fmtl_strategies.round.store import NonFiniteModelError
from fmtl_strategies.settings import RunConfig
from server_app.progress import exchange
from server_app.run_folder import Checkpoint, RunFolder
from server_app.telemetry import Telemetry


class RunFailedError(RuntimeError):
    """A run that cannot go on; the text is the reason.

    Attributes:
        record: where the rounds are done and only scores are missing, the record that says why.
    """

    def __init__(self, reason: str, record: RoundRecord | None = None) -> None:
        super().__init__(reason)
        self.record = record


@dataclass
class _Progress:
    round: int = 0
    skipped_in_a_row: int = 0


def run_rounds(strategy: PersonalizedStrategy, grid: Grid, folder: RunFolder, config: RunConfig) -> RoundRecord:
    """Run all rounds that are left, then score the final models.

    Args:
        strategy: a strategy that has not run yet.
        grid: connection to the nodes.
        folder: the run's folder, created or opened.
        config: the run config.

    Returns:
        The record with the final scores.

    Raises:
        RunFailedError: too few clients at the start, too many skipped rounds in a row, or no score at the end.
    """
    progress = _restore(strategy, folder)
    # A run that is shorter than max-skipped-rounds has failed when all its rounds were: its models are as they began.
    too_many = min(config.rounds.max_skipped_rounds, config.local.total_rounds)
    if progress.round == config.local.total_rounds and progress.skipped_in_a_row >= too_many:
        raise RunFailedError("the last rounds had too few good replies (max-skipped-rounds); nothing is left to resume")
    _wait_for_clients(strategy, grid, config)
    strategy.summary()
    telemetry = Telemetry(folder)
    for server_round in range(progress.round + 1, config.local.total_rounds + 1):
        log(logging.INFO, "[ROUND %s/%s]", server_round, config.local.total_rounds)
        _wait_for_quorum(strategy, grid, config)
        messages = strategy.configure_train(server_round, ArrayRecord(), ConfigRecord(), grid)
        replies = exchange(folder, strategy, grid, messages, _policy(config))
        try:
            strategy.aggregate_train(server_round, replies)
        except NonFiniteModelError as error:
            raise RunFailedError(str(error)) from error
        progress.round = server_round
        progress.skipped_in_a_row = progress.skipped_in_a_row + 1 if strategy.record.skipped else 0
        _keep(strategy, folder, progress, config.keep_checkpoints)
        telemetry.add(strategy.record.as_json())
        if progress.skipped_in_a_row >= too_many:
            raise RunFailedError(_why_skipped(strategy.record, progress.skipped_in_a_row))
    record = _score(strategy, grid, folder, config)
    telemetry.add(record.as_json())
    if all(score.value is None for by_task in record.scores.values() for score in by_task.values()):
        raise RunFailedError(_why_unscored(record), record)
    return record


def _policy(config: RunConfig) -> RetryPolicy:
    waiting = config.waiting
    return RetryPolicy(waiting.round_timeout, waiting.retries, waiting.return_timeout)


def _score(strategy: PersonalizedStrategy, grid: Grid, folder: RunFolder, config: RunConfig) -> RoundRecord:
    last = config.local.total_rounds
    messages = strategy.configure_evaluate(last, ArrayRecord(), ConfigRecord(), grid)
    strategy.aggregate_evaluate(last, exchange(folder, strategy, grid, messages, _policy(config)))
    folder.append_history(strategy.record.as_json())
    _log_round(strategy.record)
    return strategy.record


def _restore(strategy: PersonalizedStrategy, folder: RunFolder) -> _Progress:
    checkpoint = folder.newest_checkpoint()
    if checkpoint is None:
        folder.cut_history(0)
        return _Progress()
    folder.cut_history(checkpoint.history_bytes)
    strategy.load_state(checkpoint.arrays, checkpoint.values["strategy"])
    log(logging.INFO, "resuming after round %s", checkpoint.round)
    return _Progress(checkpoint.round, int(checkpoint.values["skipped_in_a_row"]))


def _keep(strategy: PersonalizedStrategy, folder: RunFolder, progress: _Progress, keep: int) -> None:
    started = time.monotonic()
    arrays, values = strategy.state()
    length = folder.append_history(strategy.record.as_json())
    state: dict[str, Any] = {"strategy": values, "skipped_in_a_row": progress.skipped_in_a_row}
    folder.save_checkpoint(Checkpoint(progress.round, length, dict(arrays), state), keep)
    _log_round(strategy.record)
    log(logging.DEBUG, "checkpoint written in %.2f s", time.monotonic() - started)


def _wait_for_clients(strategy: PersonalizedStrategy, grid: Grid, config: RunConfig) -> None:
    deadline = time.monotonic() + config.waiting.wait_for_clients
    told = -1
    while True:
        strategy.enrol(grid)
        alive = list(grid.get_node_ids())
        present = len(strategy.roster.present(alive))
        needed = config.waiting.min_clients or max(1, len(alive), len(strategy.roster.profiles))
        if present >= needed:
            return
        if present != told:
            log(logging.INFO, "%s of %s clients are here", present, needed)
            told = present
        refused = [strategy.roster.refused[node] for node in alive if node in strategy.roster.refused]
        nobody_else_to_ask = len(alive) >= needed and present + len(refused) >= len(alive)
        if time.monotonic() > deadline or nobody_else_to_ask:
            reasons = "; ".join(sorted(set(refused))) or "none were refused"
            raise RunFailedError(f"{present} of {needed} clients could be enrolled; refused: {reasons}")
        time.sleep(1.0)


def _wait_for_quorum(strategy: PersonalizedStrategy, grid: Grid, config: RunConfig) -> None:
    """Give clients that lost their connection time to come back: a round sent to nobody helps nobody."""
    needed = max(1, math.ceil(config.rounds.quorum * len(strategy.roster.profiles)))
    deadline = time.monotonic() + config.waiting.wait_for_clients
    while len(strategy.roster.present(grid.get_node_ids())) < needed and time.monotonic() < deadline:
        time.sleep(1.0)
        strategy.enrol(grid)


def _why_skipped(record: RoundRecord, skipped: int) -> str:
    reasons = "; ".join(f"{client}: {reason}" for client, reason in sorted(record.set_aside.items())) or "no client"
    count = f"{skipped} rounds in a row" if skipped > 1 else "1 round"
    return f"{count} had too few good replies (max-skipped-rounds); the last: {reasons}"


def _why_unscored(record: RoundRecord) -> str:
    missing = {
        f"{client}, {task}": score.missing_because
        for client, by_task in record.scores.items()
        for task, score in by_task.items()
    }
    reasons = "; ".join(f"{who}: {why}" for who, why in sorted({**missing, **record.set_aside}.items()))
    return f"all rounds are done, but no client has a score: {reasons or 'no client was there'}"


def _log_round(record: RoundRecord) -> None:
    for client, by_task in sorted(record.scores.items()):
        parts = [
            f"{task} {score.value:.4g}" if score.value is not None else f"{task} missing ({score.missing_because})"
            for task, score in by_task.items()
        ]
        log(logging.INFO, "\t├── after round %s, %s: %s", record.evaluated_round, client, ", ".join(parts))
    if not record.final:
        log(
            logging.INFO,
            "\t└──> %s clients, %s set aside, %.1f MB down, %.1f MB up, %.1f s clients, %.2f s aggregation",
            *(len(record.participants), len(record.set_aside), record.bytes_down / 1e6, record.bytes_up / 1e6),
            *(record.seconds.get("clients", 0.0), record.seconds.get("aggregation", 0.0)),
        )
