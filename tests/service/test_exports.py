"""Exports of every format out of a server: named, whole, bounded in memory, and refused in words."""

import io
import math
import tracemalloc
import zipfile

import onnx
import pytest
import safetensors.torch

from service import exporting
from service.calling import requests
from service.errors import DataCorrupt, InvalidField, NotFound, WrongState
from service.modelling import tensors
from service.store import artifacts
from tests.service import carried
from tests.service.apps import push
from tests.service.lab import Lab
from traind.v1 import models_pb2

Format = models_pb2.Model.Format
ENDINGS = {Format.SAFETENSORS: "safetensors", Format.ONNX: "onnx", Format.SCRIPT: "zip"}


@pytest.fixture
def lab(database, tmp_path):
    lab = Lab(database, tmp_path)
    push(lab.app, lab.caller, carried.table(), "houses")
    return lab


def export(lab, name, kind):
    """A model as the bytes of a file, and what it is called."""
    opened = exporting.open_export(lab.app, lab.caller, models_pb2.ExportModelRequest(name=name, format=kind))
    parts = list(exporting.parts(lab.app, opened))
    data = b"".join(part.data for part in parts)
    assert parts[0].size_bytes == len(data)
    assert all(len(part.data) <= 1 << 20 for part in parts)
    return data, parts[0].file_name


def weights_in(data, kind):
    """The weights of a file, as arrays."""
    if kind == Format.ONNX:
        graph = onnx.load_from_string(data).graph
        return {one.name[1:]: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    if kind == Format.SCRIPT:
        with zipfile.ZipFile(io.BytesIO(data)) as opened:
            assert opened.testzip() is None
            data = opened.read("weights.safetensors")
    return {name: weight.numpy() for name, weight in safetensors.torch.load(data).items()}


def test_every_format_has_the_weights_that_are_stored(lab):
    """More than a MiB of them, in layers that begin and end anywhere in it."""
    job = carried.job("several")
    job["train"]["network"] = {"mlp": {"hidden": [701, 703], "normalisation": "BATCH"}}
    lab.submit(job)
    lab.work()
    data, name = export(lab, "several", Format.FORMAT_UNSPECIFIED)
    assert name == "kim.several-1.safetensors"
    stored = weights_in(data, Format.SAFETENSORS)
    assert sum(weight.nbytes for weight in stored.values()) > 1 << 20
    for kind, ending in ENDINGS.items():
        data, name = export(lab, "several", kind)
        assert name == f"kim.several-1.{ending}"
        assert export(lab, "several", kind)[0] == data
        found = weights_in(data, kind)
        for one, weight in stored.items():
            assert (found[one] == weight).all()


def test_a_format_that_there_is_not():
    with pytest.raises(InvalidField, match="format"):
        requests.check(models_pb2.ExportModelRequest(name="m", format=9))


def test_a_model_of_somebody_else(lab):
    lab.submit(carried.job("exact"))
    lab.work()
    other = lab.person("lee")
    for kind in ENDINGS:
        with pytest.raises(NotFound):
            exporting.open_export(lab.app, other, models_pb2.ExportModelRequest(name="kim.exact", format=kind))


def replace_weights(lab, change):
    """Store other weights in the place of a model's."""
    with lab.app.database.read() as connection:
        old = connection.exec_driver_sql("SELECT artifact_id FROM model_version").scalar()
    weights = safetensors.torch.load(artifacts.load(lab.app.database, old))
    change(weights)
    new = artifacts.stage(lab.app.database, tensors.encode_tensors(weights), "weights")
    with lab.app.database.write() as connection:
        artifacts.publish(connection, new, "model:other")
        connection.exec_driver_sql(f"UPDATE model_version SET artifact_id = '{new}'")


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_no_numbers(lab, value):
    lab.submit(carried.job("exact"))
    lab.work()
    replace_weights(lab, lambda weights: weights["weight"].fill_(value))
    for kind in ENDINGS:
        with pytest.raises(WrongState, match="weights that are NaN or infinite"):
            export(lab, "exact", kind)


def test_weights_of_another_network(lab):
    lab.submit(carried.job("exact"))
    lab.work()
    replace_weights(lab, lambda weights: weights.pop("bias"))
    for kind in (Format.ONNX, Format.SCRIPT):
        with pytest.raises(DataCorrupt, match="do not fit its spec"):
            export(lab, "exact", kind)


def test_a_large_model_is_never_held(lab):
    """95 MiB of weights, of which a chunk is in memory at a time."""
    job = carried.job("several")
    job["train"]["network"] = {"mlp": {"hidden": [3520, 3520, 3520]}}
    job["train"]["learn"] = carried.learn(epochs=1)
    lab.submit(job)
    lab.work()
    for kind in (Format.SCRIPT, Format.ONNX):
        request = models_pb2.ExportModelRequest(name="several", format=kind)
        exporting.open_export(lab.app, lab.caller, request)  # so that what is imported is not counted
        tracemalloc.start()
        opened = exporting.open_export(lab.app, lab.caller, request)
        size = sum(len(part.data) for part in exporting.parts(lab.app, opened))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert size == opened.size_bytes
        assert size > 94 << 20
        assert peak < 12 << 20
