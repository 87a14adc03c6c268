"""Who may set a field, as the contract marks it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from google.api import field_behavior_pb2  # type: ignore[import-untyped, unused-ignore]  # ships no stubs

if TYPE_CHECKING:
    from google.protobuf.descriptor import FieldDescriptor


def is_ignored(descriptor: FieldDescriptor) -> bool:
    """Whether a field of a request is cleared: only the server sets it."""
    behaviors = descriptor.GetOptions().Extensions[field_behavior_pb2.field_behavior]
    return field_behavior_pb2.OUTPUT_ONLY in behaviors or field_behavior_pb2.IDENTIFIER in behaviors


def is_required(descriptor: FieldDescriptor) -> bool:
    """Whether a request must have a field."""
    return field_behavior_pb2.REQUIRED in descriptor.GetOptions().Extensions[field_behavior_pb2.field_behavior]
