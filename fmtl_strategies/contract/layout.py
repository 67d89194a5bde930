"""Layout of a group: which arrays it holds, in which order, inside one flat float32 vector."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

FloatArray = npt.NDArray[np.float32]

MAX_ARRAYS = 20_000
MAX_DIMENSIONS = 8


class Strict(BaseModel):
    """Base of what comes in messages: unknown fields are refused, and nothing is changed afterwards."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ArraySpec(Strict):
    """One array of a group: its name relative to the group, and its shape."""

    name: str = Field(min_length=1, max_length=256)
    shape: tuple[Annotated[int, Field(ge=1)], ...] = Field(max_length=MAX_DIMENSIONS)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


class GroupLayout(Strict):
    """Order, names and shapes of the arrays of one group inside a flat vector of D float32 values."""

    model_config = ConfigDict(ignored_types=(cached_property,))

    arrays: tuple[ArraySpec, ...] = Field(min_length=1, max_length=MAX_ARRAYS)

    @model_validator(mode="after")
    def _distinct_names(self) -> GroupLayout:
        if len({spec.name for spec in self.arrays}) != len(self.arrays):
            raise ValueError("a layout names an array twice")
        return self

    @cached_property
    def size(self) -> int:
        """Number of elements D of the flat vector."""
        return sum(spec.size for spec in self.arrays)

    @cached_property
    def signature(self) -> str:
        """Hash of names and shapes: two groups with equal signatures can be averaged."""
        text = json.dumps([(spec.name, spec.shape) for spec in self.arrays])
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def segments(self) -> Iterator[tuple[ArraySpec, slice]]:
        """Yield every array with the columns it occupies in the flat vector."""
        start = 0
        for spec in self.arrays:
            yield spec, slice(start, start + spec.size)
            start += spec.size

    def pack(self, arrays: Mapping[str, npt.NDArray[np.generic]], out: FloatArray | None = None) -> FloatArray:
        """Write named arrays into one flat vector.

        Args:
            arrays: arrays by relative name, shapes as in the layout, any float dtype.
            out: optional (D,) float32 vector to write to.

        Returns:
            The (D,) float32 vector.

        Raises:
            ValueError: an array is missing or has another shape.
        """
        flat = np.empty(self.size, dtype=np.float32) if out is None else out
        for spec, columns in self.segments():
            if spec.name not in arrays:
                raise ValueError(f"array {spec.name!r} of the layout is missing")
            array = arrays[spec.name]
            if tuple(array.shape) != spec.shape:
                raise ValueError(f"array {spec.name!r} has shape {array.shape}, the layout says {spec.shape}")
            flat[columns] = array.reshape(-1)
        return flat

    def unpack(self, flat: FloatArray) -> dict[str, FloatArray]:
        """Return views of a flat (D,) float32 vector by relative array name."""
        if flat.shape != (self.size,):
            raise ValueError(f"flat vector has shape {flat.shape}, the layout needs ({self.size},)")
        return {spec.name: flat[columns].reshape(spec.shape) for spec, columns in self.segments()}
