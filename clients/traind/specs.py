"""Jobs from what people write: dictionaries, keywords, .json and .toml files; and changes like `seed=3` to them."""

from __future__ import annotations

import json
import os
import pathlib
import tomllib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from google.protobuf import json_format
from google.protobuf.message import Message

from traind.errors import InvalidSpec
from traind.spec_checks import check_message, find_field
from traind.v1 import jobs_pb2, learning_pb2, specs_pb2

if TYPE_CHECKING:
    from google.protobuf.descriptor import Descriptor, FieldDescriptor


def load_spec(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The job that a .json or .toml file tells. Raises InvalidSpec naming the line that cannot be read."""
    file = pathlib.Path(path)
    if file.suffix not in {".json", ".toml"}:
        raise InvalidSpec(f"{file} is no spec", fix="write it as .json or .toml")
    try:
        text = file.read_text(encoding="utf-8")
        found = tomllib.loads(text) if file.suffix == ".toml" else json.loads(text, object_pairs_hook=_once)
    except OSError as error:
        raise InvalidSpec(f"{file} cannot be read: {error.strerror}") from None
    except ValueError as error:  # JSONDecodeError, TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise InvalidSpec(f"{file} is no {file.suffix[1:].upper()}: {error}") from None
    if not isinstance(found, dict):
        raise InvalidSpec(f"{file} holds no job", fix='write {"dataset": ..., "model": ..., "train": {...}}')
    found.pop("$schema", None)  # by which editors find what `traind spec schema` printed
    return found


def build_job(
    job: Mapping[str, Any] | jobs_pb2.Job | str | os.PathLike[str] | None,
    *,
    dataset: str = "",
    model: str = "",
    display_name: str = "",
    train: Mapping[str, Any] | specs_pb2.TrainSpec | None = None,
    evaluate: Mapping[str, Any] | jobs_pb2.EvaluateSpec | None = None,
    predict: Mapping[str, Any] | jobs_pb2.PredictSpec | None = None,
    webhooks: Sequence[str] = (),
) -> jobs_pb2.Job:
    """One Job message; keywords stand over what `job` says."""
    if isinstance(job, jobs_pb2.Job):
        built = jobs_pb2.Job()
        built.CopyFrom(job)
    else:
        built = parse_job(load_spec(job) if isinstance(job, str | os.PathLike) else job or {})
    for name, value in (("dataset", dataset), ("model", model), ("display_name", display_name)):
        if value:
            setattr(built, name, value)
    if webhooks:
        built.webhooks[:] = webhooks
    for name, spec in (("train", train), ("evaluate", evaluate), ("predict", predict)):
        if isinstance(spec, Message):
            getattr(built, name).CopyFrom(spec)
        elif spec is not None:
            getattr(built, name).CopyFrom(getattr(parse_job({name: spec}), name))
    return built


def parse_job(job: Mapping[str, Any]) -> jobs_pb2.Job:
    """Read a dictionary as proto3 JSON, with Python's ease: NumPy values, tuples, one name where a list of names
    stands, rows of numbers as given weights. Raises InvalidSpec naming the field.
    """
    spec = settled(job)
    check_message(spec, jobs_pb2.Job.DESCRIPTOR, "job")
    try:
        return json_format.ParseDict(spec, jobs_pb2.Job())
    except json_format.ParseError as error:
        raise InvalidSpec(str(error), field="job") from None


def build_learn(learn: Mapping[str, Any] | learning_pb2.Learn) -> learning_pb2.Learn:
    """A way to learn, as a dictionary or a message. Raises InvalidSpec naming the field."""
    if isinstance(learn, Message):
        return learn
    return parse_job({"train": {"learn": learn}}).train.learn


def settled(job: Mapping[str, Any]) -> dict[str, Any]:
    """A job's dictionary as proto3 JSON, with nothing left of Python's ease; not checked. Raises InvalidSpec."""
    spec: dict[str, Any] = plain(job)
    train = spec.get("train")
    if isinstance(train, dict):
        for name in ("inputs", "target"):
            if isinstance(train.get(name), str):
                train[name] = [train[name]]
        _shape_weights(train)
    return spec


def plain(value: Any) -> Any:
    """Any value as dictionaries, lists, texts and numbers; a copy."""
    if isinstance(value, Message):
        return json_format.MessageToDict(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # NumPy's arrays and scalars
        return value.tolist()
    return value


def change_spec(spec: dict[str, Any], change: str) -> None:
    """Apply `learn.gradient.epochs=50` to a job: a path that begins at the job or at its `train`, and JSON or text.

    Naming one kind takes away the kind that stood there: `learn.exact={}` replaces `learn.gradient`.
    """
    path, equals, text = change.partition("=")
    names = [name for name in path.strip().removeprefix("job.").split(".") if name]
    if not equals or not names:
        raise InvalidSpec(f"{change!r} is no change of a spec", fix="write it like learn.gradient.epochs=50")
    if find_field(jobs_pb2.Job.DESCRIPTOR, names[0]) is None and find_field(specs_pb2.TrainSpec.DESCRIPTOR, names[0]):
        names.insert(0, "train")
    try:
        value = json.loads(text)
    except ValueError:
        value = text
    _set(spec, jobs_pb2.Job.DESCRIPTOR, names, value)


def _set(place: dict[str, Any], kind: Descriptor | None, names: list[str], value: Any) -> None:
    name, *rest = names
    field = find_field(kind, name) if kind else None
    key = _key(place, name, field)
    if field is not None and field.containing_oneof is not None:
        for other in field.containing_oneof.fields:
            if other.name != field.name:
                place.pop(_key(place, other.name, other), None)
    if not rest:
        place[key] = value
        return
    inner = place.setdefault(key, {})
    if not isinstance(inner, dict):
        raise InvalidSpec(f"{name} holds no fields, so {'.'.join(rest)} cannot be set in it")
    _set(inner, field.message_type if field is not None else None, rest, value)


def _key(place: Mapping[str, Any], name: str, field: FieldDescriptor | None) -> str:
    """The spelling that the spec already uses: `perceptronRule` and `perceptron_rule` are one field."""
    spellings = [field.name, field.camelcase_name] if field is not None else []
    return next((spelling for spelling in spellings if spelling in place), name)


def _shape_weights(train: dict[str, Any]) -> None:
    """Turn given weights that are rows of numbers into tensors."""
    learn = train.get("learn")
    given = learn.get("given") if isinstance(learn, dict) else None
    weights = given.get("weights") if isinstance(given, dict) else None
    if isinstance(weights, dict):
        for name, values in weights.items():
            if not isinstance(values, dict):
                shape, flat = _flatten(values, f"job.train.learn.given.weights.{name}")
                weights[name] = {"shape": shape, "values": flat}


def _flatten(values: Any, path: str) -> tuple[list[int], list[Any]]:
    if not isinstance(values, Sequence) or isinstance(values, str):
        return [], [values]
    parts = [_flatten(item, path) for item in values]
    if any(shape != parts[0][0] for shape, _ in parts):
        raise InvalidSpec("rows of weights have different lengths", field=path)
    return [len(parts), *(parts[0][0] if parts else [])], [number for _, flat in parts for number in flat]


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} stands twice in one object")
    return found
