//! Records that receivers read: their counters, and the records that cannot be used.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prometheus_client::metrics::counter::Counter;
use serde_json::{Map, Value};
use weir_pdata::Encoded;

use crate::telemetry::{Metric, MetricKind};
use crate::{Context, LogLimit, Telemetry};

/// Records that came.
pub const RECORDS: Metric = counter("weir_receiver_records", "Records read from the input.");
/// Their bytes.
pub const BYTES: Metric = counter("weir_receiver_bytes", "Bytes of the records read from the input.");
/// Records that cannot be used.
pub const REJECTED: Metric = counter(
    "weir_receiver_rejected_records",
    "Records that cannot be decoded or are too large. They go to the dead letters.",
);
/// Texts of records that are stored otherwise than they came.
pub const ESCAPED: Metric = counter(
    "weir_receiver_escaped_texts",
    "Texts that were not UTF-8 and are stored with the bytes in question escaped.",
);
/// Records that say nothing.
pub const EMPTY: Metric = counter("weir_receiver_empty_records", "Valid records without any event.");

/// How often a receiver logs what is wrong with its records.
const LOG_EVERY_MS: i64 = 10_000;

const fn counter(name: &'static str, help: &'static str) -> Metric {
    Metric { name, help, kind: MetricKind::Counter, labels: &["receiver"] }
}

/// The counters of a receiver's records. Cheap to clone. A receiver lists those that it counts in its own
/// metrics.
#[derive(Clone, Debug)]
pub struct RecordCounters {
    /// [`RECORDS`].
    pub records: Counter,
    /// [`BYTES`].
    pub bytes: Counter,
    /// [`REJECTED`].
    pub rejected: Counter,
    /// [`ESCAPED`].
    pub escaped: Counter,
    /// [`EMPTY`].
    pub empty: Counter,
}

impl RecordCounters {
    /// The counters of the receiver with this id.
    #[must_use]
    pub fn new(telemetry: &Telemetry, receiver: &str) -> RecordCounters {
        let of = |metric: &Metric| telemetry.counter(metric, &[receiver]);
        RecordCounters {
            records: of(&RECORDS),
            bytes: of(&BYTES),
            rejected: of(&REJECTED),
            escaped: of(&ESCAPED),
            empty: of(&EMPTY),
        }
    }
}

/// Keeps records that cannot be used as dead letters, and logs them and escaped texts at a limited rate.
pub struct RejectedRecords {
    context: Context,
    rejections: LogLimit,
    escapes: LogLimit,
}

impl RejectedRecords {
    /// For the receiver of this context.
    #[must_use]
    pub fn new(context: Context) -> RejectedRecords {
        let limit = || LogLimit::every_ms(LOG_EVERY_MS);
        RejectedRecords { context, rejections: limit(), escapes: limit() }
    }

    /// Writes record `index` to the dead letters, with these fields and its bytes (base64) as `data`.
    pub fn keep(&self, encoded: &Encoded, index: usize, reason: &str, fields: Map<String, Value>) {
        self.keep_bytes(encoded.record(index).unwrap_or_default(), reason, fields);
    }

    /// Does so with a record that is in no batch.
    pub fn keep_bytes(&self, record: &[u8], reason: &str, mut fields: Map<String, Value>) {
        let now = self.context.clock.now_ms();
        if let Some(suppressed) = self.rejections.allow(now) {
            let (receiver, about) = (&self.context.id, Value::from(fields.clone()));
            tracing::warn!(
                %receiver, %about, reason, suppressed,
                "a record, or some of its items, was rejected; it is kept in the dead letters"
            );
        }
        fields.insert("data".to_owned(), STANDARD.encode(record).into());
        self.context.dead_letters.write(&self.context.id, reason, fields);
    }

    /// Says that a text of attribute `key` is not UTF-8.
    pub fn escaped(&self, key: &str) {
        if let Some(suppressed) = self.escapes.allow(self.context.clock.now_ms()) {
            let receiver = &self.context.id;
            tracing::warn!(
                %receiver, key, suppressed,
                "a text is not UTF-8: it is stored with the bytes in question escaped (\\xHH)"
            );
        }
    }
}
