"""What a client asks for its own privacy, in its own file."""

from __future__ import annotations

from typing import Annotated, Literal

from fmtl_datasets.scenarios.share import StrictModel
from pydantic import Field

Positive = Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)]


class Privacy(StrictModel):
    """Clipping and noise on everything a client uploads, and a limit on what all uploads together may give away.

    Attributes:
        clip: largest norm of an upload, over all its groups together; a longer one is shortened to it.
        noise: standard deviation of the Gaussian noise on every value, in units of 2 ``clip``: the largest difference
            that another data set of the client could make.
        delta: the delta at which the privacy loss epsilon is reported.
        epsilon: largest epsilon; the client stops uploading before it would be exceeded. None for no limit.
        scores: ``keep`` leaves losses and scores at the client, for they are computed from its data as well and no
            noise is on them; ``send`` sends the scores.
    """

    clip: Positive
    noise: Positive
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-5
    epsilon: Positive | None = None
    scores: Literal["keep", "send"] = "keep"
