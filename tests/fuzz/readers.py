"""The readers of what strangers send, as functions of bytes: each either reads them or says why not, by our own errors.

Anything else that comes out — another exception, a reading that takes too long — is a finding. The same functions are
driven by atheris for minutes (`guided.py`) and by a few thousand mutations in `make test` (`test_readers.py`).
"""

import functools
import pathlib
import tempfile
import time
from collections.abc import Callable

from google.protobuf import json_format

from service import references
from service.calling.requests import Findings, check
from service.calling.statuses import from_error, wrong_fields
from service.data.arrow_file import write_table
from service.data.reading.formats import Options
from service.data.reading.opening import open_source
from service.errors import DataCorrupt, TraindError
from service.model_files.description import decode, encode
from service.model_files.reading import read_model
from service.modelling import networks, specs
from service.modelling.predictor import Predictor, encode_preprocessing
from service.modelling.tensors import decode_tensors, read_metadata, weights_sha256
from service.rest import strict_json
from service.rest.decoding import fill
from tests.worker.descents import learning, spec_for
from traind.v1 import jobs_pb2, tables_pb2
from worker import checkpoints

CORPUS = pathlib.Path(__file__).with_name("corpus")
# Of processor time, for inputs of some KiB; measured: 0.03 s, and 1.5 s where a reader is imported on the way.
MOST_S = 5.0
_Type = tables_pb2.Column
COLUMNS = (
    _Type(name="area", type=_Type.NUMBER),
    _Type(name="rooms", type=_Type.INTEGER),
    _Type(name="city", type=_Type.CATEGORY, categories=["Busan", "Seoul"]),
    _Type(name="sold", type=_Type.TIMESTAMP),
    _Type(name="good", type=_Type.BOOLEAN),
    _Type(name="gaps", type=_Type.NUMBER, missing_count=3),
    _Type(name="words", type=_Type.TEXT),
    _Type(name="price", type=_Type.NUMBER),
)
ROWS = 120
MOST_PARAMETERS = 100_000
# A checkpoint fits one of them; the others refuse it.
RESUMED = ("adam", "sgd", "lbfgs")


class TooSlow(Exception):
    """The reader took longer than any input of this size should."""


def read_spec(data: bytes) -> None:
    """A JSON body becomes a job, the job is checked, its spec is resolved and its network counted."""
    request, found = jobs_pb2.CreateJobRequest(), Findings()
    fill(request.job, strict_json.loads(data), "job", found)
    if found.violations:
        raise wrong_fields(found.violations)
    check(request)
    if request.job.WhichOneof("task") != "train":
        return
    resolved = specs.resolve(request.job.train, COLUMNS, ROWS)
    again = specs.resolve(resolved, COLUMNS, ROWS)
    assert again == resolved, "a resolved spec that is sent again means something else"
    networks.count_parameters(resolved.network, *specs.widths(resolved, COLUMNS))
    json_format.Parse(json_format.MessageToJson(resolved), type(resolved)())


def read_csv(data: bytes) -> None:
    """A file of text becomes an Arrow table, by its own first bytes or as it was asked for."""
    with tempfile.TemporaryDirectory(prefix="traind-fuzz-", dir=_memory_folder()) as folder:
        path, scratch = pathlib.Path(folder) / "source", pathlib.Path(folder) / "scratch"
        scratch.mkdir()
        path.write_bytes(data)
        options = Options(encoding="" if _is_utf8(data) else "CP949")
        source, _ = open_source(path, options, {}, scratch)
        columns, rows = write_table(source, {}, pathlib.Path(folder) / "table.arrow")
        assert rows > 0
        assert len(columns) == len(source.names)


def read_tensors(data: bytes) -> None:
    """A file of weights becomes tensors, and a checkpoint what a learning goes on from."""
    tensors = decode_tensors(data)
    weights_sha256(tensors)
    told = read_metadata(data)
    if "checkpoint" in told:
        _resume(data)


def read_model_file(data: bytes) -> None:
    """A model's file becomes a model that answers, and what is stored of it can be read again."""
    with tempfile.TemporaryDirectory(prefix="traind-fuzz-", dir=_memory_folder()) as folder:
        path = pathlib.Path(folder) / "model"
        path.write_bytes(data)
        read = read_model(path, MOST_PARAMETERS)
    file, checked = read.checked.file, read.checked
    again = encode_preprocessing(checked.fitted, checked.target)
    Predictor.from_stored(json_format.MessageToJson(file.spec), again, bytes(read.weights))
    assert decode(encode(file)) == file, "a description that is written again says something else"
    references.parse_reference("models", file.origin.model, "", "upload")
    # As both databases keep texts.
    for text in (file.display_name, file.engine, file.origin.dataset, *(series.name for series in file.history)):
        assert "\0" not in text
        text.encode()


def _resume(data: bytes) -> None:
    captured = checkpoints.decode(data)
    assert checkpoints.held_out_rows(captured).dtype == "int64"
    refusals = []
    for optimizer in RESUMED:
        state = _fresh(optimizer)
        try:
            checkpoints.restore(state, captured)
        except DataCorrupt as error:
            refusals.append(error)
            continue
        assert {type(value) for value in (state.epoch, state.best_epoch, state.first_bad_epoch, state.cuts)} == {int}
        assert {type(value) for value in (state.best_value, state.last_loss, state.seconds_before)} == {float}
    if len(refusals) == len(RESUMED):
        raise refusals[0]


def _fresh(optimizer: str) -> checkpoints.LearnState:
    """The state that a learning of a linear network begins with."""
    return learning(spec_for("linear", "mse", optimizer, "FLOAT32")).state


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


READERS: dict[str, Callable[[bytes], None]] = {
    "spec": read_spec,
    "csv": read_csv,
    "tensors": read_tensors,
    "model": read_model_file,
}


def attempt(name: str, data: bytes) -> str:
    """Let a reader have the bytes; answers the reason of the refusal, empty where they were read.

    Raises whatever is a finding.
    """
    began = time.process_time()
    try:
        READERS[name](data)
        reason = ""
    except TraindError as error:
        # It must fit on the wire too.
        from_error(error)
        if error.code in {"INTERNAL", "UNAVAILABLE"}:
            raise AssertionError("a reader's refusal is no defect of the server") from error
        reason = error.reason
    took = time.process_time() - began
    if took > MOST_S:
        raise TooSlow(f"{took:.1f} s for {len(data)} bytes")
    return reason


def seeds(name: str) -> dict[str, bytes]:
    """The kept inputs of a reader by name: what it takes, what it refuses, and what once broke it."""
    return {path.name: path.read_bytes() for path in sorted((CORPUS / name).iterdir())}


@functools.cache
def _memory_folder() -> str | None:
    """Where files cost no disk."""
    return "/dev/shm" if pathlib.Path("/dev/shm").is_dir() else None
