"""FedProx: FedAvg whose clients are drawn to what they received (Li et al., MLSys 2020; methods.md 1.3)."""

from fmtl_strategies.building_blocks.averaging import MeanParameters
from fmtl_strategies.building_blocks.stable_pull import require_stable_pull
from fmtl_strategies.contract.profile import ClientProfile
from fmtl_strategies.contract.rule import LocalRule, Pull, PullForm
from fmtl_strategies.methods.fedavg import FedAvg
from fmtl_strategies.parameters import parameter
from fmtl_strategies.settings import RunConfig


class FedProxParameters(MeanParameters):
    """Hyper-parameters of FedProx: those of FedAvg, and the proximal term."""

    mu: float = parameter(
        0.01,
        "strength of the proximal term (mu / 2) ||w - w_received||^2",
        "ours; the paper tunes it in 0.001 to 1, FedHCA2's value is unknown",
        ge=0,
        le=1e9,
    )
    form: PullForm = parameter(
        "coupled",
        "how the term acts: `coupled`: its gradient goes through AdamW; `decoupled`: a step of its own after it",
        "coupled is the paper's objective; decoupled is ours",
    )


class FedProx(FedAvg[FedProxParameters]):
    """FedAvg whose clients minimise F_i(w) + (mu / 2) ||w - w_received||^2 over what is exchanged.

    Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith: Federated Optimization in Heterogeneous Networks, MLSys 2020,
    arXiv 1812.06127, Eq. 2. The term covers encoder and decoders, never heads or batch-norm statistics. The parameters
    that arrive are the anchor, so nothing more is sent than under FedAvg, and mu = 0 is FedAvg. The server's half is
    FedAvg's, with its parameters.

    Deviations: the paper solves with SGD and takes unfinished work of slow clients; here every client trains all its
    local epochs with AdamW. AdamW divides by the size of the whole gradient, the term's included, so mu does not say
    how far a step goes back. `form = "decoupled"` (ours) does: w <- w - rate * mu * (w - w_received) after each step.

    Partial participation: as FedAvg. A client that stays away sends nothing, takes the common mean when it is back, and
    is drawn to that; the term needs nothing that a vanished or a new client would have to bring.
    """

    name = "fedprox"
    summary_line = "fedavg, with clients drawn to what they received by a proximal term"

    def __init__(self, settings: RunConfig, parameters: FedProxParameters | None = None) -> None:
        super().__init__(settings, parameters)
        require_stable_pull("fedprox.mu", self.parameters.mu, self.parameters.form, settings.local.named_rates)

    def local_rule(self, profile: ClientProfile, server_round: int) -> LocalRule:
        """Return the proximal term over the groups the client exchanges; none for mu = 0."""
        chosen = self.parameters
        if chosen.mu == 0:
            return LocalRule()
        return LocalRule(pull=Pull(strength=chosen.mu, groups=self.shared_groups(profile), form=chosen.form))
