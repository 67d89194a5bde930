"""Reading variables of MATLAB 5 files, after a check that a file is whole.

scipy reads these files but trusts the lengths in them: a changed byte can end the process. So the compressed parts are
unpacked first, which compares their checksums, and the lengths are compared before scipy sees them. Source: the public
description of the MAT-file format, level 5.
"""

from __future__ import annotations

import io
import math
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

HEADER_BYTES = 128
VERSION = 0x0100
ORDERS = {b"IM": "<", b"MI": ">"}
COMPRESSED, MATRIX, UTF8 = 15, 14, 16
CELL, STRUCT = 1, 2
COMPLEX_FLAG = 0x0800
DATA_BYTES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8, UTF8: 1, 17: 2, 18: 4}
"""Bytes of one number of each type of data."""
PLAIN_CLASSES = frozenset({4, *range(6, 16)})
"""Matrices of characters and of numbers; cells and structs hold further matrices."""


class MatlabFileError(ValueError):
    """A file that is no whole MATLAB 5 file, or lacks the variable asked for."""


@dataclass(frozen=True)
class _Element:
    kind: int
    start: int
    count: int


def read_variable(path: Path, name: str) -> npt.NDArray[Any]:
    """A variable of a MATLAB 5 file, as ``scipy.io.loadmat`` gives it.

    Raises:
        MatlabFileError: the file is damaged or has no such variable.
        OSError: the file cannot be read.
    """
    content = path.read_bytes()
    try:
        unpacked = _unpacked(content)
        _check(unpacked, ORDERS[content[126:128]], HEADER_BYTES, len(unpacked))
        variable = loadmat(io.BytesIO(unpacked), variable_names=[name]).get(name)
    except MatlabFileError:
        raise
    # What the check lets through and scipy still stumbles over, as seen when bytes are changed at random.
    except (ValueError, TypeError, LookupError, ArithmeticError, NotImplementedError, OSError, EOFError) as error:
        raise MatlabFileError(str(error)) from error
    except (struct.error, zlib.error, MatReadError, AttributeError, MemoryError, RecursionError) as error:
        raise MatlabFileError(str(error)) from error
    if not isinstance(variable, np.ndarray):
        raise MatlabFileError(f"it has no array '{name}'")
    return variable


def _unpacked(content: bytes) -> bytes:
    """The file with its compressed elements unpacked."""
    order = ORDERS.get(content[126:128])
    if order is None:
        raise MatlabFileError("it does not begin as a MATLAB 5 file does")
    (version,) = struct.unpack_from(f"{order}H", content, 124)
    if version != VERSION:
        raise MatlabFileError("it is of another version than 5 to 7; MATLAB writes those with save(..., '-v7')")
    pieces = [content[:HEADER_BYTES]]
    position = HEADER_BYTES
    while position < len(content):
        kind, count = struct.unpack_from(f"{order}II", content, position)
        end = position + 8 + count
        if end > len(content):
            raise MatlabFileError("it ends too early")
        pieces.append(zlib.decompress(content[position + 8 : end]) if kind == COMPRESSED else content[position:end])
        position = end
    return b"".join(pieces)


def _check(content: bytes, order: str, start: int, end: int) -> None:
    """Refuse elements that do not fit into what holds them, and matrices whose data does not fill them."""
    elements = []
    position = start
    while position < end:
        element = _element(content, order, position)
        if element.start + element.count > end:
            raise MatlabFileError(f"the element at byte {position} is longer than what holds it")
        if element.kind == MATRIX and element.count:
            _check(content, order, element.start, element.start + element.count)
        elements.append(element)
        position = element.start + max(element.count, 4 if element.start % 8 else 0)
        position += -position % 8
    is_inside_matrix = start > HEADER_BYTES
    if is_inside_matrix:
        _check_matrix(content, order, elements)


def _element(content: bytes, order: str, position: int) -> _Element:
    first, second = struct.unpack_from(f"{order}II", content, position)
    if first >> 16:
        # Up to four bytes of data are packed into the eight bytes of the tag.
        if first >> 16 > 4:
            raise MatlabFileError(f"the element at byte {position} is damaged")
        return _Element(first & 0xFFFF, position + 4, first >> 16)
    return _Element(first, position + 8, second)


def _check_matrix(content: bytes, order: str, elements: list[_Element]) -> None:
    flags, shape = elements[:2]
    (matrix_class,) = struct.unpack_from(f"{order}I", content, flags.start)
    sides = struct.unpack_from(f"{order}{shape.count // 4}i", content, shape.start)
    if len(sides) < 2 or min(sides) < 0:
        raise MatlabFileError(f"a matrix has the sides {sides}")
    if matrix_class & COMPLEX_FLAG:
        raise MatlabFileError("a matrix has complex numbers, which no label has")
    held, needed = _held_and_needed(content, order, elements, matrix_class & 0xFF, math.prod(sides))
    if held != needed:
        raise MatlabFileError(f"a matrix of {' x '.join(map(str, sides))} holds {held} of {needed} bytes or fields")


def _held_and_needed(
    content: bytes, order: str, elements: list[_Element], matrix_class: int, size: int
) -> tuple[int, int]:
    """How much data a matrix has, and how much its size needs: bytes of a plain one, else matrices inside."""
    if matrix_class in PLAIN_CLASSES:
        data = elements[3]
        needed = size * DATA_BYTES[data.kind]
        # A character of UTF-8 can have several bytes.
        return (needed if data.kind == UTF8 and data.count >= needed else data.count), needed
    if matrix_class == CELL:
        return len(elements) - 3, size
    if matrix_class == STRUCT:
        (name_bytes,) = struct.unpack_from(f"{order}i", content, elements[3].start)
        return len(elements) - 5, size * (elements[4].count // name_bytes)
    raise MatlabFileError(f"a matrix has the class {matrix_class}, which no label has")
