"""A run of this app in Flower's simulation, wrapped so that its failure is noticed and nothing stays behind."""

from fmtl.simulation.errors import RunInterruptedError, SettingError, SimulationError
from fmtl.simulation.flwr_cli import Resources
from fmtl.simulation.session import LAUNCH_FILE, RESULT_FILE, Launch, simulate

__all__ = [
    "LAUNCH_FILE",
    "RESULT_FILE",
    "Launch",
    "Resources",
    "RunInterruptedError",
    "SettingError",
    "SimulationError",
    "simulate",
]
