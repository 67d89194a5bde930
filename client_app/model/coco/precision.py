"""Reduced precision for layers that are computed after the forward pass, and float32 for what is made of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

ModuleT = TypeVar("ModuleT", bound=nn.Module)


@dataclass(frozen=True)
class AutocastState:
    """Whether and how autocast was on during the forward pass, so that late layers compute as they would have then.

    Attributes:
        device: kind of device, "cpu" or "cuda".
        enabled: whether autocast was on.
        dtype: its dtype.
    """

    device: str
    enabled: bool
    dtype: torch.dtype

    @classmethod
    def of_now(cls, tensor: Tensor) -> AutocastState:
        """Return the state that holds for operations on this tensor."""
        device = tensor.device.type
        return cls(device, torch.is_autocast_enabled(device), torch.get_autocast_dtype(device))

    def again(self) -> torch.autocast:
        """Return a context with that state."""
        return torch.autocast(self.device, dtype=self.dtype, enabled=self.enabled)


def with_float32_output(module: ModuleT) -> ModuleT:
    """Let a module return contiguous float32 tensors whatever autocast makes of its layers.

    torchvision computes boxes in the dtype of the layers that predict them, and bfloat16 rounds coordinates above 256
    to even numbers; it also assumes the plain memory layout.
    """
    module.register_forward_hook(_float32_output)
    return module


def _float32_output(module: nn.Module, arguments: Any, output: Any) -> Any:
    return _float32(output)


def _float32(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.float().contiguous()
    return type(value)(_float32(part) for part in value)
