"""FedPer: a shared encoder, everything else personal (Arivazhagan et al. 2019; methods.md 1.4)."""

from fmtl_strategies.building_blocks.averaging import Weighting, average_rows
from fmtl_strategies.parameters import StrategyParameters, parameter
from fmtl_strategies.round.base import PersonalizedStrategy
from fmtl_strategies.round.store import PoolRound


class FedPerParameters(StrategyParameters):
    """Hyper-parameters of FedPer."""

    weighting: Weighting = parameter(
        "uniform", "weights of the mean: `uniform` over clients, or by number of training `examples`", "FedHCA2's code"
    )


class FedPer(PersonalizedStrategy[FedPerParameters]):
    """Encoders are averaged over all clients of one architecture; decoders and heads never leave the client.

    Arivazhagan, Aggarwal, Singh, Choudhary: Federated Learning with Personalization Layers, 2019, arXiv 1912.00818:
    base layers are averaged, personalisation layers are not; here the base is the encoder. The default, weights of
    1/N, is that of FedHCA2's code. Deviation: the mean is within one encoder architecture. FMTL-Bench's FedRep is this.

    Partial participation: the mean is over the clients that answered; the others get it too, next time. One that
    vanished no longer counts; a new one starts from the mean.
    """

    name = "fedper"
    summary_line = "mean of encoders; decoders and heads stay on the client"
    shared_kinds = ("encoder",)

    def aggregate_pool(self, pool: PoolRound, server_round: int) -> dict[str, float]:
        """Write the mean of all rows to every row."""
        average_rows(pool, None, self.parameters.weighting)
        return {}
