"""Ditto: a personal model beside the common one, drawn to it (Li et al., ICML 2021; methods.md 1.5)."""

from fmtl_strategies.building_blocks.averaging import MeanParameters
from fmtl_strategies.contract.profile import ClientProfile
from fmtl_strategies.contract.rule import LocalRule, Personal, Pull
from fmtl_strategies.methods.fedavg import FedAvg
from fmtl_strategies.parameters import parameter


class DittoParameters(MeanParameters):
    """Hyper-parameters of Ditto: those of FedAvg for the common model, and the pull of the personal ones."""

    lambda_: float = parameter(
        0.1,
        "strength of the pull (lambda / 2) ||v - w||^2 of a personal model v to the common model w; 0 trains v alone",
        "ours; in the paper clients choose from 0.05 to 2, FedHCA2's value is unknown",
        alias="lambda",
        ge=0,
        le=1e9,
    )


class Ditto(FedAvg[DittoParameters]):
    """Two models per client: w is trained and averaged by FedAvg, v stays, is drawn to w, and is the one scored.

    Li, Hu, Beirami, Smith: Ditto: Fair and Robust Federated Learning Through Personalization, ICML 2021,
    arXiv 2012.04221, Algorithm 1: v minimises F_i(v) + (lambda / 2) ||v - w||^2 with w as it was just received. The
    pull covers encoder and decoders; each model has heads, batch-norm statistics and optimiser state of its own, all of
    which stay on the client. Both start from the same parameters. First v is trained, then w, on the same batches.

    Deviations: AdamW instead of SGD, so the pull goes through AdamW's normalisation; v is trained for as many epochs as
    w (the paper lets their numbers differ); one lambda for all (in the paper clients choose theirs by their validation
    split). A client needs twice the time and keeps twice the state; the network carries what it does under FedAvg.

    Partial participation: the common model as under FedAvg. A client that stays away keeps its personal model as it
    was, and is drawn to the common model of the day when it is back; for a new client both models start from the mean.
    """

    name = "ditto"
    summary_line = "fedavg for a common model; the scored one is personal and drawn to it"

    def local_rule(self, profile: ClientProfile, server_round: int) -> LocalRule:
        """Return a personal model, drawn to what arrived; without a pull for lambda = 0."""
        strength = self.parameters.lambda_
        pull = Pull(strength=strength, groups=self.shared_groups(profile)) if strength > 0 else None
        return LocalRule(personal=Personal(pull=pull))
