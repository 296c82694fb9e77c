"""One line of JSON for each span, log record and data point of an OTLP request, with all that stands above it.

By the message types of `opentelemetry-proto`: an independent reading of what Weir sends.
"""

import json

from google.protobuf.json_format import MessageToDict

# Where the points of each type of metric are.
_TYPES = ("gauge", "sum", "histogram", "exponential_histogram", "summary")


def lines(request):
    """The items of an `Export…ServiceRequest`, in order."""
    for field in ("resource_spans", "resource_logs", "resource_metrics"):
        for resource in getattr(request, field, ()):
            yield from _of_resource(resource)


def _of_resource(resource):
    above = {"resource": MessageToDict(resource.resource), "resource_schema": resource.schema_url}
    for field in ("scope_spans", "scope_logs", "scope_metrics"):
        for scope in getattr(resource, field, ()):
            below = above | {"scope": MessageToDict(scope.scope), "scope_schema": scope.schema_url}
            for span in getattr(scope, "spans", ()):
                yield _line(below, "span", span)
            for record in getattr(scope, "log_records", ()):
                yield _line(below, "record", record)
            for metric in getattr(scope, "metrics", ()):
                yield from _of_metric(below, metric)


def _of_metric(above, metric):
    kind = metric.WhichOneof("data")
    points = list(getattr(metric, kind).data_points)
    frame = type(metric)()
    frame.CopyFrom(metric)
    getattr(frame, kind).ClearField("data_points")
    assert kind in _TYPES, kind
    for point in points:
        yield _line(above | {"metric": MessageToDict(frame)}, "point", point)


def _line(above, name, item):
    fields = MessageToDict(item)
    # A message without content is the same as none (docs/data-model.md).
    for name_of_message in ("status", "positive", "negative"):
        if fields.get(name_of_message) == {}:
            del fields[name_of_message]
    return json.dumps(above | {name: fields}, sort_keys=True)
