"""FedAMP: attentive message passing between personal encoders (Huang et al., AAAI 2021; methods.md 1.6)."""

from typing import Literal

import numpy as np

from fmtl_strategies.building_blocks.stable_pull import require_stable_pull
from fmtl_strategies.contract.profile import ClientProfile
from fmtl_strategies.contract.rule import LocalRule, Pull, PullForm
from fmtl_strategies.maths.combine import mix_rows
from fmtl_strategies.maths.deviations import deviation_gram, squared_distances
from fmtl_strategies.maths.gram import cosine_matrix, gram_matrix
from fmtl_strategies.maths.message_passing import (
    anchor_distances,
    cosine_weights,
    exponential_weights,
    typical_distance,
)
from fmtl_strategies.maths.rows import Float64Array
from fmtl_strategies.parameters import StrategyParameters, parameter
from fmtl_strategies.round.base import PersonalizedStrategy
from fmtl_strategies.round.store import PoolRound
from fmtl_strategies.settings import RunConfig


class FedAMPParameters(StrategyParameters):
    """Hyper-parameters of FedAMP."""

    strength: float = parameter(
        1.0,
        "lambda: the client's loss gets lambda / (2 alpha) times the squared distance to its anchor",
        "PFLlib (FMTL-Bench: 15; FedHCA2's value is unknown)",
        ge=0,
        le=1000,
    )
    alpha: float = parameter(
        1.0,
        "step of the messages: the most that all others together can weigh",
        "PFLlib and FMTL-Bench have alphaK = 1; its unit is ours",
        ge=1e-3,
        le=1,
    )
    sigma: float = parameter(
        0.0,
        "squared distance at which a weight has fallen to 1/e; 0 takes the median over pairs of clients in each round",
        "ours; PFLlib and FMTL-Bench have 1, at which the weights of large encoders vanish",
        ge=0,
        le=1e30,
    )
    form: Literal["exponential", "cosine"] = parameter(
        "exponential", "weights from squared distances (FedAMP) or from cosines (HeurFedAMP)", "paper"
    )
    cosine_sigma: float = parameter(
        1.0, "form `cosine`: factor on the cosines", "ours; no value of the authors was found", ge=0, le=1e6
    )
    cosine_of: Literal["weights", "deviations"] = parameter(
        "weights", "form `cosine`: cosines between encoders, or between their deviations from the mean encoder", "paper"
    )
    self_weight: float = parameter(
        0.5,
        "form `cosine`: weight xi_ii of the client's own encoder",
        "ours; a free parameter of the paper",
        ge=0,
        le=1,
    )
    pull_form: PullForm = parameter(
        "coupled",
        "the pull is added to the gradient (`coupled`) or follows the optimiser's step (`decoupled`)",
        "paper (a term of the loss); decoupled is ours",
    )


class FedAMP(PersonalizedStrategy[FedAMPParameters]):
    """Every client keeps its own encoder and is drawn to a mix of all encoders in which similar ones weigh more.

    Huang, Chu, Zhou, Wang, Liu, Pei, Zhang: Personalized Cross-Silo Federated Learning on Non-IID Data, AAAI 2021,
    arXiv 2007.03797. Server: u_i = (1 - sum_{j != i} xi_ij) w_i + sum_{j != i} xi_ij w_j, xi_ij = alpha_k A'(d_ij^2),
    A(x) = 1 - exp(-x / sigma), d_ij = ||w_i - w_j||. Client: w_i = argmin F_i(w) + lambda / (2 alpha_k) ||w - u_i||^2.
    What is sent is u_i; it never overwrites w_i. Decoders and heads stay. Form `cosine` is the paper's HeurFedAMP,
    xi_ij = (1 - xi_ii) exp(s cos(w_i, w_j)) / sum_{h != i} exp(s cos(w_i, w_h)).

    Defaults: lambda = 1 and alpha = 1 as in PFLlib; sigma = median of d_ij^2 over pairs, in every round; the rest ours.

    Deviations: (1) Weights are counted in units of sigma and of the number of others: xi_ij = alpha / (N - 1)
    exp(-d_ij^2 / sigma), that is alpha_k = alpha sigma / (N - 1). So alpha <= 1 keeps every mix convex, nothing needs
    clipping, and a weight neither vanishes nor explodes with the size of the encoder; only the ratio lambda / alpha,
    the strength of the pull, is as in the paper. (2) With the median as sigma the weights say who is near compared
    with the others, not whether anybody is near; two clients always get exp(-1). (3) The argmin is some local epochs
    with the client's optimiser, from its own encoder. (4) Only encoders of one architecture are compared.
    (5) `cosine-of = "deviations"` is ours: encoders that start from the same weights have cosines close to 1, so that
    the paper's weights are nearly uniform.
    Absent here: PFLlib and FMTL-Bench build the client's term from `.data`, so that it has no gradient, and from the
    norm instead of its square (PFLlib issues 4 and 95); their FedAMP is Local.

    Partial participation: the clients that answered mix among themselves; one that did not keeps its anchor and is
    left out, for the server has no current model of it. A new client starts from the mean of the anchors, which is its
    first anchor too.
    """

    name = "fedamp"
    summary_line = "personal encoders, each drawn to a mix of all in which similar ones weigh more"
    shared_kinds = ("encoder",)
    overwrites = False

    def __init__(self, settings: RunConfig, parameters: FedAMPParameters | None = None) -> None:
        super().__init__(settings, parameters)
        chosen, encoder = self.parameters, settings.local.named_rates[:1]
        require_stable_pull("fedamp.strength", chosen.strength, chosen.pull_form, encoder, factor=1 / chosen.alpha)

    def local_rule(self, profile: ClientProfile, server_round: int) -> LocalRule:
        """Return the pull of the encoder to its anchor: strength lambda / alpha."""
        parameters = self.parameters
        if parameters.strength == 0:
            return LocalRule()
        strength = parameters.strength / parameters.alpha
        return LocalRule(pull=Pull(strength=strength, groups=("encoder",), form=parameters.pull_form))

    def aggregate_pool(self, pool: PoolRound, server_round: int) -> dict[str, float]:
        """Write every client's anchor to its row."""
        gram_nn = deviation_gram(pool.parameters_nd, pool.updates_nd)
        np.add(pool.parameters_nd, pool.updates_nd, out=pool.parameters_nd)
        mixing_nn = self._weights(pool, gram_nn)
        mix_rows(pool.parameters_nd, mixing_nn)
        distances_n = anchor_distances(gram_nn, mixing_nn)
        diagnostics = {f"{key.client}/self-weight": float(mixing_nn[i, i]) for i, key in enumerate(pool.rows)}
        diagnostics |= {f"{key.client}/anchor-distance": float(distances_n[i]) for i, key in enumerate(pool.rows)}
        return diagnostics

    def _weights(self, pool: PoolRound, gram_nn: Float64Array) -> Float64Array:
        """Return xi, (N, N), for a pool whose parameters are the trained encoders already."""
        parameters = self.parameters
        if parameters.form == "exponential":
            distances_nn = squared_distances(gram_nn)
            sigma = parameters.sigma or typical_distance(distances_nn)
            return exponential_weights(distances_nn, parameters.alpha, sigma)
        compared_nn = gram_nn if parameters.cosine_of == "deviations" else gram_matrix(pool.parameters_nd)
        return cosine_weights(cosine_matrix(compared_nn), parameters.cosine_sigma, parameters.self_weight)
