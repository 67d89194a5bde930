"""Counts how often a matrix is read, in passes over its elements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch


class ReadCounter:
    """Counts reads of one (N, D) matrix by numpy functions and by kernels that take it to torch.

    A matrix, or a part of it, that is handed to torch counts as read once: kernels do so for every pass, or for
    every block of one. Within a block just read, further reads are free: they come from the cache.

    Args:
        matrix: the matrix to be watched.
        cached_columns: width of a block that a kernel may read again.
    """

    def __init__(self, matrix: np.ndarray, cached_columns: int) -> None:
        self.watched = matrix.view(_Watched)
        self.watched.counter = self
        self._matrix = matrix
        self._cached_columns = cached_columns
        self._last = (0, 0)
        self._elements = 0

    @property
    def passes(self) -> float:
        """Elements read, over those the matrix has."""
        return self._elements / self._matrix.size

    def read(self, part: np.ndarray, elements: int | None = None) -> None:
        """Count a read of an array, or of so many elements of it, where it lies in the matrix."""
        offset = part.__array_interface__["data"][0] - self._matrix.__array_interface__["data"][0]
        if not 0 <= offset < self._matrix.nbytes or part.size == 0:
            return
        first = offset // self._matrix.itemsize % self._matrix.shape[1]
        columns = (first, first + part.shape[-1])
        in_cache = self._last[0] <= columns[0] and columns[1] <= self._last[1]
        if in_cache and self._last[1] - self._last[0] <= self._cached_columns:
            return
        self._last = columns
        self._elements += part.size if elements is None else elements

    def watch_torch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Count arrays that are handed to torch."""
        original: Callable[[Any], torch.Tensor] = torch.from_numpy

        def from_numpy(array: np.ndarray) -> torch.Tensor:
            self.read(array)
            return original(np.asarray(array))

        monkeypatch.setattr(torch, "from_numpy", from_numpy)


class _Watched(np.ndarray):
    counter: ReadCounter

    def __array_finalize__(self, source: object) -> None:
        if isinstance(source, _Watched) and hasattr(source, "counter"):
            self.counter = source.counter

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        out = options.get("out", ())
        self._count(inputs)
        if out:
            options["out"] = tuple(_plain(array) for array in out)
        found = getattr(ufunc, method)(*(_plain(value) for value in inputs), **options)
        # As `updates *= 2` has it, what is written to is also what comes back: it must go on being watched.
        return out[0] if len(out) == 1 else found

    def __array_function__(self, function: Any, types: Any, arguments: Any, options: Any) -> Any:
        self._count(arguments)
        plain = [_plain(value) for value in arguments]
        return function(*plain, **{key: _plain(value) for key, value in options.items()})

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        if isinstance(found, np.ndarray) and not np.may_share_memory(_plain(found), _plain(self)):
            # Rows picked by number are copied.
            columns = key[1] if isinstance(key, tuple) and isinstance(key[1], slice) else slice(None)
            self.counter.read(np.asarray(self)[..., columns], found.size)
            return np.asarray(found)
        return found

    def copy(self, order: Any = "C") -> Any:
        self.counter.read(self)
        return np.asarray(self).copy(order)

    def astype(self, *arguments: Any, **options: Any) -> Any:
        self.counter.read(self)
        return np.asarray(self).astype(*arguments, **options)

    def _count(self, values: Any) -> None:
        for value in values:
            if isinstance(value, _Watched):
                self.counter.read(value)
            elif isinstance(value, list | tuple):
                self._count(value)


def _plain(value: Any) -> Any:
    if isinstance(value, _Watched):
        return value.view(np.ndarray)
    if isinstance(value, list | tuple):
        return type(value)(_plain(item) for item in value)
    return value
