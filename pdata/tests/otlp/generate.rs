//! Requests of any content, made of bytes: shorter bytes make smaller requests.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar,
    number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};

/// What decides about a request.
pub struct Source<'a>(pub &'a [u8]);

impl Source<'_> {
    fn byte(&mut self) -> u8 {
        let [first, rest @ ..] = self.0 else { return 0 };
        self.0 = rest;
        *first
    }

    fn below(&mut self, end: u8) -> u8 {
        self.byte() % end
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(2) == 1).then(|| make(self))
    }

    fn list<T>(&mut self, end: u8, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(end)).map(|_| make(self)).collect()
    }

    fn int32(&mut self) -> i32 {
        [0, 0, 1, 2, 3, 4, 5, 6, 7, -1, i32::MAX, i32::MIN][usize::from(self.below(12))]
    }

    fn int64(&mut self) -> i64 {
        let small = i64::from(self.byte());
        [0, small, 200 * small, -small, i64::MAX, i64::MIN][usize::from(self.below(6))]
    }

    fn uint32(&mut self) -> u32 {
        [0, 0, 0, 1, 300, u32::MAX][usize::from(self.below(6))]
    }

    fn count(&mut self) -> u64 {
        [0, 1, 129, u64::MAX][usize::from(self.below(4))]
    }

    fn time(&mut self) -> u64 {
        let near = 1_749_088_705_000_000_000 + u64::from(self.byte());
        [0, 1, near, near, i64::MAX as u64][usize::from(self.below(5))]
    }

    fn float(&mut self) -> f64 {
        let floats = [0.0, 1.0, -0.5, 1e300, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0];
        floats[usize::from(self.below(8))]
    }

    fn id(&mut self, usual: usize) -> Vec<u8> {
        let len = [usual, usual, usual, 0, 1, 20][usize::from(self.below(6))];
        let byte = self.below(3);
        (0..len).map(|at| byte.wrapping_mul(77).wrapping_add(at as u8)).collect()
    }

    fn text(&mut self) -> String {
        let texts = ["", "a", "b", "text", "ä\"\\\n", "a text of more than twelve bytes", "127.0.0.1", "5"];
        let text = texts[usize::from(self.below(8))];
        if self.byte() == 255 { text.repeat(300) } else { text.to_owned() }
    }

    fn value(&mut self, depth: u8) -> AnyValue {
        let value = match self.below(if depth > 3 { 6 } else { 8 }) {
            0 => return AnyValue::default(),
            1 => Value::StringValue(self.text()),
            2 => Value::BoolValue(self.byte() > 127),
            3 => Value::IntValue(self.int64()),
            4 => Value::DoubleValue(self.float()),
            5 => Value::BytesValue(self.id(13)),
            6 => Value::ArrayValue(ArrayValue { values: self.list(4, |source| source.value(depth + 1)) }),
            _ => Value::KvlistValue(KeyValueList { values: self.list(4, |source| source.pair(depth + 1)) }),
        };
        AnyValue { value: Some(value) }
    }

    fn pair(&mut self, depth: u8) -> KeyValue {
        let keys = [
            "",
            "a",
            "b",
            "http.method",
            "service.name",
            "service.instance.id",
            "server.address",
            "server.port",
            "peer.service",
            "resource.a",
            "name",
            "schlüssel",
        ];
        let key = keys[usize::from(self.below(12))].to_owned();
        KeyValue { key, value: self.maybe(|source| source.value(depth)), ..KeyValue::default() }
    }

    fn attributes(&mut self) -> Vec<KeyValue> {
        self.list(6, |source| source.pair(0))
    }

    fn resource(&mut self) -> Resource {
        Resource {
            attributes: self.attributes(),
            dropped_attributes_count: self.uint32(),
            entity_refs: self.list(2, |source| EntityRef {
                schema_url: source.text(),
                r#type: source.text(),
                id_keys: source.list(3, Source::text),
                description_keys: source.list(3, Source::text),
            }),
        }
    }

    fn scope(&mut self) -> InstrumentationScope {
        InstrumentationScope {
            name: self.text(),
            version: self.text(),
            attributes: self.attributes(),
            dropped_attributes_count: self.uint32(),
        }
    }

    /// Twice the same, now and then: neighbours that are equal become one.
    fn frames<T: Clone>(&mut self, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let mut frames = Vec::new();
        for _ in 0..self.below(4) {
            let frame = make(self);
            if self.below(4) == 1 {
                frames.push(frame.clone());
            }
            frames.push(frame);
        }
        frames
    }

    pub fn traces(&mut self) -> ExportTraceServiceRequest {
        let resource_spans = self.frames(|source| ResourceSpans {
            resource: source.maybe(Source::resource),
            scope_spans: source.frames(|source| ScopeSpans {
                scope: source.maybe(Source::scope),
                spans: source.list(4, Source::span),
                schema_url: source.text(),
            }),
            schema_url: source.text(),
        });
        ExportTraceServiceRequest { resource_spans }
    }

    fn span(&mut self) -> Span {
        Span {
            trace_id: self.id(16),
            span_id: self.id(8),
            trace_state: self.text(),
            parent_span_id: self.id(8),
            flags: self.uint32(),
            name: self.text(),
            kind: self.int32(),
            start_time_unix_nano: self.time(),
            end_time_unix_nano: self.time(),
            attributes: self.attributes(),
            dropped_attributes_count: self.uint32(),
            events: self.list(3, |source| Event {
                time_unix_nano: source.time(),
                name: source.text(),
                attributes: source.attributes(),
                dropped_attributes_count: source.uint32(),
            }),
            dropped_events_count: self.uint32(),
            links: self.list(3, |source| Link {
                trace_id: source.id(16),
                span_id: source.id(8),
                trace_state: source.text(),
                attributes: source.attributes(),
                dropped_attributes_count: source.uint32(),
                flags: source.uint32(),
            }),
            dropped_links_count: self.uint32(),
            status: self.maybe(|source| Status { message: source.text(), code: source.int32() }),
        }
    }

    pub fn logs(&mut self) -> ExportLogsServiceRequest {
        let resource_logs = self.frames(|source| ResourceLogs {
            resource: source.maybe(Source::resource),
            scope_logs: source.frames(|source| ScopeLogs {
                scope: source.maybe(Source::scope),
                log_records: source.list(4, |source| LogRecord {
                    time_unix_nano: source.time(),
                    observed_time_unix_nano: source.time(),
                    severity_number: source.int32(),
                    severity_text: source.text(),
                    body: source.maybe(|source| source.value(0)),
                    attributes: source.attributes(),
                    dropped_attributes_count: source.uint32(),
                    flags: source.uint32(),
                    trace_id: source.id(16),
                    span_id: source.id(8),
                    event_name: source.text(),
                }),
                schema_url: source.text(),
            }),
            schema_url: source.text(),
        });
        ExportLogsServiceRequest { resource_logs }
    }

    pub fn metrics(&mut self) -> ExportMetricsServiceRequest {
        let resource_metrics = self.frames(|source| ResourceMetrics {
            resource: source.maybe(Source::resource),
            scope_metrics: source.frames(|source| ScopeMetrics {
                scope: source.maybe(Source::scope),
                metrics: source.frames(|source| Metric {
                    name: source.text(),
                    description: source.text(),
                    unit: source.text(),
                    metadata: source.attributes(),
                    data: source.maybe(Source::data),
                }),
                schema_url: source.text(),
            }),
            schema_url: source.text(),
        });
        ExportMetricsServiceRequest { resource_metrics }
    }

    fn data(&mut self) -> Data {
        match self.below(5) {
            0 => Data::Gauge(Gauge { data_points: self.list(4, Source::number) }),
            1 => Data::Sum(Sum {
                data_points: self.list(4, Source::number),
                aggregation_temporality: self.int32(),
                is_monotonic: self.byte() > 127,
            }),
            2 => Data::Histogram(Histogram {
                data_points: self.list(4, Source::histogram),
                aggregation_temporality: self.int32(),
            }),
            3 => Data::ExponentialHistogram(ExponentialHistogram {
                data_points: self.list(4, Source::exponential),
                aggregation_temporality: self.int32(),
            }),
            _ => Data::Summary(Summary { data_points: self.list(4, Source::summary) }),
        }
    }

    fn number(&mut self) -> NumberDataPoint {
        NumberDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano: self.time(),
            time_unix_nano: self.time(),
            exemplars: self.list(3, Source::exemplar),
            flags: self.uint32(),
            value: match self.below(3) {
                0 => None,
                1 => Some(number_data_point::Value::AsDouble(self.float())),
                _ => Some(number_data_point::Value::AsInt(self.int64())),
            },
        }
    }

    fn histogram(&mut self) -> HistogramDataPoint {
        HistogramDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano: self.time(),
            time_unix_nano: self.time(),
            count: self.count(),
            sum: self.maybe(Source::float),
            bucket_counts: self.list(4, Source::count),
            explicit_bounds: self.list(4, Source::float),
            exemplars: self.list(3, Source::exemplar),
            flags: self.uint32(),
            min: self.maybe(Source::float),
            max: self.maybe(Source::float),
        }
    }

    fn exponential(&mut self) -> ExponentialHistogramDataPoint {
        let buckets = |source: &mut Self| Buckets {
            offset: source.int32(),
            bucket_counts: source.list(4, Source::count),
        };
        ExponentialHistogramDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano: self.time(),
            time_unix_nano: self.time(),
            count: self.count(),
            sum: self.maybe(Source::float),
            scale: self.int32(),
            zero_count: self.count(),
            positive: self.maybe(buckets),
            negative: self.maybe(buckets),
            flags: self.uint32(),
            exemplars: self.list(3, Source::exemplar),
            min: self.maybe(Source::float),
            max: self.maybe(Source::float),
            zero_threshold: self.float(),
        }
    }

    fn summary(&mut self) -> SummaryDataPoint {
        SummaryDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano: self.time(),
            time_unix_nano: self.time(),
            count: self.count(),
            sum: self.float(),
            quantile_values: self
                .list(4, |source| ValueAtQuantile { quantile: source.float(), value: source.float() }),
            flags: self.uint32(),
        }
    }

    fn exemplar(&mut self) -> Exemplar {
        Exemplar {
            filtered_attributes: self.attributes(),
            time_unix_nano: self.time(),
            span_id: self.id(8),
            trace_id: self.id(16),
            value: match self.below(3) {
                0 => None,
                1 => Some(exemplar::Value::AsDouble(self.float())),
                _ => Some(exemplar::Value::AsInt(self.int64())),
            },
        }
    }
}
