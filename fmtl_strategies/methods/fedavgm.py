"""FedAvgM: the mean update with momentum on the server (Hsu et al. 2019)."""

from fmtl_strategies.building_blocks.averaging import MeanParameters
from fmtl_strategies.building_blocks.server_optimiser import ServerOptimiserStrategy, server_rate
from fmtl_strategies.maths.server_optimiser import OptimiserConstants
from fmtl_strategies.parameters import parameter


class FedAvgMParameters(MeanParameters):
    """Hyper-parameters of FedAvgM."""

    server_learning_rate: float = server_rate(1.0, "Flower's FedAvgM; the paper tunes it")
    momentum: float = parameter(
        0.9, "share of the last step that is repeated", "Reddi et al. 2021 (section 5)", ge=0, lt=1
    )


class FedAvgM(ServerOptimiserStrategy[FedAvgMParameters]):
    """Momentum on the server: m <- momentum m + mean update, x <- x + rate m.

    Hsu, Qi, Brown: Measuring the Effects of Non-Identical Data Distribution for Federated Visual Classification, 2019,
    arXiv 1909.06335; momentum 0.9 as in Reddi et al. With momentum 0 and rate 1 it is FedAvg. Deviations as in FedAdam.

    Partial participation: as in FedAdam.
    """

    name = "fedavgm"
    summary_line = "fedavg's mean update with momentum on the server"

    def constants(self) -> OptimiserConstants:
        """Return the constants of the optimiser."""
        chosen = self.parameters
        return OptimiserConstants("momentum", chosen.server_learning_rate, chosen.momentum)
