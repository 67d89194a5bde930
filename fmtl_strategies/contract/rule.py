"""What a client does in a round beside plain training: the local half of a method, as numbers a server can send.

The plain rule (`LocalRule()`) is: overwrite the groups that arrived, train everything together, send updates back.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fmtl_strategies.contract.groups import GROUP_PATTERN
from fmtl_strategies.contract.layout import Strict

TrainedKind = Literal["encoder", "decoders", "heads"]
PullForm = Literal["coupled", "decoupled"]
SparseScope = Literal["global", "layer"]
SparseRescale = Literal["inverse", "energy", "none"]

_Group = Annotated[str, Field(pattern=GROUP_PATTERN)]
_Strength = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]


class Pull(Strict):
    """Adds (strength / 2) ||w - anchor||^2 over some groups to the loss.

    The anchor of a group is what arrived for it as an anchor, or else as parameters.

    Attributes:
        strength: factor s of the gradient s (w - anchor). A paper's (mu / 2) ||.||^2 is s = mu, lambda ||.||^2 is
            s = 2 lambda.
        groups: groups that are pulled.
        form: `coupled`: the gradient is added before the optimiser sees it; `decoupled`: after the optimiser's step,
            w <- w - rate * s * (w - anchor), as decoupled weight decay does.
    """

    strength: _Strength
    groups: tuple[_Group, ...] = Field(min_length=1)
    form: PullForm = "coupled"


class Phase(Strict):
    """A part of the round in which only some kinds of groups are trained.

    Attributes:
        kinds: kinds of groups that are trained; the others are frozen.
        passes: how often the client's local epochs are run in this phase.
    """

    kinds: tuple[TrainedKind, ...] = Field(min_length=1)
    passes: int = Field(default=1, ge=1, le=1000)


class Personal(Strict):
    """A second model that stays on the client and is the one that is scored; the exchanged one is trained after it.

    Attributes:
        pull: how the personal model is drawn to what arrived; None for no pull.
    """

    pull: Pull | None = None


class Sparsify(Strict):
    """Only the largest values of an update are sent (FedDEA; methods.md 1.12). Buffers are never masked.

    Attributes:
        fraction: share rho of the values that is kept; exactly ceil(rho * d) of d, ties broken by position.
        scope: `global`: the largest of all uploaded parameters together; `layer`: the largest of every array.
        rescale: factor on what is kept: `inverse` (1 / rho), `energy` (the norm before over the norm after), `none`.
    """

    fraction: float = Field(gt=0, le=1, allow_inf_nan=False)
    scope: SparseScope = "global"
    rescale: SparseRescale = "none"


class LocalRule(Strict):
    """The local half of a method.

    Attributes:
        pull: attraction of the trained model to an anchor.
        phases: parts of the round, one after the other; empty for one phase that trains everything.
        passes: how often the client's local epochs are run in this round; phases have their own number.
        personal: a second model that stays on the client (Ditto).
        sparsify: send only the largest values of the update.
        look_ahead_every: measure how a step for one task changes the losses of the others at every so many steps;
            0 for never (MAS).
    """

    pull: Pull | None = None
    phases: tuple[Phase, ...] = Field(default=(), max_length=8)
    passes: int = Field(default=1, ge=1, le=1000)
    personal: Personal | None = None
    sparsify: Sparsify | None = None
    look_ahead_every: int = Field(default=0, ge=0)

    @model_validator(mode="after")
    def _encoder_to_look_ahead_with(self) -> LocalRule:
        if self.look_ahead_every and any("encoder" not in phase.kinds for phase in self.phases):
            raise ValueError("look_ahead_every steps the encoder, so every phase has to train it")
        return self
