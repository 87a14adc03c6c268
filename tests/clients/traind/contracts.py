"""The contract of another version: what the next one might add, and what the last one did not have.

    python contracts.py newer|older SCRIPT      runs SCRIPT with the real client over the changed contract

Generated modules hand their file to the pool of descriptors as bytes; here the bytes are changed on their way, so that
messages, enums and the client's code above them are really those of another version.
"""

import runpy
import sys
from types import SimpleNamespace

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

NEW_FIELD = 500
NEW_VALUE = 99
_FIELD = descriptor_pb2.FieldDescriptorProto
# Message -> field that the next version adds to it.
NEW_FIELDS = {
    "traind/v1/jobs.proto": {"Job": "priority", "CreateJobRequest": "urgent"},
    "traind/v1/specs.proto": {"TrainSpec": "curriculum"},
    "traind/v1/server.proto": {"ServerInfo": "motto"},
    "traind/v1/datasets.proto": {"Dataset": "licence"},
    "traind/v1/models.proto": {"Model": "card"},
}
# Enum -> value that the next version adds to it.
NEW_VALUES = {
    "traind/v1/jobs.proto": {"Job.State": "SUSPENDED", "Failure.Reason": "POWER_CUT"},
    "traind/v1/tables.proto": {"Column.Type": "GEOMETRY", "Finding.Code": "TOO_GOOD"},
    "traind/v1/networks.proto": {"Network.Activation": "MISH"},
    "traind/v1/errors.proto": {"ErrorReason": "OUT_OF_LUCK"},
}
# What the last version did not have; nothing that the client itself speaks of, for then it would be no older client.
LATER_FIELDS = {
    "traind/v1/jobs.proto": {"Job": ["memory_bytes"]},
    "traind/v1/server.proto": {"ServerInfo": ["features", "workers", "slots", "time", "free_bytes"]},
}
LATER_VALUES = {
    "traind/v1/jobs.proto": {"Job.State": ["RUNNING"], "Failure.Reason": ["DIVERGED"]},
    "traind/v1/tables.proto": {"Column.Type": ["CATEGORY"], "Finding.Code": ["DIVERGED"]},
    "traind/v1/errors.proto": {"ErrorReason": ["OBJECTS_UNAVAILABLE", "RESOURCE_NOT_FOUND"]},
}


def newer(file):
    """Add a field to messages and a value to enums, and a kind of event."""
    for message, name in NEW_FIELDS.get(file.name, {}).items():
        _add_field(_message(file, message), name, _FIELD.TYPE_STRING)
    for enum, name in NEW_VALUES.get(file.name, {}).items():
        _enum(file, enum).value.add(name=name, number=NEW_VALUE)
    if file.name == "traind/v1/jobs.proto":
        event = _message(file, "JobEvent")
        added = _add_field(event, "rumour", _FIELD.TYPE_MESSAGE)
        added.type_name, added.oneof_index = ".traind.v1.LogLine", 0
        service = next(s for s in file.service if s.name == "JobService")
        method = service.method.add(name="HurryJob")
        method.input_type, method.output_type = ".traind.v1.GetJobRequest", ".traind.v1.Job"


def older(file):
    """Take fields and values away."""
    for message, names in LATER_FIELDS.get(file.name, {}).items():
        _drop(_message(file, message).field, names)
    for enum, names in LATER_VALUES.get(file.name, {}).items():
        _drop(_enum(file, enum).value, names)


CHANGES = {"newer": newer, "older": older}


def classes(change, *modules):
    """`classes(newer, jobs_pb2).get("traind.v1.Job")`: message classes over a changed copy of the contract."""
    pool, done = descriptor_pool.DescriptorPool(), set()

    def add(descriptor):
        if descriptor.name in done:
            return
        done.add(descriptor.name)
        for dependency in descriptor.dependencies:
            add(dependency)
        file = descriptor_pb2.FileDescriptorProto.FromString(descriptor.serialized_pb)
        change(file)
        pool.Add(file)

    for module in modules:
        add(module.DESCRIPTOR)
    return SimpleNamespace(get=lambda name: message_factory.GetMessageClass(pool.FindMessageTypeByName(name)))


def install(change):
    """Change every file of the contract that this process loads from now on."""
    real = descriptor_pool.Default

    class Changing:
        def AddSerializedFile(self, serialized):  # noqa: N802 - the pool's own name
            file = descriptor_pb2.FileDescriptorProto.FromString(serialized)
            if file.name.startswith("traind/"):
                change(file)
                serialized = file.SerializeToString()
            return real().AddSerializedFile(serialized)

        def __getattr__(self, name):
            return getattr(real(), name)

    descriptor_pool.Default = Changing


def _message(file, name):
    return next(message for message in file.message_type if message.name == name)


def _enum(file, path):
    *outer, name = path.split(".")
    enums = _message(file, outer[0]).enum_type if outer else file.enum_type
    return next(enum for enum in enums if enum.name == name)


def _add_field(message, name, kind):
    return message.field.add(name=name, json_name=name, number=NEW_FIELD, type=kind, label=_FIELD.LABEL_OPTIONAL)


def _drop(entries, names):
    kept = [entry for entry in entries if entry.name not in names]
    assert len(kept) == len(entries) - len(names), f"{names} are not all there"
    del entries[:]
    entries.extend(kept)


if __name__ == "__main__":
    install(CHANGES[sys.argv[1]])
    runpy.run_path(sys.argv[2], run_name="__main__")
