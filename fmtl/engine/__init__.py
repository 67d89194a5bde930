"""The one engine: a run is the ServerApp on a Flower grid whose clients are function calls, or workers of Ray."""

from fmtl.engine.federated_run import run
from fmtl.engine.options import Engine, EngineError

__all__ = ["Engine", "EngineError", "run"]
