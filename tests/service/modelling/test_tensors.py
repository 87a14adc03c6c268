"""Tensors survive as bytes, their hash tells any change, and bytes that are none are refused."""

import hashlib
import json

import numpy as np
import pytest
import torch

from service.errors import DataCorrupt
from service.modelling import tensors

WEIGHTS = {
    "layers.0.weight": torch.arange(6, dtype=torch.float32).reshape(2, 3) / 7,
    "layers.0.bias": torch.tensor([float("inf"), float("nan")]),
    "steps": torch.tensor(3, dtype=torch.int64),
    "empty": torch.zeros(0, 4, dtype=torch.float64),
}


def test_bytes_give_back_what_they_were_made_of():
    found = tensors.decode_tensors(tensors.encode_tensors(WEIGHTS))
    assert set(found) == set(WEIGHTS)
    for name, tensor in WEIGHTS.items():
        assert found[name].dtype == tensor.dtype
        assert found[name].shape == tensor.shape
        assert torch.equal(found[name].nan_to_num(9), tensor.nan_to_num(9))


def test_tensors_that_share_memory_or_lie_across_it():
    base = torch.arange(6.0).reshape(2, 3)
    found = tensors.decode_tensors(tensors.encode_tensors({"a": base, "b": base.T, "c": base[:, 1]}))
    assert torch.equal(found["b"], base.T)
    assert torch.equal(found["c"], base[:, 1])


def test_texts_beside_the_tensors():
    data = tensors.encode_tensors(WEIGHTS, {"note": "한글"})
    assert tensors.read_metadata(data) == {"note": "한글"}
    assert tensors.read_metadata(tensors.encode_tensors(WEIGHTS)) == {}


def test_hash_over_name_dtype_shape_and_bytes():
    one = {"b": torch.tensor([1.5, -2.0]), "a": torch.tensor([[1.0]], dtype=torch.float64)}
    digest = hashlib.sha256()
    for name, dtype in (("a", "float64"), ("b", "float32")):
        head = {"dtype": dtype, "name": name, "shape": list(one[name].shape)}
        digest.update(json.dumps(head).encode() + b"\n" + one[name].numpy().tobytes())
    assert tensors.weights_sha256(one) == digest.hexdigest()
    assert tensors.weights_sha256(dict(reversed(one.items()))) == digest.hexdigest()


@pytest.mark.parametrize(
    "other",
    [
        {"c": torch.tensor([1.5, -2.0])},
        {"b": torch.tensor([1.5, -2.0], dtype=torch.float64)},
        {"b": torch.tensor([[1.5, -2.0]])},
        {"b": torch.tensor([1.5, 2.0])},
        {"b": torch.tensor([1.5, -2.0]), "c": torch.tensor([0.0])},
    ],
)
def test_hash_differs(other):
    assert tensors.weights_sha256({"b": torch.tensor([1.5, -2.0])}) != tensors.weights_sha256(other)


def corrupt_files():
    good = tensors.encode_tensors(WEIGHTS)
    yield b""
    yield b"\x00" * 8
    yield good[:20]
    yield good[:-3]
    yield (1 << 40).to_bytes(8, "little") + good[8:]
    yield (2).to_bytes(8, "little") + b"[]"
    yield (4).to_bytes(8, "little") + b"\xff\xff\xff\xff"
    yield (12_000).to_bytes(8, "little") + b"[" * 6000 + b"]" * 6000
    long = json.dumps({"__metadata__": {"x": "y" * tensors.LARGEST_HEADER}}).encode()
    yield len(long).to_bytes(8, "little") + long
    outside = json.dumps({"a": {"dtype": "F32", "shape": [9], "data_offsets": [0, 36]}}).encode()
    yield len(outside).to_bytes(8, "little") + outside + b"\x00" * 4
    unknown = json.dumps({"a": {"dtype": "PICKLE", "shape": [1], "data_offsets": [0, 4]}}).encode()
    yield len(unknown).to_bytes(8, "little") + unknown + b"\x00" * 4
    many = {f"t{i}": {"dtype": "U8", "shape": [0], "data_offsets": [0, 0]} for i in range(tensors.MOST_TENSORS + 2)}
    crowded = json.dumps(many).encode()
    yield len(crowded).to_bytes(8, "little") + crowded


@pytest.mark.parametrize("data", list(corrupt_files()))
def test_corrupt_bytes_are_refused(data):
    with pytest.raises(DataCorrupt):
        tensors.decode_tensors(data)


def test_shapes_are_those_of_the_network():
    expected = {"a": (1, 2)}
    tensors.check_shapes({"a": torch.zeros(1, 2)}, expected, torch.float32)
    for wrong in (
        {"a": torch.zeros(2, 1)},
        {"b": torch.zeros(1, 2)},
        {"a": torch.zeros(1, 2, dtype=torch.float64)},
        {"a": torch.zeros(1, 2), "b": torch.zeros(1)},
        {},
    ):
        with pytest.raises(DataCorrupt):
            tensors.check_shapes(wrong, expected, torch.float32)


def test_views_are_the_bytes_themselves():
    data = bytearray(b"head" * 2 + np.arange(6, dtype="<f4").tobytes())
    found = tensors.views(data, {"a": (8, (2, 2)), "b": (24, (2,)), "none": (32, (0, 3))}, torch.float32)
    assert found["a"].tolist() == [[0.0, 1.0], [2.0, 3.0]]
    assert found["none"].shape == (0, 3)
    data[24:28] = np.float32(9).tobytes()
    assert found["b"].tolist() == [9.0, 5.0]
    assert tensors.all_finite(found)


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(("stored", "dtype"), [("F32", "<f4"), ("F64", "<f8")])
def test_what_is_not_finite_is_found_in_parts_of_any_length(number, stored, dtype):
    values = np.ones(50, dtype)
    good = values.tobytes()
    for place in (0, 24, 49):
        values[:] = 1
        values[place] = number
        assert not tensors.all_finite({"a": torch.tensor(values)})
        bad = values.tobytes()
        for length in (1, 7, 8, 1000):
            parts = [bad[start : start + length] for start in range(0, len(bad), length)]
            assert not tensors.finite_bytes(parts, stored)
    assert tensors.finite_bytes([good[:13], b"", good[13:]], stored)
    assert tensors.all_finite({"a": torch.ones(3), "none": torch.empty(0)})
