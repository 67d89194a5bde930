"""How the columns of a flat group divide into arrays, and arrays into layers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class Segments:
    """Names and sizes of the arrays in a flat vector, in order; a layer is what stands before the last dot.

    `linears.0.weight` and `linears.0.bias` are two arrays of the layer `linears.0`.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, arrays: Iterable[tuple[str, int]]) -> Segments:
        """Segments from (name, size) pairs in the order of the flat vector."""
        pairs = list(arrays)
        return cls(tuple(name for name, _ in pairs), tuple(size for _, size in pairs))

    @cached_property
    def size(self) -> int:
        """Number of columns D."""
        return sum(self.sizes)

    @cached_property
    def columns(self) -> tuple[slice, ...]:
        """Columns of every array."""
        ends, slices = 0, []
        for size in self.sizes:
            slices.append(slice(ends, ends + size))
            ends += size
        return tuple(slices)

    @cached_property
    def layers(self) -> tuple[str, ...]:
        """Layer names in order of first appearance."""
        return tuple(dict.fromkeys(layer_name(name) for name in self.names))

    @cached_property
    def layer_of_array(self) -> tuple[int, ...]:
        """Index into `layers` for every array."""
        index = {layer: position for position, layer in enumerate(self.layers)}
        return tuple(index[layer_name(name)] for name in self.names)


def layer_name(array_name: str) -> str:
    """Layer of an array: its name without the last dotted part; a name without dots is its own layer."""
    return array_name.rpartition(".")[0] or array_name
