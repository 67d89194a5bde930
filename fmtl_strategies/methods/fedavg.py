"""FedAvg, adapted to clients with different tasks (McMahan et al. 2017; FedHCA2 section 4.1; methods.md 1.2)."""

from typing_extensions import TypeVar

from fmtl_strategies.building_blocks.averaging import (
    SCOPE,
    WEIGHTING,
    DecoderScope,
    MeanParameters,
    Weighting,
    average_rows,
    rows_by_task,
)
from fmtl_strategies.contract.groups import GroupKind
from fmtl_strategies.parameters import parameter
from fmtl_strategies.round.base import PersonalizedStrategy
from fmtl_strategies.round.store import PoolRound


class FedAvgParameters(MeanParameters):
    """Hyper-parameters of FedAvg."""

    decoder_scope: DecoderScope = parameter(
        "all", SCOPE, "FedHCA2's code (one mean over all decoders); same-task is ours"
    )
    weighting: Weighting = parameter("uniform", WEIGHTING, "FedHCA2's code")


MeanT = TypeVar("MeanT", bound=MeanParameters, default=FedAvgParameters, covariant=True)


class FedAvg(PersonalizedStrategy[MeanT]):
    """Encoders are averaged over all clients, decoders as `decoder-scope` says; heads stay on the client.

    McMahan, Moore, Ramage, Hampson, Aguera y Arcas: Communication-Efficient Learning of Deep Networks from
    Decentralized Data, AISTATS 2017, arXiv 1602.05629: theta <- sum_i p_i (theta_i + Delta_i). The paper's p_i are
    shares of the training examples (`weighting = "examples"`); the default, 1/N, is that of FedHCA2's code.

    As published for clients with different tasks (FedHCA2 section 4.1 and code), one mean over all decoders is written
    to every decoder, task-blind; `decoder-scope = "same-task"` averages within a task instead. Deviation: a client
    with several tasks gets every decoder's mean; the reference's write-back for several multi-task clients of
    different task counts is mis-addressed (methods.md 1.2) and not repeated.

    Partial participation: the mean is over the clients that answered; the others get it too, next time. One that
    vanished no longer counts; a new one starts from the common model, also where its task is new.
    """

    name = "fedavg"
    summary_line = "mean of encoders, and of all decoders (as published) or of same-task decoders"
    shared_kinds = ("encoder", "decoders")

    def aggregate_pool(self, pool: PoolRound, server_round: int) -> dict[str, float]:
        """Write the mean of its group to every row."""
        task_blind = self.is_common(pool.kind)
        groups = None if task_blind else rows_by_task(pool)
        average_rows(pool, groups, self.parameters.weighting, follow="pool" if task_blind else "task")
        return {}

    def is_common(self, kind: GroupKind) -> bool:
        """Whether the mean runs over all tasks."""
        return self.parameters.spans_tasks(kind)
