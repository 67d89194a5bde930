"""FedAdam: the mean update through Adam on the server (Reddi et al., ICLR 2021)."""

from fmtl_strategies.building_blocks.averaging import MeanParameters
from fmtl_strategies.building_blocks.server_optimiser import PAPER, TAU, ServerOptimiserStrategy, server_rate
from fmtl_strategies.maths.server_optimiser import OptimiserConstants
from fmtl_strategies.parameters import parameter


class FedAdamParameters(MeanParameters):
    """Hyper-parameters of FedAdam."""

    server_learning_rate: float = server_rate(0.1, "Flower's FedAdam; the paper tunes it")
    beta1: float = parameter(0.9, "decay of the mean of past updates", PAPER, ge=0, lt=1)
    beta2: float = parameter(0.99, "decay of the mean of past squared updates", PAPER, ge=0, lt=1)
    tau: float = parameter(1e-3, TAU, PAPER, ge=1e-12, le=1e6)


class FedAdam(ServerOptimiserStrategy[FedAdamParameters]):
    """Adam on the server: m and v follow the mean update and its square, and x <- x + rate m / (sqrt(v) + tau).

    Reddi, Charles, Zaheer, Garrett, Rush, Konecny, Kumar, McMahan: Adaptive Federated Optimization, ICLR 2021,
    arXiv 2003.00295, Algorithm 2. Equations in `fmtl_strategies/maths/server_optimiser.py`; m starts at 0, v at tau^2
    (the paper asks for at least tau^2), without bias correction, as in the paper. Flower's FedAdam starts v at 0 and
    corrects the bias; with those two changes made, the steps agree.

    Groups are FedAvg's: encoders, and decoders as `decoder-scope` says, each with an m and v of its own. Deviations:
    the mean is over rows that may differ at first (decoders of different tasks start apart), so x is their weighted
    mean, as FedAvg's mean is; the weights are FedAvg's `weighting`, the paper leaves them open. Heads stay.

    Partial participation: the mean is over the clients that answered; a client that is away, or new, gets the common
    model of its group, a new one also counts in x. A group of which no client answered keeps its m and v as they were.
    """

    name = "fedadam"
    summary_line = "fedavg's mean update through Adam on the server"

    def constants(self) -> OptimiserConstants:
        """Return the constants of the optimiser."""
        chosen = self.parameters
        return OptimiserConstants("adam", chosen.server_learning_rate, chosen.beta1, chosen.beta2, chosen.tau)
