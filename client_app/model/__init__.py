"""A client's network: encoder, decoders, heads, and pretrained weights for the encoder."""

from client_app.model.encoder import PRESETS, Encoder, UnknownEncoderError, build_encoder
from client_app.model.multi_task_model import (
    ModelConfig,
    MultiTaskModel,
    build_model,
    set_encoder_batch_norm_eval,
)
from client_app.model.task_modules import TaskModules, dense_modules
from client_app.model.weights import WeightsError, WeightsReport, load_encoder_weights

__all__ = [
    "PRESETS",
    "Encoder",
    "ModelConfig",
    "MultiTaskModel",
    "TaskModules",
    "UnknownEncoderError",
    "WeightsError",
    "WeightsReport",
    "build_encoder",
    "build_model",
    "dense_modules",
    "load_encoder_weights",
    "set_encoder_batch_norm_eval",
]
