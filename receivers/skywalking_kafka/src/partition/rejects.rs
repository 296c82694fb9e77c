//! Records that no retry can save: counted, logged at a limited rate, and kept as dead letters.

use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use weir_component::{Context, LogLimit, Rejects};
use weir_pdata::Encoded;

use crate::metrics::Metrics;

/// Where the records of one topic are rejected.
pub(crate) struct TopicRejects {
    context: Context,
    topic: Arc<str>,
    metrics: Metrics,
    log: LogLimit,
    escapes: LogLimit,
}

/// Where the records of one partition are rejected.
pub(crate) struct PartitionRejects {
    topic: Arc<TopicRejects>,
    partition: i32,
    /// Records before this offset have been rejected by an earlier owner.
    read: i64,
    /// The batch that went down the lane last. Offsets may have holes, so that they cannot be counted from
    /// the first.
    last: Mutex<Last>,
}

#[derive(Default)]
struct Last {
    /// Address of the batch's arena, which is what identifies it.
    arena: usize,
    offsets: Vec<i64>,
}

impl TopicRejects {
    pub(crate) fn new(context: Context, topic: Arc<str>, metrics: Metrics) -> TopicRejects {
        let (log, escapes) = (LogLimit::every_ms(10_000), LogLimit::every_ms(10_000));
        TopicRejects { context, topic, metrics, log, escapes }
    }

    fn reject(&self, partition: i32, offset: i64, record: &[u8], reason: &str) {
        self.metrics.of_records.rejected.inc();
        let fields = Map::from_iter([
            ("topic".to_owned(), Value::from(&*self.topic)),
            ("partition".to_owned(), Value::from(partition)),
            ("offset".to_owned(), Value::from(offset)),
            ("data".to_owned(), Value::from(STANDARD.encode(record))),
        ]);
        self.context.dead_letters.write(&self.context.id, reason, fields);
        if let Some(suppressed) = self.log.allow(self.context.clock.now_ms()) {
            let (receiver, topic) = (&self.context.id, &self.topic);
            tracing::warn!(
                %receiver, %topic, partition, offset, reason, suppressed,
                "a record was rejected; it is kept in the dead letters"
            );
        }
    }
}

impl PartitionRejects {
    /// `read`: an earlier owner has read everything before this offset.
    pub(crate) fn new(topic: Arc<TopicRejects>, partition: i32, read: i64) -> PartitionRejects {
        PartitionRejects { topic, partition, read, last: Mutex::default() }
    }

    /// A record that never gets as far as the lane.
    pub(crate) fn reject_record(&self, offset: i64, record: &[u8], reason: &str) {
        if offset >= self.read {
            self.topic.reject(self.partition, offset, record, reason);
        }
    }

    /// This batch goes down the lane now; its records have these offsets.
    pub(crate) fn sending(&self, encoded: &Encoded, offsets: Vec<i64>) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Last { arena: address(encoded), offsets };
    }

    fn offset(&self, encoded: &Encoded, index: usize) -> Option<i64> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.arena == address(encoded) { last.offsets.get(index).copied() } else { None }
    }
}

fn address(encoded: &Encoded) -> usize {
    encoded.arena.as_ptr().addr()
}

impl Rejects for PartitionRejects {
    fn reject(&self, encoded: &Encoded, index: usize, position: i64, reason: &str) {
        let offset = self.offset(encoded, index).unwrap_or(position);
        self.reject_record(offset, encoded.record(index).unwrap_or_default(), reason);
    }

    fn escaped(&self, encoded: &Encoded, index: usize, position: i64, key: &str) {
        let of_topic = &self.topic;
        of_topic.metrics.of_records.escaped.inc();
        if let Some(suppressed) = of_topic.escapes.allow(of_topic.context.clock.now_ms()) {
            let (receiver, topic, partition) = (&of_topic.context.id, &of_topic.topic, self.partition);
            let offset = self.offset(encoded, index).unwrap_or(position);
            tracing::warn!(
                %receiver, %topic, partition, offset, key, suppressed,
                "a text is not UTF-8: it is stored with the bytes in question escaped (\\xHH)"
            );
        }
    }

    fn empty(&self, count: usize) {
        self.topic.metrics.of_records.empty.inc_by(count as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_component::testkit;
    use weir_pdata::Format;

    #[test]
    fn a_rejected_record_is_counted_and_kept_with_its_own_offset() {
        let directory = tempfile::tempdir().unwrap();
        let context = testkit::context("skywalking_kafka", directory.path());
        let metrics = Metrics::new(&context.telemetry, "skywalking_kafka");
        let topic = Arc::new(TopicRejects::new(context.clone(), "segments".into(), metrics));
        let rejects = PartitionRejects::new(topic.clone(), 3, 7);
        let encoded = Encoded::concat(Format::SkyWalkingSegment, [&b"good"[..], b"bad"]).unwrap();
        rejects.sending(&encoded, vec![7, 12]);
        rejects.reject(&encoded, 1, 8, "not a segment");
        rejects.reject(&encoded, 9, 8, "an index that the batch does not have");
        let text = std::fs::read_to_string(directory.path().join("skywalking_kafka.jsonl")).unwrap();
        let letters: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(letters[0]["topic"], "segments");
        assert_eq!(letters[0]["partition"], 3);
        assert_eq!(letters[0]["offset"], 12, "offsets have holes");
        assert_eq!(letters[0]["data"], STANDARD.encode("bad"));
        assert_eq!(letters[0]["reason"], "not a segment");
        assert_eq!(letters[1]["data"], "");
        let metrics = context.telemetry.encode();
        assert!(
            metrics.contains("weir_receiver_rejected_records_total{receiver=\"skywalking_kafka\"} 2"),
            "{metrics}"
        );
        let read = PartitionRejects::new(topic, 3, 13);
        read.sending(&encoded, vec![7, 12]);
        read.reject(&encoded, 1, 8, "not a segment");
        assert_eq!(std::fs::read_to_string(directory.path().join("skywalking_kafka.jsonl")).unwrap(), text);
        rejects.escaped(&encoded, 0, 7, "db.statement");
        let metrics = context.telemetry.encode();
        assert!(
            metrics.contains("weir_receiver_escaped_texts_total{receiver=\"skywalking_kafka\"} 1"),
            "{metrics}"
        );
    }
}
