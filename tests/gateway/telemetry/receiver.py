"""An OTLP receiver on loopback: decodes what comes with OpenTelemetry's own protobuf classes, and answers as told."""

import base64
import json
import re
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


def decoded(body: bytes) -> ExportTraceServiceRequest:
    """The request; fails on any name or type that OTLP does not have. Its JSON has ids in hex, protobuf's in base64."""
    told = json.loads(body)
    for resource in told["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                for name, digits in (("traceId", 32), ("spanId", 16), ("parentSpanId", 16)):
                    if name in span:
                        assert re.fullmatch(f"[0-9a-f]{{{digits}}}", span[name]), (name, span[name])
                        span[name] = base64.b64encode(bytes.fromhex(span[name])).decode()
                for name in ("startTimeUnixNano", "endTimeUnixNano"):
                    assert isinstance(span[name], str) and span[name].isdigit()
    return json_format.ParseDict(told, ExportTraceServiceRequest())


def plain(value):
    """An AnyValue as Python's own."""
    kind = value.WhichOneof("value")
    held = getattr(value, kind)
    return [plain(item) for item in held.values] if kind == "array_value" else held


def named(attributes):
    found = {each.key: plain(each.value) for each in attributes}
    assert len(found) == len(attributes), "a key comes twice"
    return found


class Quiet(ThreadingHTTPServer):
    """A client that gave up waiting is none of the test's business."""

    def handle_error(self, request, client_address):
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Receiver:
    """`answers` are (status, headers, body), used up one by one; then 200. `hold_s` delays every answer."""

    def __init__(self):
        self.answers = []
        self.hold_s = 0.0
        self.requests = []
        self.seen = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.seen.append((time.monotonic(), self.path, dict(self.headers.items())))
                status, headers, content = receiver.answers.pop(0) if receiver.answers else (200, {}, b"{}")
                time.sleep(receiver.hold_s)
                if status == 200:
                    receiver.requests.append(decoded(body))
                self.send_response(status)
                for name, held in headers.items():
                    self.send_header(name, held)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self._server = Quiet(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def spans(self):
        return [
            span for request in self.requests for r in request.resource_spans for s in r.scope_spans for span in s.spans
        ]

    def wait(self, count=1):
        """The spans, once there are so many."""
        until(lambda: len(self.spans) >= count)
        return self.spans


def until(true):
    give_up = time.monotonic() + 20
    while not (found := true()):
        assert time.monotonic() < give_up, "it never came true"
        time.sleep(0.02)
    return found
