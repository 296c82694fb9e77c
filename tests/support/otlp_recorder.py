"""An OTLP server, gRPC and HTTP, that writes each item that it gets as a line (`otlp_items`) into a file.

Announces `grpc` and `http` (addresses) and `items` (the file).
"""

import concurrent.futures
import gzip
import http.server
import os
import tempfile
import threading

import lifetime
import otlp_items

import grpc
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2, logs_service_pb2_grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

REQUESTS = {
    "/v1/traces": trace_service_pb2.ExportTraceServiceRequest,
    "/v1/logs": logs_service_pb2.ExportLogsServiceRequest,
    "/v1/metrics": metrics_service_pb2.ExportMetricsServiceRequest,
}


def main():
    with tempfile.TemporaryDirectory(prefix="otlp-") as folder:
        path = os.path.join(folder, "items.jsonl")
        lock, file = threading.Lock(), open(path, "a", encoding="utf-8")

        def record(request):
            with lock:
                file.writelines(line + "\n" for line in otlp_items.lines(request))
                file.flush()

        server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))

        def servicer(base, response):
            class Recording(base):
                def Export(self, request, context):
                    record(request)
                    return response()

            return Recording()

        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(
            servicer(trace_service_pb2_grpc.TraceServiceServicer, trace_service_pb2.ExportTraceServiceResponse), server)
        logs_service_pb2_grpc.add_LogsServiceServicer_to_server(
            servicer(logs_service_pb2_grpc.LogsServiceServicer, logs_service_pb2.ExportLogsServiceResponse), server)
        metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(
            servicer(metrics_service_pb2_grpc.MetricsServiceServicer, metrics_service_pb2.ExportMetricsServiceResponse), server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                record(REQUESTS[self.path].FromString(body))
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        over_http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=over_http.serve_forever, daemon=True).start()
        lifetime.announce(grpc=f"http://127.0.0.1:{port}", http=f"http://127.0.0.1:{over_http.server_port}", items=path)
        lifetime.wait_for_end()
        server.stop(None)


main()
