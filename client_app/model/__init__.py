"""A client's network: encoder, decoders, heads, and pretrained weights for the encoder."""

from client_app.model.encoder import PRESETS, Encoder, UnknownEncoderError, build_encoder
from client_app.model.multi_task_model import (
    ArrayNames,
    ModelConfig,
    MultiTaskModel,
    build_model,
    parameter_groups_of,
    set_encoder_batch_norm_eval,
)

__all__ = [
    "PRESETS",
    "ArrayNames",
    "Encoder",
    "ModelConfig",
    "MultiTaskModel",
    "UnknownEncoderError",
    "build_encoder",
    "build_model",
    "parameter_groups_of",
    "set_encoder_batch_norm_eval",
]
