//! Lines that are no events: counted, logged at a limited rate, and kept as dead letters.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use prometheus_client::metrics::counter::Counter;
use serde_json::{Map, Value};
use weir_component::records::{EMPTY, RECORDS, REJECTED};
use weir_component::telemetry::Metric;
use weir_component::{BACKWARDS, Context, LogLimit, Rejects};
use weir_pdata::Encoded;

use crate::lines::TooLong;

/// The declarations, for the reference.
pub(crate) const METRICS: &[Metric] = &[RECORDS, REJECTED, EMPTY];

/// Where the lines of one file are rejected.
pub(crate) struct FileRejects {
    context: Context,
    file: Arc<str>,
    records: Counter,
    rejected: Counter,
    empty: Counter,
    backwards: Counter,
    log: LogLimit,
}

impl FileRejects {
    /// For the file at this path.
    pub(crate) fn new(context: &Context, file: Arc<str>) -> FileRejects {
        let id = context.id.to_string();
        let counter = |metric| context.telemetry.counter(metric, &[&id]);
        FileRejects {
            records: counter(&RECORDS),
            rejected: counter(&REJECTED),
            empty: counter(&EMPTY),
            backwards: counter(&BACKWARDS),
            context: context.clone(),
            file,
            log: LogLimit::every_ms(10_000),
        }
    }

    /// This many spans end before they start.
    pub(crate) fn backwards(&self, spans: usize) {
        self.backwards.inc_by(spans as u64);
    }

    /// This many lines were read.
    pub(crate) fn read(&self, lines: usize) {
        self.records.inc_by(lines as u64);
    }

    /// Line number `line`, which is `bytes`, is no event.
    pub(crate) fn reject(&self, line: i64, bytes: &[u8], reason: &str) {
        self.write(line, bytes, reason, Map::new());
    }

    /// A line was not read whole.
    pub(crate) fn reject_too_long(&self, line: &TooLong, max_bytes: usize) {
        let reason = format!("the line has {} bytes; max_line_bytes is {max_bytes}", line.bytes);
        let more = [("truncated", Value::from(true)), ("bytes", Value::from(line.bytes))];
        self.write(
            line.line,
            // The cut may be within a character.
            String::from_utf8_lossy(&line.beginning).as_bytes(),
            &reason,
            more.map(|(key, value)| (key.to_owned(), value)).into_iter().collect(),
        );
    }

    fn write(&self, line: i64, bytes: &[u8], reason: &str, more: Map<String, Value>) {
        self.rejected.inc();
        let mut fields = Map::new();
        fields.insert("file".into(), Value::from(&*self.file));
        fields.insert("line".into(), Value::from(line));
        fields.extend(more);
        match std::str::from_utf8(bytes) {
            Ok(text) => fields.insert("text".into(), Value::from(text)),
            Err(_) => fields.insert("data".into(), Value::from(STANDARD.encode(bytes))),
        };
        let kept = self.context.dead_letters.write(&self.context.id, reason, fields);
        if let Some(suppressed) = self.log.allow(self.context.clock.now_ms()) {
            let (receiver, file) = (&self.context.id, &self.file);
            tracing::warn!(%receiver, %file, line, reason, kept, suppressed, "a line was rejected and skipped");
        }
    }
}

impl Rejects for FileRejects {
    fn reject(&self, encoded: &Encoded, index: usize, position: i64, reason: &str) {
        self.write(position, encoded.record(index).unwrap_or_default(), reason, Map::new());
    }

    fn empty(&self, count: usize) {
        self.empty.inc_by(count as u64);
    }
}
