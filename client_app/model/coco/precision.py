"""Reduced precision for layers that are computed after the forward pass, and float32 for what is made of them."""

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

ModuleT = TypeVar("ModuleT", bound=nn.Module)


def autocast_of_now(tensor: Tensor) -> Callable[[], torch.autocast]:
    """Return what makes a context in which operations on this tensor compute as autocast lets them now."""
    device = tensor.device.type
    return partial(
        torch.autocast, device, dtype=torch.get_autocast_dtype(device), enabled=torch.is_autocast_enabled(device)
    )


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
