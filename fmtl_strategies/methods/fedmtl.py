"""FedMTL: personal encoders tied by a regulariser over the relations of clients (MOCHA; FMTL-Bench)."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from fmtl_strategies.building_blocks.stable_pull import require_stable_pull
from fmtl_strategies.contract.profile import ClientProfile
from fmtl_strategies.contract.rule import LocalRule, Pull, PullForm
from fmtl_strategies.maths.combine import mix_rows
from fmtl_strategies.maths.deviations import deviation_gram
from fmtl_strategies.maths.message_passing import anchor_distances
from fmtl_strategies.maths.relations import anchor_weights, learned_relations, mean_relations
from fmtl_strategies.parameters import StrategyParameters, parameter
from fmtl_strategies.round.base import PersonalizedStrategy, StateArrays
from fmtl_strategies.round.store import PoolRound
from fmtl_strategies.settings import RunConfig


class FedMTLParameters(StrategyParameters):
    """Hyper-parameters of FedMTL."""

    strength: float = parameter(
        0.1,
        "lambda: the common loss gets (lambda / 2) tr(W Omega W^T)",
        "ours; FMTL-Bench's factor of about 1e-9 belongs to a term without a gradient",
        ge=0,
        le=1000,
    )
    relations: Literal["mean", "learned"] = parameter(
        "mean",
        "Omega: every client tied to the mean of all (`mean`), or `learned` in each round from the encoders",
        "FMTL-Bench and PFLlib mean the fixed one; MOCHA's paper has both",
    )
    shrinkage: float = parameter(
        0.1, "`learned`: how far relations are shrunk to those of `mean`; 1 is `mean`", "ours", ge=1e-3, le=1
    )
    pull_form: PullForm = parameter(
        "coupled",
        "the pull is added to the gradient (`coupled`) or follows the optimiser's step (`decoupled`)",
        "paper (a term of the loss); decoupled is ours",
    )


class FedMTL(PersonalizedStrategy[FedMTLParameters]):
    """Every client keeps its own encoder; a quadratic regulariser ties the encoders of related clients together.

    Smith, Chiang, Sanjabi, Talwalkar: Federated Multi-Task Learning (MOCHA), NeurIPS 2017, arXiv 1705.10467; compared
    as FedMTL in FMTL-Bench, arXiv 2402.12876. Objective: sum_i F_i(w_i) + (lambda / 2) tr(W Omega W^T), with the
    encoders w_i as columns of W. In a round the others are fixed, so client i minimises
    F_i(w) + (lambda Omega_ii / 2) ||w - a_i||^2, a_i = -sum_{j != i} Omega_ij w_j / Omega_ii. What is sent is a_i; it
    never overwrites w_i. Decoders and heads stay.
    `relations = "mean"`: Omega = I - 1 1^T / N, so a_i is the mean of the others and Omega_ii = 1 - 1/N.
    `relations = "learned"`: Omega^-1 is MOCHA's (W^T W)^{1/2} / tr((W^T W)^{1/2}), over deviations from the mean.

    Defaults: mean, as FMTL-Bench and PFLlib; lambda = 0.1 and the rest ours.

    Deviations: (1) A network and local epochs of the client's optimiser in place of MOCHA's convex dual problem; all
    clients move at once against each other's last models. (2) `learned` works on deviations from the mean encoder:
    encoders from the same pretrained weights have a W^T W of nearly one direction, which says nothing about relations.
    Its trace is N - 1 instead of 1, so that clients without any structure give exactly `mean`; and it is shrunk
    towards `mean`, where MOCHA's code floors eigenvalues. (3) MOCHA's second term lambda_2 ||W||^2 is left to the
    optimiser's weight decay. (4) Encoders of one architecture only, where FMTL-Bench takes all values of the model.
    Absent here, from PFLlib and FMTL-Bench: the term is built from `state_dict()` values, so that it has no gradient
    (their FedMTL is Local); their Omega starts from a matrix of ones instead of I, so that the term is the square of
    the sum of all models and, with a gradient, would push every client to minus the sum of the others.

    Partial participation: the clients that answered are related among themselves, N is their number; one that did not
    keeps its anchor and its Omega_ii, and is left out of the others' anchors. A client that answered alone is its own
    anchor and not pulled in its next round. A new client starts from the mean of the anchors, which is its first
    anchor; until it has been related, its Omega_ii is 1 - 1/N, N the clients of its architecture asked in that round.
    """

    name = "fedmtl"
    summary_line = "personal encoders tied by a regulariser over fixed or learned relations of clients"
    shared_kinds = ("encoder",)
    overwrites = False

    def __init__(self, settings: RunConfig, parameters: FedMTLParameters | None = None) -> None:
        super().__init__(settings, parameters)
        chosen, encoder = self.parameters, settings.local.named_rates[:1]
        # Omega_ii stays below 1 with relations = "mean"; learned ones are not known yet, the client checks them.
        require_stable_pull("fedmtl.strength", chosen.strength, chosen.pull_form, encoder)
        # Omega_ii by client, of the last round in which it answered.
        self.self_relations: dict[str, float] = {}

    def local_rule(self, profile: ClientProfile, server_round: int) -> LocalRule:
        """Return the pull of the encoder to its anchor: strength lambda Omega_ii."""
        parameters = self.parameters
        relation = self.self_relations.get(profile.client)
        strength = parameters.strength * (self._first_relation(profile) if relation is None else relation)
        if strength == 0:
            return LocalRule()
        return LocalRule(pull=Pull(strength=strength, groups=("encoder",), form=parameters.pull_form))

    def _first_relation(self, profile: ClientProfile) -> float:
        signature = profile.groups["encoder"].signature
        profiles = [self.roster.profiles[client] for client in self.present]
        count = sum(other.groups["encoder"].signature == signature for other in profiles)
        return 1.0 - 1.0 / count if count else 0.0

    def aggregate_pool(self, pool: PoolRound, server_round: int) -> dict[str, float]:
        """Write every client's anchor to its row and keep how strongly it is tied to it."""
        parameters = self.parameters
        gram_nn = deviation_gram(pool.parameters_nd, pool.updates_nd)
        if parameters.relations == "mean":
            relations_nn = mean_relations(len(pool.rows))
        else:
            relations_nn = learned_relations(gram_nn, parameters.shrinkage)
        mixing_nn = anchor_weights(relations_nn)
        np.add(pool.parameters_nd, pool.updates_nd, out=pool.parameters_nd)
        mix_rows(pool.parameters_nd, mixing_nn)
        distances_n = anchor_distances(gram_nn, mixing_nn)
        diagnostics: dict[str, float] = {}
        for i, key in enumerate(pool.rows):
            self.self_relations[key.client] = float(relations_nn[i, i])
            diagnostics[f"{key.client}/self-relation"] = float(relations_nn[i, i])
            diagnostics[f"{key.client}/smallest-anchor-weight"] = float(mixing_nn[i].min())
            diagnostics[f"{key.client}/anchor-distance"] = float(distances_n[i])
        return diagnostics

    def method_state(self) -> tuple[StateArrays, dict[str, Any]]:
        """Return how strongly every client is tied to its anchor."""
        return {}, {"self_relations": dict(sorted(self.self_relations.items()))}

    def load_method_state(self, arrays: Mapping[str, npt.NDArray[np.generic]], values: Mapping[str, Any]) -> None:
        """Take back what `method_state` returned."""
        self.self_relations = {client: float(value) for client, value in values["self_relations"].items()}
