"""The comments of the contract, which protoc keeps in its descriptor set and Python's descriptors do not."""

from __future__ import annotations

import pathlib
from typing import TYPE_CHECKING

from google.protobuf import descriptor_pb2

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CONTRACT = pathlib.Path(__file__).parent / "v1" / "api.binpb"


def read_comments() -> dict[str, str]:
    """Comments by full name: `traind.v1.Job.name`, `traind.v1.JobService.GetJob`, `traind.v1.Job.State.QUEUED`.

    What is said above a file's package stands under the file's name: `traind/v1/losses.proto`.
    """
    files = descriptor_pb2.FileDescriptorSet.FromString(CONTRACT.read_bytes())
    found: dict[str, str] = {}
    for file in files.file:
        names = dict(_names(file))
        for place in file.source_code_info.location:
            name = names.get(tuple(place.path))
            if name and place.leading_comments:
                found[name] = _plain(place.leading_comments)
    return found


def _plain(comment: str) -> str:
    """One paragraph a line."""
    lines = [line.strip() for line in comment.strip().splitlines()]
    return "\n\n".join(" ".join(part.split("\n")) for part in "\n".join(lines).split("\n\n"))


# Numbers of fields in descriptor.proto, of which source code info makes its paths.
_FILE_PACKAGE, _FILE_MESSAGE, _FILE_ENUM, _FILE_SERVICE = 2, 4, 5, 6
_MESSAGE_FIELD, _MESSAGE_NESTED, _MESSAGE_ENUM = 2, 3, 4
_ENUM_VALUE = _SERVICE_METHOD = 2
Path = tuple[int, ...]


def _names(file: descriptor_pb2.FileDescriptorProto) -> Iterator[tuple[Path, str]]:
    yield (_FILE_PACKAGE,), file.name
    for i, message in enumerate(file.message_type):
        yield from _message((_FILE_MESSAGE, i), f"{file.package}.{message.name}", message)
    yield from _enums((_FILE_ENUM,), file.package, file.enum_type)
    for i, service in enumerate(file.service):
        name = f"{file.package}.{service.name}"
        yield (_FILE_SERVICE, i), name
        for j, method in enumerate(service.method):
            yield (_FILE_SERVICE, i, _SERVICE_METHOD, j), f"{name}.{method.name}"


def _message(path: Path, name: str, message: descriptor_pb2.DescriptorProto) -> Iterator[tuple[Path, str]]:
    yield path, name
    for i, field in enumerate(message.field):
        yield (*path, _MESSAGE_FIELD, i), f"{name}.{field.name}"
    for i, nested in enumerate(message.nested_type):
        yield from _message((*path, _MESSAGE_NESTED, i), f"{name}.{nested.name}", nested)
    yield from _enums((*path, _MESSAGE_ENUM), name, message.enum_type)


def _enums(path: Path, scope: str, enums: Sequence[descriptor_pb2.EnumDescriptorProto]) -> Iterator[tuple[Path, str]]:
    for i, enum in enumerate(enums):
        yield (*path, i), f"{scope}.{enum.name}"
        for j, value in enumerate(enum.value):
            yield (*path, i, _ENUM_VALUE, j), f"{scope}.{enum.name}.{value.name}"
