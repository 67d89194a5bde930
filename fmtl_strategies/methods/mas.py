"""MAS: merge all tasks, measure which help each other, split them into groups (Zhuang et al.; methods.md 1.8)."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from fmtl_strategies.building_blocks.averaging import Weighting, average_rows
from fmtl_strategies.contract.groups import kind_of
from fmtl_strategies.contract.layout import FloatArray
from fmtl_strategies.contract.messages import Report
from fmtl_strategies.contract.profile import ClientProfile
from fmtl_strategies.contract.rule import LocalRule
from fmtl_strategies.flower_compat import log
from fmtl_strategies.maths.task_split import best_group, split_tasks
from fmtl_strategies.parameters import StrategyParameters, parameter
from fmtl_strategies.round.base import PersonalizedStrategy, StateArrays
from fmtl_strategies.round.store import PoolRound, RowKey
from fmtl_strategies.settings import RunConfig


class MASParameters(StrategyParameters):
    """Hyper-parameters of MAS."""

    rule: Literal["affinity", "identical-task-sets"] = parameter(
        "affinity",
        "`affinity`: merge, measure, split; `identical-task-sets`: aggregate only clients with the same tasks",
        "affinity: the paper; identical-task-sets: FedHCA2's text (Fig. 1b)",
    )
    merge_rounds: int = parameter(
        0,
        "rounds in which all tasks are merged; 0: seven tenths of the run, at least 1",
        "the authors' example (70 rounds merged, 30 split); the share for other lengths is ours",
        ge=0,
    )
    splits: int = parameter(2, "groups the tasks are split into after the merge phase", "the authors' example", ge=1)
    look_ahead_every: int = parameter(
        10, "measure affinities at every so many steps of a round, from its first", "ours; the paper's is unknown", ge=1
    )
    same_dataset: bool = parameter(
        False, "aggregate only clients of the same data set, in both rules", "ours; methods differ", strict=True
    )
    weighting: Weighting = parameter(
        "uniform",
        "weights of the means: `uniform` over rows, or by number of training `examples`",
        "ours, as in FedHCA2's code for fedavg",
    )


@dataclass
class Measured:
    """Affinities measured so far, and the split they led to.

    Attributes:
        sums: sum of the reported Z_{i->j} by (i, j).
        counts: how many reports it is the sum of.
        groups: tasks of each group; None while all tasks are merged; empty where identical task sets decide.
    """

    sums: dict[tuple[str, str], float] = field(default_factory=dict)
    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    groups: list[list[str]] | None = None

    def add(self, report: Report) -> None:
        """Add the affinities of one report, each cut at -1: a loss that a step has doubled counts like one it tripled.

        They are at most 1 by definition and have no lower bound, so one loss close to 0, or one client that makes
        numbers up, would decide the split alone.
        """
        for i, by_task in report.affinities.items():
            for j, value in by_task.items():
                if i != j:
                    self.sums[i, j] = self.sums.get((i, j), 0.0) + min(max(value, -1.0), 1.0)
                    self.counts[i, j] = self.counts.get((i, j), 0) + 1

    def means(self) -> dict[tuple[str, str], float]:
        """Return the mean affinity by (i, j)."""
        return {pair: total / self.counts[pair] for pair, total in sorted(self.sums.items())}


class _Label(NamedTuple):
    group: str
    dataset: str
    circle: str


class MAS(PersonalizedStrategy[MASParameters]):
    """All tasks are trained as one, their affinities measured, then each group of tasks goes on by itself.

    "MAS: Towards Resource-Efficient Federated Multiple-Task Learning" (Zhuang, Wen, Lyu, Zhang, ICCV 2023); affinity
    by look-ahead from TAG (Fifty et al., NeurIPS 2021, arXiv 2109.04617).

    `rule = "affinity"`:
    1. Merge phase, `merge-rounds` rounds (skipped ones count): FedAvg of encoders over all, of decoders within a task.
       Clients with several tasks report Z_{i->j} = 1 - L_j(encoder after a step on L_i) / L_j(encoder), see
       `client_app/training/look_ahead.py`; the server averages over reports.
    2. In the first round after it the tasks are split into `splits` groups g that maximise
       sum_j mean_{i in g(j), i != j} Z_{i->j}: every split is tried up to nine tasks, greedily beyond (ours).
    3. From then on the same means, but inside each group, going on from the merged weights.

    `rule = "identical-task-sets"` (FedHCA2's reading): the same means among clients with exactly the same tasks, from
    the first round.

    Heads are shared as well, as MAS shares whole models: within a task and a data set, since class 3 of one data set
    is another thing in the next. `same-dataset` keeps encoders and decoders within a data set too.

    Deviations, all forced by clients that have different tasks (in MAS every client has all): affinities come only
    from clients with several tasks; a pair that nobody measured counts as 0; a client whose tasks lie in several
    groups joins, as a whole, the one that holds most of them (ties: larger sum of affinities, then the first). A
    reported affinity counts as -1 at least and 1 at most. Where
    nothing at all was measured, there is nothing to split by: identical task sets are used, with a warning and the
    diagnostic `split-fallback`. Affinities are averaged over the whole merge phase (the authors' example takes those
    of round 10). A client whose tasks appeared after the split joins those with identical tasks.

    Partial participation (undefined in the paper): means are over those who answered. An absent client follows: it
    takes its group's new weights too, if anybody of its group answered. A client that vanished keeps its say in the
    affinities. A new client starts from what its group has; the split is not made again.
    """

    name = "mas"
    summary_line = "one merged model first; then tasks that help each other, or equal task sets, together"
    shared_kinds = ("encoder", "decoders", "heads")

    def __init__(self, settings: RunConfig, parameters: MASParameters | None = None) -> None:
        super().__init__(settings, parameters)
        self.measured = Measured(groups=[] if self.parameters.rule == "identical-task-sets" else None)

    @property
    def merge_rounds(self) -> int:
        """Rounds of the merge phase; none under `identical-task-sets`."""
        if self.parameters.rule == "identical-task-sets":
            return 0
        return self.parameters.merge_rounds or max(1, 7 * self.settings.local.total_rounds // 10)

    def summary(self) -> None:
        """Log the strategy, and say where the run is too short for a split."""
        super().summary()
        rounds = self.settings.local.total_rounds
        if self.merge_rounds >= rounds:
            log(
                logging.WARNING,
                "mas: the merge phase (mas.merge-rounds, here %s) fills the run of %s round(s): tasks are never split; "
                "lower mas.merge-rounds or raise num-server-rounds",
                *(self.merge_rounds, rounds),
            )

    def local_rule(self, profile: ClientProfile, server_round: int) -> LocalRule:
        """In the merge phase, clients with several tasks measure affinities."""
        measures = server_round <= self.merge_rounds and len(profile.task_names) > 1
        return LocalRule(look_ahead_every=self.parameters.look_ahead_every if measures else 0)

    def observe(self, report: Report) -> None:
        """Add up the affinities of the merge phase."""
        if report.round <= self.merge_rounds:
            self.measured.add(report)

    def start_for(self, profile: ClientProfile, group: str) -> FloatArray | None:
        """Return what the new client's group has; without such a group the mean of all, but a head of its own."""
        label, layout = self._label(profile, group), profile.groups[group]
        for client, known in sorted(self.roster.profiles.items()):
            same = group in known.groups and known.groups[group].signature == layout.signature
            if same and self._label(known, group) == label:
                return self.store.parameters(RowKey(client, group)).copy()
        return None if kind_of(group) == "heads" else super().start_for(profile, group)

    def aggregate_pool(self, pool: PoolRound, server_round: int) -> dict[str, float]:
        """Write the mean of its group to every row; split the tasks first where it is time."""
        time_to_split = self.measured.groups is None and server_round > self.merge_rounds
        found = self._split() if time_to_split else {}
        labels = {key: self._label(pool.profiles[key.client], key.group) for key in (*pool.rows, *pool.away)}
        groups: dict[_Label, list[int]] = {}
        for number, key in enumerate(pool.rows):
            groups.setdefault(labels[key], []).append(number)
        average_rows(pool, list(groups.values()), self.parameters.weighting)
        pool.follow.clear()
        pool.follow.update({key: groups[labels[key]][0] for key in pool.away if labels[key] in groups})
        return found

    def _label(self, profile: ClientProfile, group: str) -> _Label:
        """Return what all rows that are averaged with this one have in common."""
        within_dataset = self.parameters.same_dataset or kind_of(group) == "heads"
        return _Label(group, profile.dataset if within_dataset else "", self._circle(profile))

    def _circle(self, profile: ClientProfile) -> str:
        """Return the name of the clients this client is aggregated with."""
        groups = self.measured.groups
        if groups is None:
            return "all"
        number = best_group(profile.task_names, groups, self.measured.means())
        return f"tasks {','.join(sorted(profile.task_names))}" if number is None else f"group {number}"

    def _split(self) -> dict[str, float]:
        """Decide which tasks go on together; return the affinities and the group of each task."""
        affinities = self.measured.means()
        if not affinities:
            self.measured.groups = []
            log(
                logging.WARNING,
                "mas: no affinity was measured in the merge phase (it takes a client with several tasks), so the tasks "
                "cannot be split by it: from now on clients with identical task sets are aggregated",
            )
            return {"split-fallback": 1.0}
        tasks = sorted({task for profile in self.roster.profiles.values() for task in profile.task_names})
        self.measured.groups = split_tasks(tasks, affinities, self.parameters.splits)
        log(logging.INFO, "mas: tasks are split into %s", " | ".join(map(", ".join, self.measured.groups)))
        found = {f"affinity/{i}/{j}": value for (i, j), value in affinities.items()}
        for number, group in enumerate(self.measured.groups):
            found.update({f"split/{task}": float(number) for task in group})
        return found

    def method_state(self) -> tuple[StateArrays, dict[str, Any]]:
        """Return sums and counts of the affinities, and the split."""
        sums = [[i, j, total, self.measured.counts[i, j]] for (i, j), total in sorted(self.measured.sums.items())]
        return {}, {"affinities": sums, "groups": self.measured.groups}

    def load_method_state(self, arrays: Mapping[str, npt.NDArray[np.generic]], values: Mapping[str, Any]) -> None:
        """Take back what `method_state` returned."""
        self.measured = Measured(groups=values["groups"])
        for i, j, total, count in values["affinities"]:
            self.measured.sums[i, j], self.measured.counts[i, j] = total, count
