//! The canonical form of a request, by its definition in `docs/data-model.md`, over prost's types.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{Metric, ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Status};
use prost::Message;

/// A missing value is like an empty one.
fn attributes(list: &mut [KeyValue]) {
    for pair in list {
        if pair.value.as_ref().is_some_and(|value| value.value.is_none()) {
            pair.value = None;
        }
    }
}

/// A missing message is like an empty one.
fn resource(resource: Option<Resource>) -> Option<Resource> {
    let mut resource = resource.unwrap_or_default();
    attributes(&mut resource.attributes);
    (resource != Resource::default()).then_some(resource)
}

fn scope(scope: Option<InstrumentationScope>) -> Option<InstrumentationScope> {
    let mut scope = scope.unwrap_or_default();
    attributes(&mut scope.attributes);
    (scope != InstrumentationScope::default()).then_some(scope)
}

/// Whether two messages are the same, floats that are no numbers included.
fn same<M: Message>(one: &M, other: &M) -> bool {
    one.encode_to_vec() == other.encode_to_vec()
}

fn same_about<M: Message>(one: &Option<M>, other: &Option<M>) -> bool {
    one.as_ref().map(Message::encode_to_vec) == other.as_ref().map(Message::encode_to_vec)
}

macro_rules! regroup {
    ($resources:expr, $Resource:ident, $scopes:ident, $Scope:ident, $items:ident, $push:expr) => {{
        let mut grouped: Vec<$Resource> = Vec::new();
        for frame in $resources {
            let about = resource(frame.resource);
            for inner in frame.$scopes {
                let inner_about = scope(inner.scope);
                for item in inner.$items {
                    let known = grouped.last().is_some_and(|last| {
                        same_about(&last.resource, &about) && last.schema_url == frame.schema_url
                    });
                    if !known {
                        grouped.push($Resource {
                            resource: about.clone(),
                            schema_url: frame.schema_url.clone(),
                            ..$Resource::default()
                        });
                    }
                    let last = grouped.last_mut().unwrap();
                    let known = last.$scopes.last().is_some_and(|last| {
                        same_about(&last.scope, &inner_about) && last.schema_url == inner.schema_url
                    });
                    if !known {
                        last.$scopes.push($Scope {
                            scope: inner_about.clone(),
                            schema_url: inner.schema_url.clone(),
                            ..$Scope::default()
                        });
                    }
                    $push(&mut last.$scopes.last_mut().unwrap().$items, item);
                }
            }
        }
        grouped
    }};
}

pub fn traces(request: ExportTraceServiceRequest) -> ExportTraceServiceRequest {
    let mut request = request;
    for frame in &mut request.resource_spans {
        for span in frame.scope_spans.iter_mut().flat_map(|scope| &mut scope.spans) {
            attributes(&mut span.attributes);
            span.events.iter_mut().for_each(|event| attributes(&mut event.attributes));
            span.links.iter_mut().for_each(|link| attributes(&mut link.attributes));
            span.status = span.status.take().filter(|status| *status != Status::default());
        }
    }
    let resource_spans = regroup!(
        request.resource_spans,
        ResourceSpans,
        scope_spans,
        ScopeSpans,
        spans,
        |list: &mut Vec<_>, span| list.push(span)
    );
    ExportTraceServiceRequest { resource_spans }
}

pub fn logs(request: ExportLogsServiceRequest) -> ExportLogsServiceRequest {
    let mut request = request;
    for frame in &mut request.resource_logs {
        for record in frame.scope_logs.iter_mut().flat_map(|scope| &mut scope.log_records) {
            attributes(&mut record.attributes);
            record.body = record.body.take().filter(|body| body.value.is_some());
        }
    }
    let resource_logs = regroup!(
        request.resource_logs,
        ResourceLogs,
        scope_logs,
        ScopeLogs,
        log_records,
        |list: &mut Vec<_>, record| list.push(record)
    );
    ExportLogsServiceRequest { resource_logs }
}

/// Calls `each` with the lists of points; only one of them is there.
macro_rules! of_points {
    ($data:expr, $points:ident => $each:expr) => {
        match $data {
            Data::Gauge(data) => {
                let $points = &mut data.data_points;
                $each
            }
            Data::Sum(data) => {
                let $points = &mut data.data_points;
                $each
            }
            Data::Histogram(data) => {
                let $points = &mut data.data_points;
                $each
            }
            Data::ExponentialHistogram(data) => {
                let $points = &mut data.data_points;
                $each
            }
            Data::Summary(data) => {
                let $points = &mut data.data_points;
                $each
            }
        }
    };
}

pub fn metrics(request: ExportMetricsServiceRequest) -> ExportMetricsServiceRequest {
    let mut request = request;
    for frame in &mut request.resource_metrics {
        for scope in &mut frame.scope_metrics {
            for metric in &mut scope.metrics {
                attributes(&mut metric.metadata);
                if let Some(data) = &mut metric.data {
                    of_points!(data, points => points.iter_mut().for_each(|p| attributes(&mut p.attributes)));
                    let exemplars: Vec<_> = match data {
                        Data::Gauge(data) => {
                            data.data_points.iter_mut().flat_map(|p| &mut p.exemplars).collect()
                        }
                        Data::Sum(data) => {
                            data.data_points.iter_mut().flat_map(|p| &mut p.exemplars).collect()
                        }
                        Data::Histogram(data) => {
                            data.data_points.iter_mut().flat_map(|p| &mut p.exemplars).collect()
                        }
                        Data::ExponentialHistogram(data) => {
                            for point in &mut data.data_points {
                                for buckets in [&mut point.positive, &mut point.negative] {
                                    *buckets = buckets.take().filter(|some| *some != Default::default());
                                }
                            }
                            data.data_points.iter_mut().flat_map(|p| &mut p.exemplars).collect()
                        }
                        Data::Summary(_) => Vec::new(),
                    };
                    exemplars.into_iter().for_each(|one| attributes(&mut one.filtered_attributes));
                }
            }
            // A metric without points has no row.
            scope.metrics.retain_mut(|metric| match &mut metric.data {
                Some(data) => of_points!(data, points => !points.is_empty()),
                None => false,
            });
        }
    }
    let resource_metrics = regroup!(
        request.resource_metrics,
        ResourceMetrics,
        scope_metrics,
        ScopeMetrics,
        metrics,
        push_metric
    );
    ExportMetricsServiceRequest { resource_metrics }
}

/// Neighbours that differ in nothing but their points are one metric.
fn push_metric(list: &mut Vec<Metric>, metric: Metric) {
    let frame_of = |metric: &Metric| {
        let mut frame = metric.clone();
        if let Some(data) = &mut frame.data {
            of_points!(data, points => points.clear());
        }
        frame
    };
    let frame = frame_of(&metric);
    match list.last_mut() {
        Some(last) if same(&frame_of(last), &frame) => match (&mut last.data, metric.data) {
            (Some(Data::Gauge(last)), Some(Data::Gauge(more))) => last.data_points.extend(more.data_points),
            (Some(Data::Sum(last)), Some(Data::Sum(more))) => last.data_points.extend(more.data_points),
            (Some(Data::Histogram(last)), Some(Data::Histogram(more))) => {
                last.data_points.extend(more.data_points);
            }
            (Some(Data::ExponentialHistogram(last)), Some(Data::ExponentialHistogram(more))) => {
                last.data_points.extend(more.data_points);
            }
            (Some(Data::Summary(last)), Some(Data::Summary(more))) => {
                last.data_points.extend(more.data_points);
            }
            _ => unreachable!("they are of one type"),
        },
        _ => list.push(metric),
    }
}
