"""FedYogi: the mean update through Yogi on the server (Reddi et al., ICLR 2021)."""

from fmtl_strategies.building_blocks.server_optimiser import ServerOptimiserStrategy, server_rate
from fmtl_strategies.maths.server_optimiser import OptimiserConstants
from fmtl_strategies.methods.fedadam import FedAdamParameters


class FedYogiParameters(FedAdamParameters):
    """Hyper-parameters of FedYogi."""

    server_learning_rate: float = server_rate(0.01, "Flower's FedYogi; the paper tunes it")


class FedYogi(ServerOptimiserStrategy[FedYogiParameters]):
    """Yogi on the server: as FedAdam, but v moves towards the squared mean update by a step of that square's size.

    Reddi et al., ICLR 2021, arXiv 2003.00295, Algorithm 2; deviations as in FedAdam. Flower's FedYogi starts v at 0.

    Partial participation: as in FedAdam.
    """

    name = "fedyogi"
    summary_line = "fedavg's mean update through Yogi on the server"

    def constants(self) -> OptimiserConstants:
        """Return the constants of the optimiser."""
        chosen = self.parameters
        return OptimiserConstants("yogi", chosen.server_learning_rate, chosen.beta1, chosen.beta2, chosen.tau)
