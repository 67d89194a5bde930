"""How clients train: numbers the server decides for all, sent with every instruction (methods.md section 5)."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Precision = Literal["auto", "float32", "bfloat16", "float16"]
Schedule = Literal["cosine", "constant"]


class LocalSettings(BaseModel):
    """Optimiser and schedule of local training.

    Defaults are those of FedHCA2's code (methods.md section 5): AdamW, learning rate 1e-4, weight decay 1e-4,
    cosine schedule per local epoch with five warm-up epochs.

    Attributes:
        seed: seed of the run; every random draw of a client derives from (seed, client, round, purpose).
        total_rounds: rounds of the run; with a client's local epochs it fixes the length of the schedule.
        encoder_learning_rate: peak learning rate of the encoder.
        decoder_learning_rate: peak learning rate of decoders and heads.
        weight_decay: decoupled weight decay of AdamW, on all parameters.
        schedule: `cosine` (warm-up, then cosine by the client's own epochs) or `constant`.
        warmup_epochs: epochs of warm-up of the cosine schedule.
        precision: `float32`, `bfloat16`, `float16` (with loss scaling), or `auto`: bfloat16 on a GPU, float32 on a CPU.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    seed: int = Field(default=0, ge=0, lt=2**31)
    total_rounds: int = Field(ge=1, le=1_000_000)
    encoder_learning_rate: float = Field(default=1e-4, ge=0, le=10)
    decoder_learning_rate: float = Field(default=1e-4, ge=0, le=10)
    weight_decay: float = Field(default=1e-4, ge=0, le=10)
    schedule: Schedule = "cosine"
    warmup_epochs: int = Field(default=5, ge=0)
    precision: Precision = "auto"

    @property
    def named_rates(self) -> tuple[tuple[str, float], tuple[str, float]]:
        """The peak learning rates, encoder first, with the run-config keys that set them."""
        return (
            ("encoder-learning-rate", self.encoder_learning_rate),
            ("decoder-learning-rate", self.decoder_learning_rate),
        )
