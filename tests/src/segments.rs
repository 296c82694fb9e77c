//! Segments made to measure, for tests that need to know times and durations.

use crate::kafka::Record;
use prost::Message;
use weir_proto::skywalking::{SegmentObject, SpanObject};

/// One request to a service: a segment with one entry span (`kind = 'server'`), status `error` if it failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The segment's id, which is the trace's too.
    pub id: String,
    /// The service.
    pub service: String,
    /// The operation.
    pub operation: String,
    /// When it ended, Unix milliseconds.
    pub end_ms: i64,
    /// How long it took.
    pub duration_ms: i64,
    /// Whether it failed.
    pub failed: bool,
}

impl Entry {
    /// The protobuf bytes, as an agent writes them to Kafka.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let span = SpanObject {
            span_id: 0,
            parent_span_id: -1,
            start_time: self.end_ms - self.duration_ms,
            end_time: self.end_ms,
            operation_name: self.operation.clone(),
            is_error: self.failed,
            ..SpanObject::default()
        };
        let segment = SegmentObject {
            trace_id: self.id.clone(),
            trace_segment_id: self.id.clone(),
            spans: vec![span],
            service: self.service.clone(),
            service_instance: format!("{}-1", self.service),
            ..SegmentObject::default()
        };
        segment.encode_to_vec()
    }

    /// A record of a segments topic, keyed as agents do.
    #[must_use]
    pub fn record(&self, topic: &str, partition: i32) -> Record {
        Record {
            topic: topic.to_owned(),
            partition,
            offset: 0,
            timestamp_ms: self.end_ms,
            key: Some(self.id.clone().into_bytes()),
            value: Some(self.encode()),
        }
    }
}
