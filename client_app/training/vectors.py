"""A model's parameters as flat vectors by group, and its buffers as named arrays."""

from collections.abc import Iterable, Iterator, Mapping
from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from fmtl_strategies.contract.groups import BUFFERS_PREFIX, group_of, relative_name
from fmtl_strategies.contract.layout import ArraySpec, FloatArray, GroupLayout

# A model's arrays never change their shapes, and a round asks for the layouts many times.
_PARAMETER_LAYOUTS: WeakKeyDictionary[nn.Module, dict[str, GroupLayout]] = WeakKeyDictionary()
_BUFFER_LAYOUTS: WeakKeyDictionary[nn.Module, dict[str, GroupLayout]] = WeakKeyDictionary()

NamedArrays = dict[str, npt.NDArray[np.generic]]


def group_layouts(model: nn.Module) -> dict[str, GroupLayout]:
    """Return the layout of every parameter group of a model, arrays in the order of the model's definition.

    Raises:
        GroupNameError: a parameter's name belongs to no group.
    """
    if model not in _PARAMETER_LAYOUTS:
        _PARAMETER_LAYOUTS[model] = _layouts((name, tensor) for name, tensor in model.named_parameters())
    return dict(_PARAMETER_LAYOUTS[model])


def buffer_layouts(model: nn.Module) -> dict[str, GroupLayout]:
    """Return the layouts of the `buffers.` groups: batch-norm means and variances, which a strategy may exchange.

    Buffers that are not floating-point numbers (counters) or not part of the model's state belong to no group.
    """
    if model not in _BUFFER_LAYOUTS:
        layouts = _layouts(_shared_buffers(model))
        _BUFFER_LAYOUTS[model] = {BUFFERS_PREFIX + group: layout for group, layout in layouts.items()}
    return dict(_BUFFER_LAYOUTS[model])


def read_groups(model: nn.Module, groups: Iterable[str]) -> dict[str, FloatArray]:
    """Return copies of some groups, parameters or `buffers.` ones, each as one flat (D,) float32 vector.

    Raises:
        ValueError: the model has no such group.
    """
    wanted = list(groups)
    parts: dict[str, list[torch.Tensor]] = {group: [] for group in wanted}
    for group, _, tensor in _grouped(model):
        if group in parts:
            parts[group].append(tensor.detach().reshape(-1).to(torch.float32))
    missing = [group for group in wanted if not parts[group]]
    if missing:
        known = group_layouts(model) | buffer_layouts(model)
        raise ValueError(f"the model has no group {', '.join(missing)}; it has {', '.join(known)}")
    return {group: torch.cat(tensors).cpu().numpy() for group, tensors in parts.items()}


def load_groups(model: nn.Module, vectors: Mapping[str, FloatArray]) -> None:
    """Overwrite some groups in place.

    Args:
        model: the model to write to.
        vectors: flat (D,) float32 vector by group.

    Raises:
        ValueError: an unknown group, or a vector of another length; the model is unchanged then.
    """
    layouts = group_layouts(model) | buffer_layouts(model)
    unknown = sorted(set(vectors) - set(layouts))
    if unknown:
        raise ValueError(f"the model has no group {', '.join(unknown)}; it has {', '.join(layouts)}")
    arrays = {group: layouts[group].unpack(vector) for group, vector in vectors.items()}
    with torch.no_grad():
        for group, name, tensor in _grouped(model):
            if group in arrays:
                tensor.copy_(torch.tensor(arrays[group][name]))


def _grouped(model: nn.Module) -> Iterator[tuple[str, str, torch.Tensor]]:
    """Yield (group, name inside the group, tensor) of every parameter and exchangeable buffer."""
    for name, parameter in model.named_parameters():
        yield group_of(name), relative_name(name), parameter
    for name, buffer in _shared_buffers(model):
        yield BUFFERS_PREFIX + group_of(name), relative_name(name), buffer


def _shared_buffers(model: nn.Module) -> Iterator[tuple[str, torch.Tensor]]:
    persistent = model.state_dict().keys()
    for name, buffer in model.named_buffers():
        if name in persistent and buffer.is_floating_point() and buffer.numel():
            yield name, buffer


def _layouts(named: Iterable[tuple[str, torch.Tensor]]) -> dict[str, GroupLayout]:
    specs: dict[str, list[ArraySpec]] = {}
    for name, tensor in named:
        specs.setdefault(group_of(name), []).append(ArraySpec(name=relative_name(name), shape=tuple(tensor.shape)))
    return {group: GroupLayout(arrays=tuple(arrays)) for group, arrays in specs.items()}


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
