"""A collector of spans: a real HTTP server that takes OTLP and keeps what came."""

import gzip
import http.server
import threading


class Collector:
    """Keeps spans by name: each as its own message, with the attributes as a dict, and the service's name."""

    def __init__(self):
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
            ExportTraceServiceRequest,
            ExportTraceServiceResponse,
        )

        self.spans = []
        owner = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                assert self.path == "/v1/traces"
                owner.take(ExportTraceServiceRequest.FromString(body))
                answer = ExportTraceServiceResponse().SerializeToString()
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, *_):
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def take(self, request):
        for resource in request.resource_spans:
            told = _plain(resource.resource.attributes)
            for scope in resource.scope_spans:
                self.spans += [Span(span, told) for span in scope.spans]

    def named(self, name):
        return [span for span in self.spans if span.name == name]

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Span:
    """A span as it came."""

    def __init__(self, span, resource):
        self.name = span.name
        self.trace_id, self.parent_id = span.trace_id.hex(), span.parent_span_id.hex()
        self.seconds = (span.end_time_unix_nano - span.start_time_unix_nano) / 1e9
        self.attributes = _plain(span.attributes)
        self.links = [link.trace_id.hex() for link in span.links]
        # 2 = an error.
        self.status = span.status.code
        self.service = resource["service.name"]


def _plain(attributes):
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}
