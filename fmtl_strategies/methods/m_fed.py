"""M-Fed: a model for every task, and encoders drawn to the mean of all tasks (arXiv 2504.09800; methods.md 1.11)."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from fmtl_strategies.building_blocks.averaging import Weighting, mixing_matrix
from fmtl_strategies.building_blocks.stable_pull import require_stable_pull
from fmtl_strategies.contract.groups import kind_of
from fmtl_strategies.contract.layout import FloatArray
from fmtl_strategies.contract.profile import ClientProfile
from fmtl_strategies.contract.rule import LocalRule, Pull, PullForm
from fmtl_strategies.maths.combine import mix_rows
from fmtl_strategies.maths.m_fed import Schedule, regularisation, weighted_mean
from fmtl_strategies.parameters import StrategyParameters, parameter
from fmtl_strategies.round.base import PersonalizedStrategy, StateArrays
from fmtl_strategies.round.store import PoolRound, RowKey
from fmtl_strategies.settings import RunConfig


class MFedParameters(StrategyParameters):
    """Hyper-parameters of M-Fed."""

    lambda_max: float = parameter(
        0.1,
        "lambda of the regulariser lambda ||w* - g||^2 in the last round; 0: no regulariser and no g is sent",
        "ours; the paper's value is unknown",
        ge=0,
        le=1e8,
    )
    kappa: float = parameter(
        5.0, "how late lambda rises under `exponential`; 0 is a straight line", "ours; unknown", ge=0, le=100
    )
    schedule: Schedule = parameter(
        "exponential",
        "lambda in round t of T: `constant`, or `exponential`: lambda-max (e^(kappa t/T) - 1) / (e^kappa - 1)",
        "the paper says that lambda grows exponentially; the form is ours",
    )
    form: PullForm = parameter(
        "coupled",
        "`coupled`: its gradient goes through AdamW; `decoupled`: w* <- w* - 2 rate lambda (w* - g) after each step",
        "paper (a term of the loss); decoupled is ours",
    )
    local_rounds: int = parameter(
        1,
        "local rounds between two aggregations: how often the client's local epochs are run",
        "paper: 1 on COCO, 5 on PASCAL-Context",
        ge=1,
        le=1000,
    )
    same_dataset: bool = parameter(
        True, "only clients of the same data set share a task's model", "ours; the paper has one data set", strict=True
    )
    weighting: Weighting = parameter(
        "examples", "weights within a task: by number of training `examples`, or `uniform`", "ours; FedAvg's"
    )
    task_weighting: Weighting = parameter(
        "uniform", "weights of the tasks in g: `uniform`, or by their clients' training `examples`", "ours; unknown"
    )


class MFed(PersonalizedStrategy[MFedParameters]):
    """Tier 1: clients of a task share one model F_k. Tier 2: g, the mean of the tasks' encoders, draws encoders to it.

    "Multi-task Federated Learning with Encoder-Decoder Structure: Enabling Collaborative Learning Across Different
    Tasks", 2025, arXiv 2504.09800, as methods.md 1.11 describes it; no code is known. The abstract speaks of a global
    decoder where the method draws encoders. With w* the encoder part of a model w, A a weighted mean, and D_k the
    clients of task k, a round is

        client i of task k:  w_i <- F_k, then minimise L_i(w_i) + lambda ||w_i* - g||^2     (local-rounds times)
        tier 1:              F_k <- A({w_i : i in D_k}), the whole model with heads and batch-norm statistics
        tier 2:              g <- A({F_k* : k}), never batch-norm statistics

    F_k overwrites the client's model, g never does: it travels as an anchor. The printed client step adds lambda
    ||w* - g||^2 itself; its gradient 2 lambda (w* - g) on the encoder is meant and taken.

    A task is a set of tasks and the layout of the whole model, so that other class counts or other architectures are
    other tasks, and under `same-dataset` (ours) the data set: two heads of one shape may still mean different classes.
    There is one g for each architecture of encoders, over all its tasks. Round r of R uses t = r and T = R, so the last
    round has lambda-max. In round 1 there is no g and no regulariser.

    Deviations: AdamW for the paper's SGD, which scales the regulariser's gradient with the rest (`form` offers the
    other way); what is `ours` among the parameters. The square is a sum over all of the encoder's values.

    Partial participation (undefined in the paper): F_k is the mean over its clients that answered, and the absent ones
    get it too, next time. A task none of whose clients answered keeps F_k, and stays in g with it, also when they
    vanished for good; a task that was never aggregated is not in g. A new client of a known task starts from F_k, one
    of a new task from g, and in its decoders and heads from the mean of those that serve the same purpose, if any.
    """

    name = "m-fed"
    summary_line = "one whole model for each task; encoders drawn to the mean over tasks"
    shared_kinds = ("encoder", "decoders", "heads", "buffers")

    def __init__(self, settings: RunConfig, parameters: MFedParameters | None = None) -> None:
        super().__init__(settings, parameters)
        self.common_encoders: dict[str, FloatArray] = {}
        self.aggregated_tasks: dict[str, list[str]] = {}
        lambda_max, encoder = self.parameters.lambda_max, settings.local.named_rates[:1]
        require_stable_pull("m-fed.lambda-max", lambda_max, self.parameters.form, encoder, factor=2.0)

    def local_rule(self, profile: ClientProfile, server_round: int) -> LocalRule:
        """Return the local rounds, and the pull to the common encoder where there is one."""
        passes = self.parameters.local_rounds
        if self._goal(profile) is None:
            return LocalRule(passes=passes)
        strength = 2 * self.regularisation(server_round)
        return LocalRule(passes=passes, pull=Pull(strength=strength, groups=("encoder",), form=self.parameters.form))

    def anchors(self, profile: ClientProfile, server_round: int) -> Mapping[str, FloatArray]:
        """Return the common encoder of the client's architecture, if there is one yet."""
        goal = self._goal(profile)
        return {} if goal is None else {"encoder": goal}

    def regularisation(self, server_round: int) -> float:
        """Return lambda of a round."""
        progress = min(server_round / self.settings.local.total_rounds, 1.0)
        chosen = self.parameters
        return regularisation(progress, chosen.lambda_max, chosen.kappa, chosen.schedule)

    def _goal(self, profile: ClientProfile) -> FloatArray | None:
        """Return g for a client that is to train; nothing is drawn to it in the final evaluation."""
        if self.parameters.lambda_max == 0 or self.record.final:
            return None
        return self.common_encoders.get(profile.groups["encoder"].signature)

    def task_of_client(self, profile: ClientProfile) -> str:
        """Return what clients with the same F_k have in common: `<data set>:<tasks>:<hash of the layouts>`."""
        layouts = sorted((group, g.signature) for group, g in profile.groups.items() if kind_of(group) != "buffers")
        digest = hashlib.sha256(repr(layouts).encode()).hexdigest()[:12]
        dataset = profile.dataset if self.parameters.same_dataset else ""
        return f"{dataset}:{'+'.join(sorted(profile.task_names))}:{digest}"

    def aggregate_pool(self, pool: PoolRound, server_round: int) -> dict[str, float]:
        """Average within every task; of encoders, also take the mean over tasks."""
        self._average_within_tasks(pool)
        if pool.kind != "encoder":
            return {}
        self._average_tasks(pool)
        return {"lambda": self.regularisation(server_round)}

    def aggregate_buffers(self, pool: PoolRound, server_round: int) -> dict[str, float]:
        """Average batch-norm statistics within every task and nowhere else."""
        self._average_within_tasks(pool)
        return {}

    def start_for(self, profile: ClientProfile, group: str) -> FloatArray | None:
        """Return F_k where the client's task has one; for an encoder of a new task g; else as for every strategy."""
        task = self.task_of_client(profile)
        for name, other in sorted(self.roster.profiles.items()):
            same_layout = group in other.groups and other.groups[group].signature == profile.groups[group].signature
            if same_layout and self.task_of_client(other) == task and RowKey(name, group) in self.store:
                return self.store.parameters(RowKey(name, group))
        if group == "encoder" and profile.groups[group].signature in self.common_encoders:
            return self.common_encoders[profile.groups[group].signature]
        return super().start_for(profile, group)

    def method_state(self) -> tuple[StateArrays, dict[str, Any]]:
        """Return g and the tasks in it, by encoder layout."""
        return {**self.common_encoders}, {"tasks": self.aggregated_tasks}

    def load_method_state(self, arrays: Mapping[str, npt.NDArray[np.generic]], values: Mapping[str, Any]) -> None:
        """Take back what `method_state` returned."""
        self.common_encoders = {layout: np.array(array, dtype=np.float32) for layout, array in arrays.items()}
        self.aggregated_tasks = {layout: list(tasks) for layout, tasks in values["tasks"].items()}

    def _average_within_tasks(self, pool: PoolRound) -> None:
        """Give every row the mean of its task's rows of the same group, also those of clients that were away."""
        groups: dict[tuple[str, str], list[int]] = {}
        for i, key in enumerate(pool.rows):
            groups.setdefault(self._place(pool, key), []).append(i)
        np.add(pool.parameters_nd, pool.updates_nd, out=pool.parameters_nd)
        mix_rows(pool.parameters_nd, mixing_matrix(pool, list(groups.values()), self.parameters.weighting))
        for key in pool.away:
            if self._place(pool, key) in groups:
                pool.follow[key] = groups[self._place(pool, key)][0]

    def _place(self, pool: PoolRound, key: RowKey) -> tuple[str, str]:
        return self.task_of_client(pool.profiles[key.client]), key.group

    def _average_tasks(self, pool: PoolRound) -> None:
        """Set g to the mean of the tasks' encoders: the new ones, and the old ones of tasks that were silent."""
        encoders: dict[str, FloatArray] = {}
        examples: dict[str, int] = {}
        for i, key in enumerate(pool.rows):
            encoders.setdefault(self._place(pool, key)[0], pool.parameters_nd[i])
        known = set(self.aggregated_tasks.get(pool.signature, [])) | set(encoders)
        for key in pool.away:
            task = self._place(pool, key)[0]
            if task in known and task not in encoders:
                encoders[task] = self.store.parameters(key)
        for key in (*pool.rows, *pool.away):
            task, _ = self._place(pool, key)
            examples[task] = examples.get(task, 0) + pool.profiles[key.client].train_examples
        tasks = sorted(encoders)
        weights = [1.0 if self.parameters.task_weighting == "uniform" else float(examples[task]) for task in tasks]
        self.common_encoders[pool.signature] = weighted_mean([encoders[task] for task in tasks], weights)
        self.aggregated_tasks[pool.signature] = tasks
