"""A model's parameters as flat vectors by group, and its buffers as named arrays."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from fmtl_strategies.contract.groups import group_of, relative_name
from fmtl_strategies.contract.layout import ArraySpec, FloatArray, GroupLayout

NamedArrays = dict[str, npt.NDArray[np.generic]]


def group_layouts(model: nn.Module) -> dict[str, GroupLayout]:
    """Return the layout of every parameter group of a model, arrays in the order of the model's definition.

    Raises:
        GroupNameError: a parameter's name belongs to no group.
    """
    specs: dict[str, list[ArraySpec]] = {}
    for name, parameter in model.named_parameters():
        spec = ArraySpec(name=relative_name(name), shape=tuple(parameter.shape))
        specs.setdefault(group_of(name), []).append(spec)
    return {group: GroupLayout(arrays=tuple(arrays)) for group, arrays in specs.items()}


def read_groups(model: nn.Module, groups: Iterable[str]) -> dict[str, FloatArray]:
    """Return copies of the parameters of some groups, each as one flat (D,) float32 vector.

    Raises:
        ValueError: the model has no such group.
    """
    wanted = list(groups)
    parts: dict[str, list[torch.Tensor]] = {group: [] for group in wanted}
    for name, parameter in model.named_parameters():
        group = group_of(name)
        if group in parts:
            parts[group].append(parameter.detach().reshape(-1).to(torch.float32))
    missing = [group for group in wanted if not parts[group]]
    if missing:
        raise ValueError(f"the model has no group {', '.join(missing)}; it has {', '.join(group_layouts(model))}")
    return {group: torch.cat(tensors).cpu().numpy() for group, tensors in parts.items()}


def load_groups(model: nn.Module, vectors: Mapping[str, FloatArray]) -> None:
    """Overwrite the parameters of some groups in place.

    Args:
        model: the model to write to.
        vectors: flat (D,) float32 vector by group.

    Raises:
        ValueError: an unknown group, or a vector of another length; the model is unchanged then.
    """
    layouts = group_layouts(model)
    unknown = sorted(set(vectors) - set(layouts))
    if unknown:
        raise ValueError(f"the model has no group {', '.join(unknown)}; it has {', '.join(layouts)}")
    arrays = {
        f"{group}.{name}": array
        for group, vector in vectors.items()
        for name, array in layouts[group].unpack(vector).items()
    }
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name in arrays:
                parameter.copy_(torch.tensor(arrays[name]))


def read_buffers(model: nn.Module) -> NamedArrays:
    """Return copies of the buffers that belong to the model's state (batch-norm statistics and counters)."""
    parameters = {name for name, _ in model.named_parameters()}
    state = model.state_dict()
    return {name: np.array(value.cpu().numpy()) for name, value in state.items() if name not in parameters}


def load_buffers(model: nn.Module, buffers: Mapping[str, npt.NDArray[np.generic]]) -> None:
    """Overwrite the buffers that `read_buffers` returns.

    Raises:
        ValueError: names, shapes or dtypes differ from the model's.
    """
    parameters = {name for name, _ in model.named_parameters()}
    own = {name: value for name, value in model.state_dict().items() if name not in parameters}
    if set(own) != set(buffers):
        raise ValueError(f"buffers do not fit the model: {sorted(set(own) ^ set(buffers))[:5]} are not on both sides")
    for name, value in own.items():
        new = torch.tensor(buffers[name])
        if new.shape != value.shape or new.dtype != value.dtype:
            raise ValueError(
                f"buffer {name!r} is {new.dtype} {tuple(new.shape)}, the model has {value.dtype} {tuple(value.shape)}"
            )
        value.copy_(new)
