"""FedAdagrad: the mean update through Adagrad on the server (Reddi et al., ICLR 2021)."""

from fmtl_strategies.building_blocks.averaging import MeanParameters
from fmtl_strategies.building_blocks.server_optimiser import PAPER, TAU, ServerOptimiserStrategy, server_rate
from fmtl_strategies.maths.server_optimiser import OptimiserConstants
from fmtl_strategies.parameters import parameter


class FedAdagradParameters(MeanParameters):
    """Hyper-parameters of FedAdagrad."""

    server_learning_rate: float = server_rate(0.1, "Flower's FedAdagrad; the paper tunes it")
    beta1: float = parameter(0.0, "decay of the mean of past updates", PAPER, ge=0, lt=1)
    tau: float = parameter(1e-3, TAU, PAPER, ge=1e-12, le=1e6)


class FedAdagrad(ServerOptimiserStrategy[FedAdagradParameters]):
    """Adagrad on the server: v sums the squared mean updates of all rounds, so steps become smaller.

    Reddi et al., ICLR 2021, arXiv 2003.00295, Algorithm 2; deviations as in FedAdam. `beta1` is 0 in the paper's
    experiments. Flower's FedAdagrad starts v at 0.

    Partial participation: as in FedAdam.
    """

    name = "fedadagrad"
    summary_line = "fedavg's mean update through Adagrad on the server"

    def constants(self) -> OptimiserConstants:
        """Return the constants of the optimiser."""
        chosen = self.parameters
        return OptimiserConstants("adagrad", chosen.server_learning_rate, chosen.beta1, tau=chosen.tau)
