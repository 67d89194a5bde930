"""How clients train: numbers the server decides for all, sent with every instruction (methods.md section 5)."""

from __future__ import annotations

from typing import Literal

from fmtl_strategies.contract.schema import Settings, parameter

Precision = Literal["auto", "float32", "bfloat16", "float16"]
Schedule = Literal["cosine", "constant"]


class LocalSettings(Settings):
    """Optimiser (AdamW) and schedule of local training."""

    seed: int = parameter(
        0, "seed of the run; every random draw derives from it, client, round and purpose", "ours", ge=0, lt=2**31
    )
    total_rounds: int = parameter(5, "number of rounds", "ours", alias="num-server-rounds", ge=1, le=1_000_000)
    encoder_learning_rate: float = parameter(
        2e-3, "peak learning rate of the encoder", "ours; FedHCA2's code has 1e-4", ge=0, le=10
    )
    decoder_learning_rate: float = parameter(
        2e-3, "peak learning rate of decoders and heads", "ours; FedHCA2's code has 1e-4", ge=0, le=10
    )
    weight_decay: float = parameter(
        1e-4, "decoupled weight decay of AdamW, on all parameters", "ours, as in FedHCA2's code", ge=0, le=10
    )
    schedule: Schedule = parameter(
        "cosine",
        "learning rate over time: `cosine` (warm-up, then cosine by the client's own epochs) or `constant`",
        "ours, as in FedHCA2's code",
    )
    warmup_epochs: int = parameter(0, "epochs of warm-up of the cosine schedule", "ours; FedHCA2's code has 5", ge=0)
    precision: Precision = parameter(
        "auto",
        "arithmetic of training; `float16` scales the loss, `auto` is bfloat16 on a GPU and float32 on a CPU",
        "ours",
    )

    @property
    def named_rates(self) -> tuple[tuple[str, float], tuple[str, float]]:
        """The peak learning rates, encoder first, with the run-config keys that set them."""
        return (
            ("encoder-learning-rate", self.encoder_learning_rate),
            ("decoder-learning-rate", self.decoder_learning_rate),
        )
