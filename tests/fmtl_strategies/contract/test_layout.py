"""Layouts: packing and unpacking, signatures."""

import numpy as np
import pytest
from errors import naming

from fmtl_strategies.contract.groups import GroupNameError, group_of, relative_name, task_of
from fmtl_strategies.contract.layout import ArraySpec, GroupLayout

LAYOUT = GroupLayout(
    arrays=(ArraySpec(name="a", shape=(2, 3)), ArraySpec(name="b", shape=()), ArraySpec(name="c", shape=(2,)))
)


def test_pack_then_unpack_gives_the_arrays_back() -> None:
    arrays = {"c": np.array([8.0, 9.0]), "a": np.arange(6.0).reshape(2, 3), "b": np.array(7.0)}
    flat = LAYOUT.pack(arrays)
    assert flat.tolist() == [0, 1, 2, 3, 4, 5, 7, 8, 9]
    for name, array in LAYOUT.unpack(flat).items():
        np.testing.assert_array_equal(array, arrays[name])


def test_wrong_shape_and_missing_array_are_named() -> None:
    with pytest.raises(ValueError, match=naming("b", "layout")):
        LAYOUT.pack({"a": np.zeros((2, 3)), "c": np.zeros(2)})
    with pytest.raises(ValueError, match=naming("a", "(3, 2)")):
        LAYOUT.pack({"a": np.zeros((3, 2)), "b": np.zeros(()), "c": np.zeros(2)})
    with pytest.raises(ValueError, match="needs \\(9,\\)"):
        LAYOUT.unpack(np.zeros(8, np.float32))


def test_signature_depends_on_names_shapes_and_order() -> None:
    same = GroupLayout.model_validate_json(LAYOUT.model_dump_json())
    other = GroupLayout(arrays=tuple(reversed(LAYOUT.arrays)))
    assert same.signature == LAYOUT.signature
    assert other.signature != LAYOUT.signature


def test_array_names_belong_to_groups() -> None:
    assert group_of("decoders.semseg.linears.0.weight") == "decoders.semseg"
    assert relative_name("decoders.semseg.linears.0.weight") == "linears.0.weight"
    assert relative_name("encoder.stem.weight") == "stem.weight"
    assert task_of("heads.depth") == "depth"
    assert task_of("encoder") is None
    for stranger in ("backbone.x", "encoder", "heads.depth", "decodersx.semseg.w"):
        with pytest.raises(GroupNameError):
            group_of(stranger)
