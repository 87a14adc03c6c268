"""A client that knows nothing but the descriptors of a release, as a program that was built with it does."""

import base64

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory


def descriptors(data):
    """The descriptor set of a file api.binpb."""
    return descriptor_pb2.FileDescriptorSet.FromString(data)


class OldClient:
    """Calls by (service, method, proto3 JSON); answers are messages of the release."""

    def __init__(self, data, address, token):
        self._pool = _pool(descriptors(data))
        self._channel = grpc.insecure_channel(address.removeprefix("grpc://"))
        self._metadata = [("authorization", f"Bearer {token}")]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._channel.close()

    def call(self, service, method, request):
        made, kinds = self._request(service, method, request)
        return self._channel.unary_unary(f"/traind.v1.{service}/{method}", **kinds)(
            made, metadata=self._metadata, timeout=30
        )

    def send(self, service, method, *requests):
        """A call of several messages."""
        made = [self._request(service, method, request) for request in requests]
        stub = self._channel.stream_unary(f"/traind.v1.{service}/{method}", **made[0][1])
        return stub(iter([message for message, _ in made]), metadata=self._metadata, timeout=30)

    def stream(self, service, method, request):
        """Every answer of a call that answers more than once."""
        made, kinds = self._request(service, method, request)
        return list(
            self._channel.unary_stream(f"/traind.v1.{service}/{method}", **kinds)(
                made, metadata=self._metadata, timeout=60
            )
        )

    def message(self, name, data=b""):
        """A message of the release out of its bytes."""
        return message_factory.GetMessageClass(self._pool.FindMessageTypeByName(f"traind.v1.{name}")).FromString(data)

    def number(self, enum, name):
        """What the release calls `name` on the wire."""
        return self._pool.FindEnumTypeByName(f"traind.v1.{enum}").values_by_name[name].number

    def _request(self, service, method, request):
        rpc = self._pool.FindServiceByName(f"traind.v1.{service}").FindMethodByName(method)
        asks, answers = (message_factory.GetMessageClass(kind) for kind in (rpc.input_type, rpc.output_type))
        kinds = {"request_serializer": asks.SerializeToString, "response_deserializer": answers.FromString}
        return json_format.ParseDict(request, asks()), kinds


def encoded(data):
    """Bytes as proto3 JSON has them."""
    return base64.b64encode(data).decode()


def _pool(found):
    """The release's files; those of other projects that they import are no part of it."""
    pool, ours = descriptor_pool.DescriptorPool(), {file.name: file for file in found.file}
    added = set()

    def add(name):
        if name in added:
            return
        added.add(name)
        file = ours.get(name) or descriptor_pb2.FileDescriptorProto.FromString(
            descriptor_pool.Default().FindFileByName(name).serialized_pb
        )
        for dependency in file.dependency:
            add(dependency)
        pool.Add(file)

    for name in ours:
        add(name)
    return pool
