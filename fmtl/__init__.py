"""Federated multi-task learning between clients that do not match, on Flower.

Run and compare:
    run: one strategy over one scenario.
    sweep: strategies x settings x seeds over one scenario.
    compare: runs side by side, by client and task.

Use a model that a client has trained:
    load_model: an `nn.Module` with `preprocess`, `predict` and class names; needs neither data nor a run.

Write a method (docs/write-a-strategy.md): a class derived from `Strategy`, with its `parameter`s declared in a class
derived from `StrategyParameters`. `Pool` is what it aggregates, `ClientProfile` what it knows of a client, `LocalRule`
and its parts what it asks of clients. Its maths is usually weights for `add_combination`, made from `gram_matrix` or
`cosine_matrix`.

Nothing is loaded before it is used, so `import fmtl` takes no time. All of it lies in `fmtl.api`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from client_app.saved_model.files import load_model
    from fmtl.api import *

__version__ = "0.2.0"

__all__ = [
    "ClientProfile",
    "Engine",
    "LocalRule",
    "Personal",
    "Phase",
    "Pool",
    "Pull",
    "Sparsify",
    "Strategy",
    "StrategyParameters",
    "__version__",
    "add_combination",
    "compare",
    "cosine_matrix",
    "gram_matrix",
    "load_model",
    "parameter",
    "run",
    "sweep",
]


def __getattr__(name: str) -> Any:
    if name == "load_model":
        # Apart from the rest, for it works where neither Flower nor Ray is installed.
        return import_module("client_app.saved_model.files").load_model
    if name in __all__:
        return getattr(import_module("fmtl.api"), name)
    raise AttributeError(f"module 'fmtl' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
