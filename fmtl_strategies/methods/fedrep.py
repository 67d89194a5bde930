"""FedRep: a shared encoder, fitted in turns with what is personal (Collins et al. 2021; methods.md 1.4)."""

from fmtl_strategies.building_blocks.averaging import Weighting, average_rows
from fmtl_strategies.contract.profile import ClientProfile
from fmtl_strategies.contract.rule import LocalRule, Phase
from fmtl_strategies.parameters import StrategyParameters, parameter
from fmtl_strategies.round.base import PersonalizedStrategy
from fmtl_strategies.round.store import PoolRound


class FedRepParameters(StrategyParameters):
    """Hyper-parameters of FedRep."""

    head_passes: int = parameter(
        1,
        "how often the local epochs are run with only decoders and heads trained, first in every round",
        "ours; the paper takes many steps of the head for each of the representation, its scripts 10 epochs",
        ge=1,
        le=1000,
    )
    encoder_passes: int = parameter(
        1,
        "how often the local epochs are run with only the encoder trained, after that",
        "paper: one update of the representation (its scripts: 1 or 5 epochs)",
        ge=1,
        le=1000,
    )
    weighting: Weighting = parameter(
        "uniform",
        "weights of the mean: `uniform` over clients, or by number of training `examples`",
        "paper; its code weighs by examples on FEMNIST and Sent140",
    )


class FedRep(PersonalizedStrategy[FedRepParameters]):
    """Encoders are averaged; decoders and heads never leave the client and are trained before the encoder, not with it.

    L. Collins, H. Hassani, A. Mokhtari, S. Shakkottai, "Exploiting Shared Representations for Personalized Federated
    Learning", ICML 2021, arXiv 2102.07078. With the representation phi (here: the encoder) and the personal part h_i
    (here: decoders and heads of all tasks of the client) a round is

        h_i <- head-passes times the local epochs on L_i(h_i, phi) with phi as it arrived,
        phi_i <- encoder-passes times the local epochs on L_i(h_i, phi_i) with the new h_i,
        phi <- mean of the phi_i.

    `fedper` averages the same groups and differs in the client alone: it trains everything at once. FMTL-Bench calls
    that FedRep; its FedRep rows are to be compared with `fedper` here.

    In the authors' code (github.com/lgcollins/FedRep) the first epochs train the head alone and the last
    `local_rep_ep` the representation alone; its scripts take 10 of the former, and 1 or 5 of the latter.

    Deviations: both parts are trained by the client's AdamW, whose moments and step counts stay with each part, instead
    of SGD. A phase freezes weights, not batch norm: statistics of the encoder follow the data in both phases (the paper
    is silent), where the encoder's are not frozen anyway. The mean is within one encoder architecture. Scores are those
    of the mean encoder with the client's decoders and heads as they were before the round fits them to it.

    A round costs head-passes + encoder-passes times the local epochs, and the learning rate's schedule counts them all.

    Partial participation (as in the paper, where a share of the clients takes part): the mean is over the clients that
    answered; the others get it too, next time; one that vanished no longer counts; a new one starts from the mean.
    """

    name = "fedrep"
    summary_line = "mean of encoders; decoders and heads stay and are trained in turns with the encoder"
    shared_kinds = ("encoder",)

    def local_rule(self, profile: ClientProfile, server_round: int) -> LocalRule:
        """Return the two phases of a round: what is personal, then the encoder."""
        parameters = self.parameters
        personal = Phase(kinds=("decoders", "heads"), passes=parameters.head_passes)
        return LocalRule(phases=(personal, Phase(kinds=("encoder",), passes=parameters.encoder_passes)))

    def aggregate_pool(self, pool: PoolRound, server_round: int) -> dict[str, float]:
        """Write the mean of all rows to every row."""
        average_rows(pool, None, self.parameters.weighting)
        return {}
