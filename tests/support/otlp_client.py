"""Sends spans, logs and metrics with OpenTelemetry's SDK: `otlp_client.py grpc|http ADDRESS COUNT`.

Writes each item that was sent as a line (`otlp_items`), after the SDK has been told that all of them arrived.
"""

import importlib
import logging
import sys

import otlp_items

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common._log_encoder import encode_logs
from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk._logs import LoggerProvider, LoggingHandler
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

way, address, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
sent = []


def exporter(kind, name, path, encode, results):
    """The SDK's exporter of a signal; what it sends is kept."""
    module = importlib.import_module(f"opentelemetry.exporter.otlp.proto.{way}.{kind}")
    if way == "grpc":
        made = getattr(module, name)(endpoint=address, insecure=True)
    else:
        made = getattr(module, name)(endpoint=address + path)
    export = made.export

    def recording(items, *more, **named):
        result = export(items, *more, **named)
        if "SUCCESS" not in str(result):
            sys.exit(f"{kind}: {result}")
        sent.extend(otlp_items.lines(encode(items)))
        return result

    made.export = recording
    return made


resource = Resource.create({
    "service.name": "shop", "service.instance.id": "shop-1", "host.cpus": 8, "ratio": 0.5, "on": True,
    "zones": ["a", "b"], "numbers": [1, 2, 3], "leer": "",
}, schema_url="https://opentelemetry.io/schemas/1.30.0")

spans = TracerProvider(resource=resource)
spans.add_span_processor(BatchSpanProcessor(exporter("trace_exporter", "OTLPSpanExporter", "/v1/traces", encode_spans, None)))
tracer = spans.get_tracer("shop.tracer", "1.2.3", "https://example/scope", {"scope.attribute": "x"})
for number in range(count):
    with tracer.start_as_current_span(f"GET /{number}", kind=trace.SpanKind.SERVER, attributes={"n": number, "list": ["x", "y"]}) as outer:
        link = trace.Link(outer.get_span_context(), {"why": "link", "size": 2.5})
        with tracer.start_as_current_span("query", kind=trace.SpanKind.CLIENT, links=[link]) as inner:
            inner.add_event("rows", {"count": number, "ok": True})
            inner.set_status(trace.Status(trace.StatusCode.ERROR, "größer"))
        outer.set_status(trace.Status(trace.StatusCode.OK))

logs = LoggerProvider(resource=resource)
logs.add_log_record_processor(BatchLogRecordProcessor(exporter("_log_exporter", "OTLPLogExporter", "/v1/logs", encode_logs, None)))
logger = logging.getLogger("shop")
logger.addHandler(LoggingHandler(logger_provider=logs))
logger.setLevel(logging.INFO)
for number in range(count):
    with tracer.start_as_current_span("logging"):
        logger.warning("order %s – größer", number, extra={"order": number, "flag": True, "price": 1.25})

reader = PeriodicExportingMetricReader(
    exporter("metric_exporter", "OTLPMetricExporter", "/v1/metrics", encode_metrics, None), export_interval_millis=3_600_000)
view = View(instrument_name="sizes", aggregation=ExponentialBucketHistogramAggregation())
meters = MeterProvider([reader], resource=resource, views=[view])
meter = meters.get_meter("shop.meter", "3.2.1", "https://example/scope", {"a": 1})
orders, stock = meter.create_counter("orders", "1", "orders that came"), meter.create_up_down_counter("stock")
seconds, sizes = meter.create_histogram("seconds", "s"), meter.create_histogram("sizes", "By")
gauge = meter.create_gauge("temperature", "Cel")
for number in range(count):
    orders.add(1, {"shop": "b", "n": number % 3})
    stock.add(-1 if number % 2 else 2.5)
    seconds.record(number / 10, {"shop": "b"})
    sizes.record(number * 1000)
    gauge.set(20.5, {"room": number % 2})

for provider in (spans, logs, meters):
    provider.force_flush()
    provider.shutdown()
print("\n".join(sent))
