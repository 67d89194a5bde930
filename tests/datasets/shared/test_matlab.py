"""MATLAB files: whole ones are read as scipy reads them, damaged ones never end the process."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from fmtl_datasets.shared.matlab import MatlabFileError, read_variable
from fmtl_datasets.shared.source import DataFileError
from fmtl_datasets.sources.pascal_context.people import parts_label
from scipy.io import loadmat, savemat
from tiny_pascal_context import standing_person, write_human_parts

SIZE = (48, 50)
NAME = "2008_000002"


def unpacked(path: Path) -> bytes:
    """The same file without compression, in which nothing but lengths tells of damage."""
    content = path.read_bytes()
    pieces, position = [content[:128]], 128
    while position < len(content):
        kind, count = struct.unpack_from("<II", content, position)
        assert kind == 15
        pieces.append(zlib.decompress(content[position + 8 : position + 8 + count]))
        position += 8 + count
    return b"".join(pieces)


@pytest.fixture
def person(tmp_path: Path) -> Path:
    path = tmp_path / f"{NAME}.mat"
    write_human_parts(path, [standing_person(SIZE, 2, 10, 40)])
    return path


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize(
    "variable",
    [
        np.arange(6, dtype=np.uint16).reshape(2, 3),
        np.linspace(0, 1, 5),
        np.zeros((0, 0)),
        np.array(["ab", "cd"]),
        np.array([["häß", 3]], dtype=object),
        np.int8(3),
    ],
)
def test_a_whole_file_is_read_as_scipy_reads_it(tmp_path: Path, variable: np.ndarray, compressed: bool) -> None:
    path = tmp_path / "1.mat"
    savemat(path, {"other": 1, "LabelMap": variable, "last": "x"}, do_compression=compressed)
    np.testing.assert_array_equal(read_variable(path, "LabelMap"), loadmat(path)["LabelMap"])


def test_a_file_without_compression_gives_the_same_parts(person: Path) -> None:
    before = parts_label(person)
    person.write_bytes(unpacked(person))
    np.testing.assert_array_equal(parts_label(person), before)


def test_a_changed_byte_in_a_compressed_file_is_noticed_or_changes_nothing(person: Path) -> None:
    whole, before = person.read_bytes(), parts_label(person)
    unnoticed = 0
    # The first 128 bytes are a free text, and the version.
    for position in range(128, len(whole), 7):
        person.write_bytes(whole[:position] + bytes([whole[position] ^ 16]) + whole[position + 1 :])
        try:
            np.testing.assert_array_equal(parts_label(person), before)
            unnoticed += 1
        except DataFileError:
            continue
    # Nothing but the few bits that fill up the last byte of the compressed data.
    assert unnoticed <= 1


def test_a_file_cut_anywhere_is_noticed(person: Path) -> None:
    for whole in (person.read_bytes(), unpacked(person)):
        for end in range(0, len(whole) - 8, 997):
            person.write_bytes(whole[:end])
            with pytest.raises(MatlabFileError):
                read_variable(person, "anno")


def test_changed_lengths_and_types_never_end_the_process(person: Path) -> None:
    whole = unpacked(person)
    draws = np.random.default_rng(0)
    messages = []
    for _ in range(400):
        content = bytearray(whole)
        for position in draws.integers(128, 1200, 2):
            content[position] = draws.integers(0, 256)
        person.write_bytes(bytes(content))
        try:
            parts_label(person)
        except DataFileError as error:
            messages.append(str(error))
    assert len(messages) > 80
    assert all(str(person) in message for message in messages)


FLAGS, SIDES = 6, 5
TEXT, STRUCT, BYTES, COMPLEX = 4, 2, 9, 0x0800


@pytest.mark.parametrize(
    ("stored", "changed"),
    [
        # scipy alone ends the process, or counts to a thousand million, at each of these.
        (struct.pack("<4I", SIDES, 8, 1, len(NAME)), struct.pack("<4I", SIDES, 8, 1, 10**9)),
        (struct.pack("<6I", FLAGS, 8, STRUCT, 0, SIDES, 8), struct.pack("<6I", FLAGS, 8, TEXT, 0, SIDES, 8)),
        (
            struct.pack("<8I", FLAGS, 8, STRUCT, 0, SIDES, 8, 1, 1),
            struct.pack("<8I", FLAGS, 8, STRUCT, 0, SIDES, 8, 10**4, 10**5),
        ),
        (struct.pack("<4I", FLAGS, 8, BYTES, 0), struct.pack("<4I", FLAGS, 8, BYTES | COMPLEX, 0)),
    ],
)
def test_a_matrix_that_claims_more_than_it_holds_is_refused(person: Path, stored: bytes, changed: bytes) -> None:
    whole = unpacked(person)
    assert stored in whole
    person.write_bytes(whole.replace(stored, changed, 1))
    with pytest.raises(MatlabFileError):
        read_variable(person, "anno")


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    savemat(tmp_path / "4.mat", {"LabelMap": np.eye(3)}, format="4")
    (tmp_path / "7.mat").write_bytes(
        b"MATLAB 7.3 MAT-file".ljust(124) + struct.pack("<H", 0x0200) + b"IM\x89HDF\r\n\x1a\n"
    )
    for name, reason in (("4.mat", "does not begin"), ("7.mat", "another version")):
        with pytest.raises(MatlabFileError, match=reason):
            read_variable(tmp_path / name, "LabelMap")
