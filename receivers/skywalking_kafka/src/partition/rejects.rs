//! Records that no retry can save: counted, logged at a limited rate, and kept as dead letters.

use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use weir_component::{Context, LogLimit, Rejects};
use weir_pdata::Encoded;

use crate::metrics::Metrics;
use crate::partition::batching::Keys;

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
    records: SentRecords,
}

/// The records of a batch, as far as their bytes do not say it.
#[derive(Default)]
pub(crate) struct SentRecords {
    pub(crate) offsets: Vec<i64>,
    /// 0 where a record has none.
    pub(crate) times: Vec<i64>,
    pub(crate) keys: Keys,
}

/// A record that is rejected.
pub(crate) struct RejectedRecord<'a> {
    pub(crate) offset: i64,
    /// In milliseconds since 1970.
    pub(crate) time: Option<i64>,
    /// Empty when it has none.
    pub(crate) key: &'a [u8],
    pub(crate) record: &'a [u8],
}

impl TopicRejects {
    pub(crate) fn new(context: Context, topic: Arc<str>, metrics: Metrics) -> TopicRejects {
        let (log, escapes) = (LogLimit::every_ms(10_000), LogLimit::every_ms(10_000));
        TopicRejects { context, topic, metrics, log, escapes }
    }

    fn reject(&self, partition: i32, rejected: &RejectedRecord<'_>, reason: &str) {
        self.metrics.of_records.rejected.inc();
        let RejectedRecord { offset, time, key, record } = *rejected;
        let mut fields = Map::from_iter([
            ("topic".to_owned(), Value::from(&*self.topic)),
            ("partition".to_owned(), Value::from(partition)),
            ("offset".to_owned(), Value::from(offset)),
            ("data".to_owned(), Value::from(STANDARD.encode(record))),
        ]);
        // The key says what some records are, and the time when others happened.
        if !key.is_empty() {
            fields.insert("key".to_owned(), Value::from(STANDARD.encode(key)));
        }
        fields.extend(time.map(|time| ("timestamp".to_owned(), Value::from(time))));
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
    pub(crate) fn reject_record(&self, rejected: &RejectedRecord<'_>, reason: &str) {
        if rejected.offset >= self.read {
            self.topic.reject(self.partition, rejected, reason);
        }
    }

    /// This batch of these records goes down the lane now.
    pub(crate) fn sending(&self, encoded: &Encoded, records: SentRecords) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Last { arena: address(encoded), records };
    }

    fn offset(&self, encoded: &Encoded, index: usize) -> Option<i64> {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.arena == address(encoded) { last.records.offsets.get(index).copied() } else { None }
    }
}

fn address(encoded: &Encoded) -> usize {
    encoded.arena.as_ptr().addr()
}

impl Rejects for PartitionRejects {
    fn reject(&self, encoded: &Encoded, index: usize, position: i64, reason: &str) {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let sent = Some(&last.records).filter(|_| last.arena == address(encoded));
        let known = |of: fn(&SentRecords) -> &[i64]| sent.and_then(|sent| of(sent).get(index)).copied();
        let rejected = RejectedRecord {
            offset: known(|sent| &sent.offsets).unwrap_or(position),
            time: known(|sent| &sent.times).filter(|time| *time > 0),
            key: sent.and_then(|sent| sent.keys.get(index)).unwrap_or_default(),
            record: encoded.record(index).unwrap_or_default(),
        };
        self.reject_record(&rejected, reason);
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
        let sent = || {
            let mut keys = Keys::default();
            [&b""[..], b"register-a@b"].into_iter().for_each(|key| keys.push(key));
            SentRecords { offsets: vec![7, 12], times: vec![0, 1_700_000_000_123], keys }
        };
        rejects.sending(&encoded, sent());
        rejects.reject(&encoded, 1, 8, "not a segment");
        rejects.reject(&encoded, 9, 8, "an index that the batch does not have");
        let text = std::fs::read_to_string(directory.path().join("skywalking_kafka.jsonl")).unwrap();
        let letters: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(letters[0]["topic"], "segments");
        assert_eq!(letters[0]["partition"], 3);
        assert_eq!(letters[0]["offset"], 12, "offsets have holes");
        assert_eq!(letters[0]["data"], STANDARD.encode("bad"));
        assert_eq!(letters[0]["reason"], "not a segment");
        assert_eq!(letters[0]["key"], STANDARD.encode("register-a@b"));
        assert_eq!(letters[0]["timestamp"], 1_700_000_000_123_i64);
        assert_eq!((letters[1].get("key"), letters[1].get("timestamp")), (None, None));
        assert_eq!(letters[1]["data"], "");
        let metrics = context.telemetry.encode();
        assert!(
            metrics.contains("weir_receiver_rejected_records_total{receiver=\"skywalking_kafka\"} 2"),
            "{metrics}"
        );
        let read = PartitionRejects::new(topic, 3, 13);
        read.sending(&encoded, sent());
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
