"""What is done about updates that were admitted but may be poisoned, before any strategy sees them.

A defence looks at the rows of a pool, which have one layout and kind, and either makes rows smaller or sets them aside.
A row that is set aside is to the strategy one whose client did not answer. What was decided, and why, is in the
round's record. Nothing is remembered between rounds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from fmtl_strategies.building_blocks.averaging import rows_by_group
from fmtl_strategies.contract.groups import GroupKind
from fmtl_strategies.maths.gram import gram_matrix
from fmtl_strategies.maths.robust import krum_applies, krum_choice, krum_scores, norm_bound, outlier_scores
from fmtl_strategies.maths.rows import Float64Array
from fmtl_strategies.round.admission import update_norm
from fmtl_strategies.round.record import RoundRecord
from fmtl_strategies.round.store import ArrivedRows, ParameterStore, RowKey
from fmtl_strategies.settings import DefenceSettings

# With two rows nobody can tell which of them is the unusual one.
FEWEST_ROWS_TO_COMPARE = 3


@dataclass
class Verdict:
    """What a defence found in one round.

    Attributes:
        scales: factor by row, of rows that are made smaller.
        rows_set_aside: reason by row.
        clients_set_aside: reason by client, of clients of which nothing is used.
        grams: Gram matrix of a pool's arrived updates by (kind, signature), where one was computed.
        unjudged: rows of pools or groups that had too few rows to compare.
        diagnostics: numbers worth recording, by name.
    """

    scales: dict[RowKey, float] = field(default_factory=dict)
    rows_set_aside: dict[RowKey, str] = field(default_factory=dict)
    clients_set_aside: dict[str, str] = field(default_factory=dict)
    grams: dict[tuple[GroupKind, str], Float64Array] = field(default_factory=dict)
    unjudged: int = 0
    diagnostics: dict[str, float] = field(default_factory=dict)


def defend(
    store: ParameterStore, settings: DefenceSettings, record: RoundRecord
) -> Mapping[tuple[GroupKind, str], Float64Array]:
    """Judge this round's updates and act on them.

    Args:
        store: the updates; those that are set aside are taken out of it, those that are too long made shorter.
        settings: which defence.
        record: of the round; receives reasons and numbers. Clients of which nothing is left are no participants.

    Returns:
        Gram matrix of the updates that are left by (kind, signature) of their pool, for strategies that need it; of
        pools for which none was computed, none.
    """
    if settings.name == "none":
        return {}
    verdict = Verdict()
    arrived = list(store.arrived())
    for pool in arrived:
        _JUDGES[settings.name](pool, settings, verdict)
    dropped = _rows_to_drop(arrived, verdict)
    grams = _remaining_grams(arrived, verdict, dropped)
    left = {key.client for pool in arrived for key in pool.rows if key not in dropped}
    _record(verdict, record, dropped, left)
    for pool in arrived:
        for row, key in enumerate(pool.rows):
            if key in verdict.scales:
                pool.updates_nd[row] *= np.float32(verdict.scales[key])
    store.take_back(dropped)
    return grams


def _judge_norms(pool: ArrivedRows, settings: DefenceSettings, verdict: Verdict) -> None:
    if not _enough(pool, verdict):
        return
    norms_n = np.array([update_norm(row) for row in pool.updates_nd])
    bound = norm_bound(norms_n, settings.norm_factor)
    if bound is None:
        return
    for key, norm in zip(pool.rows, norms_n, strict=True):
        scale = min(1.0, bound / norm) if norm > 0 else 1.0
        verdict.diagnostics[f"{key.client}/{key.group}/defence-scale"] = float(scale)
        if scale < 1:
            verdict.scales[key] = float(scale)


def _judge_outliers(pool: ArrivedRows, settings: DefenceSettings, verdict: Verdict) -> None:
    if not _enough(pool, verdict):
        return
    gram_nn = verdict.grams[pool.kind, pool.signature] = gram_matrix(pool.updates_nd)
    scores = outlier_scores(gram_nn)
    for row, key in enumerate(pool.rows):
        score = float(scores.score_n[row])
        verdict.diagnostics[f"{key.client}/{key.group}/defence-score"] = score
        if score > settings.threshold and key.client not in verdict.clients_set_aside:
            large = scores.size_n[row] >= scores.direction_n[row]
            what = "is far longer than" if large else "points away from"
            verdict.clients_set_aside[key.client] = (
                f"defence outlier: update of {key.group} {what} those of the others "
                f"(score {score:.3g}, defence-threshold is {settings.threshold:g})"
            )


def _judge_distances(pool: ArrivedRows, settings: DefenceSettings, verdict: Verdict) -> None:
    groups = [members for members in rows_by_group(pool) if krum_applies(len(members), settings.attackers)]
    verdict.unjudged += len(pool.rows) - sum(map(len, groups))
    if not groups:
        return
    gram_nn = verdict.grams[pool.kind, pool.signature] = gram_matrix(pool.updates_nd)
    for members in groups:
        scores_m = krum_scores(gram_nn[np.ix_(members, members)], settings.attackers)
        chosen = krum_choice(scores_m, settings.attackers)
        largest = float(scores_m[chosen].max())
        for place, row in enumerate(members):
            key = pool.rows[row]
            verdict.diagnostics[f"{key.client}/{key.group}/defence-score"] = float(scores_m[place])
            if place not in chosen:
                verdict.rows_set_aside[key] = (
                    f"defence krum: update of {key.group} is among the {settings.attackers} farthest from the others "
                    f"(score {scores_m[place]:.3g}, of those used at most {largest:.3g})"
                )


_JUDGES = {"norm-bound": _judge_norms, "outlier": _judge_outliers, "krum": _judge_distances}


def _enough(pool: ArrivedRows, verdict: Verdict) -> bool:
    enough = len(pool.rows) >= FEWEST_ROWS_TO_COMPARE
    verdict.unjudged += 0 if enough else len(pool.rows)
    return enough


def _rows_to_drop(arrived: list[ArrivedRows], verdict: Verdict) -> set[RowKey]:
    return {
        key
        for pool in arrived
        for key in pool.rows
        if key in verdict.rows_set_aside or key.client in verdict.clients_set_aside
    }


def _remaining_grams(
    arrived: list[ArrivedRows], verdict: Verdict, dropped: set[RowKey]
) -> dict[tuple[GroupKind, str], Float64Array]:
    found = {}
    for pool in arrived:
        gram_nn = verdict.grams.get((pool.kind, pool.signature))
        kept = [row for row, key in enumerate(pool.rows) if key not in dropped]
        if gram_nn is not None and kept:
            found[pool.kind, pool.signature] = gram_nn[np.ix_(kept, kept)]
    return found


def _record(verdict: Verdict, record: RoundRecord, dropped: set[RowKey], left: set[str]) -> None:
    """Write down what was decided; `left` names the clients of which something is used."""
    record.diagnostics.update(verdict.diagnostics)
    record.diagnostics |= {
        "defence/rows-made-smaller": float(len(verdict.scales)),
        "defence/rows-set-aside": float(len(dropped)),
        "defence/rows-not-compared": float(verdict.unjudged),
    }
    reasons = dict(verdict.clients_set_aside)
    for key, reason in sorted(verdict.rows_set_aside.items()):
        if key.client in left:
            record.note(key.client, reason)
        else:
            reasons[key.client] = f"{reasons[key.client]}; {reason}" if key.client in reasons else reason
    for client, reason in sorted(reasons.items()):
        record.participants.remove(client)
        record.set_aside[client] = reason
    for key, scale in sorted(verdict.scales.items()):
        record.note(key.client, f"defence norm-bound: update of {key.group} was multiplied by {scale:.3g}")
