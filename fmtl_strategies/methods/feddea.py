"""FedDEA: only the largest values of every update are averaged, magnified, into one model for all tasks."""

from typing import Any, Literal

import numpy as np
from pydantic import field_validator

from fmtl_strategies.building_blocks.averaging import Weighting
from fmtl_strategies.building_blocks.unified import unified_arrays
from fmtl_strategies.building_blocks.wrapping import WrappingParameters, WrappingStrategy
from fmtl_strategies.contract.profile import ClientProfile
from fmtl_strategies.contract.rule import LocalRule, SparseRescale, SparseScope, Sparsify
from fmtl_strategies.parameters import parameter
from fmtl_strategies.round.base import StateArrays
from fmtl_strategies.round.store import PoolRound

_SHARE_OF_ONE_CLIENT = "1/n"
_SMALLEST = 1e-6


class FedDEAParameters(WrappingParameters):
    """Hyper-parameters of FedDEA."""

    base: Literal["fedadagrad", "fedadam", "fedavg", "fedavgm", "fedprox", "fedyogi"] = parameter(
        "fedavg", "strategy that is wrapped; its own parameters stand under its name", "paper"
    )
    rho: str = parameter(
        "0.3",
        'share of the values of an update that is kept: a number, or "1/n", n clients asked this round',
        'paper (best at 0.2 to 0.3); "1/n" is ours',
        allowed=f"{_SMALLEST:g} ≤ x ≤ 1,\nor {_SHARE_OF_ONE_CLIENT}",
    )
    scope: SparseScope = parameter(
        "global", "kept are the largest of the whole update, or of every `layer`'s array", "paper; layer is ours"
    )
    rescale: SparseRescale = parameter(
        "inverse",
        "factor on what is kept: `inverse` (1 / rho), `energy` (norm before over norm after), or `none`",
        "paper; energy and none are ours",
    )
    magnify: Literal["all", "encoder"] = parameter(
        "all",
        "what `rescale = inverse` magnifies: `all` that is kept, or only the `encoder`, which every client averages",
        "all: the paper; encoder is ours",
    )
    weighting: Weighting = parameter(
        "uniform", "weights p_i: `uniform`, or by number of training `examples`", "ours; the paper is silent"
    )

    @field_validator("rho", mode="before")
    @classmethod
    def _number_or_share(cls, value: Any) -> str:
        text = str(value).strip().lower()
        if text == _SHARE_OF_ONE_CLIENT:
            return text
        try:
            fits = _SMALLEST <= float(text) <= 1
        except ValueError:
            fits = False
        if not fits or isinstance(value, bool):
            raise ValueError(f'rho must be a number from {_SMALLEST:g} to 1, or "{_SHARE_OF_ONE_CLIENT}"')
        return text

    def wraps(self) -> tuple[str, dict[str, object]]:
        """Return the base, and that it averages within tasks with the weights chosen here."""
        return self.base, {"decoder-scope": "same-task", "weighting": self.weighting}

    def fraction(self, clients: int) -> float:
        """Return rho for a round in which so many clients are asked."""
        return 1 / max(1, clients) if self.rho == _SHARE_OF_ONE_CLIENT else float(self.rho)


class FedDEA(WrappingStrategy[FedDEAParameters]):
    """Every client sends the fraction rho of its update that is largest in magnitude, times 1 / rho; one common model.

    FedDEA (arXiv 2505.24185; no code found): M_i marks the top fraction rho of |Delta_i| over the flattened update,
    Delta^_i = (1 / rho) M_i * Delta_i, theta <- theta + sum_i p_i Delta^_i. It wraps `base`: FedAvg, FedProx (its pull
    acts while clients train, over heads too), or a server optimiser (sum_i p_i Delta^_i is its pseudo-gradient).

    All clients hold one model: encoder over all clients; decoders, heads and floating-point batch-norm statistics of a
    task over the clients that own it, so that p_i sums to 1 over owners and no update is made smaller by clients that
    have nothing to say about it. `decoder-scope = "same-task"` and this section's `weighting` are imposed on the base.
    Masked are encoder, decoders and heads together, each client over what it has. Statistics are averaged as they are,
    uniformly, never masked or magnified.

    1 / rho meets a mean over N clients in the encoder, and one over few owners, often a single one, in decoders and
    heads, where there is little for it to make up for. `magnify = "encoder"` (ours) leaves these as they were sent.

    Unknown in the paper, ours: p_i, treatment of heads and batch-norm statistics, and all of `scope = "layer"`,
    `rescale = "energy"` and `"none"`, `rho = "1/n"`. With rho = 1/n, uniform weights and one encoder architecture, the
    factor p_i / rho on an encoder's kept values is 1: the clients' kept changes are simply added. With several, n still
    counts all clients asked, but a mean runs over the m clients of one architecture: the factor is n / m, above 1.

    Partial participation: the mean is over the clients that answered; one that is away gets the common model all the
    same, a new one starts from it, and one that vanished for good is no longer in the mean. `1/n` counts the clients
    asked, so p_i / rho is above 1 where some of them do not answer. Of a task whose owners are all away, decoder, head
    and statistics stay as they were.
    """

    name = "feddea"
    summary_line = "one model for all tasks, from the largest values of every update, magnified"
    shared_kinds = ("encoder", "decoders", "heads", "buffers")

    def aggregate_pool(self, pool: PoolRound, server_round: int) -> dict[str, float]:
        """Let the base aggregate; what is not to be magnified is taken back to its size first."""
        chosen = self.parameters
        if chosen.magnify == "encoder" and chosen.rescale == "inverse" and pool.kind != "encoder":
            pool.updates_nd *= np.float32(chosen.fraction(len(self.present)))
        return super().aggregate_pool(pool, server_round)

    def local_rule(self, profile: ClientProfile, server_round: int) -> LocalRule:
        """Return the base's rule, its pull over everything exchanged that is trained, with the mask."""
        chosen = self.parameters
        rule = super().local_rule(profile, server_round)
        trained = tuple(g for kind in ("encoder", "decoders", "heads") for g in profile.groups_of_kind(kind))
        pull = None if rule.pull is None else rule.pull.model_copy(update={"groups": trained})
        mask = Sparsify(fraction=chosen.fraction(len(self.present)), scope=chosen.scope, rescale=chosen.rescale)
        return rule.model_copy(update={"pull": pull, "sparsify": mask})

    def final_arrays(self) -> StateArrays:
        """Return the common model."""
        return {**unified_arrays(self.roster.profiles, self.store)}
