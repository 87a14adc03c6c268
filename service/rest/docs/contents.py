"""What the page has a place for: services with their methods, messages with their enums, and the reasons of errors."""

from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.descriptor import Descriptor, EnumDescriptor, FileDescriptor

from service.rest.routes import Route
from traind.v1 import errors_pb2, model_files_pb2

_PACKAGE = "traind.v1."
# No method sends it: it stands in the files that ExportModel makes.
_FILED: Descriptor = model_files_pb2.DESCRIPTOR.message_types_by_name["ModelFile"]
REASONS: EnumDescriptor = errors_pb2.DESCRIPTOR.enum_types_by_name["ErrorReason"]


def short(descriptor: Descriptor | EnumDescriptor) -> str:
    """The name on the page, and its anchor: `Job`, `Job.State`."""
    return str(descriptor.full_name).removeprefix(_PACKAGE)


@dataclass(frozen=True)
class Operation:
    """A method and its routes over REST; the first one is the method's own."""

    routes: tuple[Route, ...]

    @property
    def full_name(self) -> str:
        """`traind.v1.JobService.GetJob`."""
        return self.routes[0].method.full_name

    @property
    def anchor(self) -> str:
        """`JobService.GetJob`."""
        return self.full_name.removeprefix(_PACKAGE)

    @property
    def name(self) -> str:
        """`GetJob`."""
        return self.full_name.rpartition(".")[2]

    @property
    def request(self) -> Descriptor:
        """The message that is asked with."""
        return self.routes[0].method.descriptor.input_type

    @property
    def answer(self) -> Descriptor:
        """The message that is answered."""
        return self.routes[0].method.descriptor.output_type


class Contents:
    """Everything in the order of the page."""

    def __init__(self, routes: Sequence[Route]) -> None:
        grouped: dict[str, list[Route]] = {}
        # Services of other packages are not this contract's.
        for route in routes:
            if route.method.full_name.startswith(_PACKAGE):
                grouped.setdefault(route.method.full_name, []).append(route)
        self.services: dict[str, list[Operation]] = {}
        for name, found in grouped.items():
            self.services.setdefault(name.split(".")[-2], []).append(Operation(tuple(found)))
        self.operations = [operation for group in self.services.values() for operation in group]
        asked = {operation.request.full_name for operation in self.operations}
        every: dict[str, Descriptor] = {}
        for operation in self.operations:
            _collect(operation.request, every)
            _collect(operation.answer, every)
        _collect(_FILED, every)
        # What is asked with stands beside its method.
        self.files: dict[FileDescriptor, list[Descriptor]] = {}
        for message in sorted(every.values(), key=_place):
            if message.full_name not in asked:
                self.files.setdefault(message.file, []).append(message)
        self._every = every

    def anchors(self) -> set[str]:
        """Every name that can be linked to."""
        found = {short(message) for message in self._every.values()} | {short(REASONS)}
        enums = [REASONS, *(enum for message in self._every.values() for enum in message.enum_types)]
        for enum in enums:
            found |= {short(enum)} | {f"{short(enum)}.{value.name}" for value in enum.values if value.number}
        for operation in self.operations:
            found |= {operation.anchor, operation.name}
        for message in self._every.values():
            found |= {f"{short(message)}.{field.name}" for field in message.fields}
        return found | set(self.services)


def _collect(descriptor: Descriptor, found: dict[str, Descriptor]) -> None:
    if descriptor.full_name in found or not descriptor.full_name.startswith(_PACKAGE):
        return
    # An entry of a map is no message that anybody names.
    if not descriptor.GetOptions().map_entry:
        found[descriptor.full_name] = descriptor
    for field in descriptor.fields:
        if field.message_type is not None:
            _collect(field.message_type, found)


def _place(descriptor: Descriptor) -> tuple[str, int]:
    return descriptor.file.name, list(descriptor.file.message_types_by_name).index(short(descriptor).split(".")[0])
