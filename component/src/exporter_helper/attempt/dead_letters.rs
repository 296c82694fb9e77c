//! Rows that are not delivered: given up, or kept as dead letters.

use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use weir_pdata::{EventBatch, Held, Origin, Payload, Projection, Signal, decode};

use super::ExportRunner;
use crate::Outgoing;
use crate::exporter_helper::queue::Queued;

/// Rows (records, while not decoded), and the items in them.
#[derive(Clone, Copy)]
struct RowsAndItems {
    rows: usize,
    items: usize,
}

impl RowsAndItems {
    const ONE: RowsAndItems = RowsAndItems { rows: 1, items: 1 };
}

impl ExportRunner {
    /// Gives up a batch that waits.
    pub(crate) fn abandon_queued(&self, Queued { batch, held, on_disk, .. }: Queued) {
        self.metrics.abandoned.inc_by(batch.len() as u64);
        if !on_disk {
            self.abandon(vec![batch], vec![held]);
        }
    }

    /// Gives up rows because the program or their lane ends: their inputs fail. Rows whose input is not read
    /// again go to the dead letters.
    pub(crate) fn abandon(&self, batches: Vec<Outgoing>, inputs: Vec<Held>) {
        let rows = batches.iter().map(Outgoing::len).sum::<usize>() as u64;
        if inputs.iter().any(Held::is_read_again) {
            self.condition.left_to_input(rows);
            return; // dropping what is held fails the inputs
        }
        if rows > 0 {
            let trouble = self.condition.trouble();
            let why = trouble.map_or_else(String::new, |trouble| format!(": {trouble}"));
            let reason = format!("the program ended before it was exported{why}");
            self.dead_letter(&self.restored(batches, &reason), &reason);
            self.condition.add_dead_letters(rows);
        }
        inputs.into_iter().for_each(|held| drop(held.release()));
    }

    /// Puts a batch that cannot wait into the dead letters, and acknowledges it.
    pub(crate) fn dead_letter_queued(&self, Queued { batch, held, route, .. }: Queued, reason: &str) {
        let positions = batch.origin.positions.clone();
        self.dead_letter(&self.restored(vec![batch], reason), reason);
        if let Some(route) = route.filter(|route| !route.exact) {
            route.ledger.finish_waiting(&route.sink, &positions);
        }
        drop(held.release());
    }

    /// The batches as columns. One whose rows cannot be read again goes to the dead letters without them.
    pub(crate) fn restored(&self, batches: Vec<Outgoing>, reason: &str) -> Vec<EventBatch> {
        let restored = |batch: Outgoing| match self.exporter.restore(&batch) {
            Ok(batch) => Some(self.decoded(batch, reason)),
            Err(error) => {
                let reason = format!("{reason}; its rows cannot be read again: {error}");
                let counts = RowsAndItems { rows: batch.len(), items: batch.items() };
                self.write_without_rows(&batch.origin, batch.signal, counts, &reason);
                self.log_dead_letters(&reason);
                None
            }
        };
        batches.into_iter().filter_map(restored).collect()
    }

    /// The batch as columns. Records that cannot be decoded go to the dead letters as they came.
    fn decoded(&self, batch: EventBatch, reason: &str) -> EventBatch {
        let Payload::Encoded(encoded) = &batch.payload else { return batch };
        let decoded = decode(encoded, &Projection::everything());
        let items_of = |record: usize| encoded.items_of(record);
        // The other items of such a record go on. One without others is rejected as a whole.
        let of_items = decoded.rejected_items.iter().map(|rejected| {
            let rows = usize::from(rejected.items >= items_of(rejected.record));
            (rejected.record, RowsAndItems { rows, items: rejected.items }, rejected.reason)
        });
        let rejected = decoded.rejected.iter().map(|rejected| {
            let counts = RowsAndItems { rows: 1, items: items_of(rejected.record) };
            (rejected.record, counts, rejected.reason)
        });
        for (record, counts, why) in rejected.chain(of_items) {
            let data = STANDARD.encode(encoded.record(record).unwrap_or_default());
            let reason = format!("{reason}; it cannot be decoded: {why}");
            self.write_dead_letter(&batch.origin, batch.signal, &reason, [("data", data.into())], counts);
            self.log_dead_letters(&reason);
        }
        batch.with_columns(decoded.columns)
    }

    /// Puts rows that cannot be delivered into the dead letters; of a batch without columns, how many and
    /// where they came from.
    pub(crate) fn dead_letter(&self, batches: &[EventBatch], reason: &str) {
        for batch in batches {
            let Payload::Columns(columns) = &batch.payload else {
                let counts = RowsAndItems { rows: batch.len(), items: batch.payload.items() };
                self.write_without_rows(&batch.origin, batch.signal, counts, reason);
                continue;
            };
            let mut lines = Vec::new();
            weir_pdata::json::write_rows(columns, batch.signal, &mut lines);
            for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                // As text: an object with a repeated attribute key would not survive being parsed.
                let row = String::from_utf8_lossy(line).into_owned();
                self.write_dead_letter(
                    &batch.origin,
                    batch.signal,
                    reason,
                    [("row", row.into())],
                    RowsAndItems::ONE,
                );
            }
        }
        self.log_dead_letters(reason);
    }

    fn log_dead_letters(&self, reason: &str) {
        if let Some(suppressed) = self.log.allow(self.context.clock.now_ms()) {
            let exporter = self.context.id.to_string();
            tracing::error!(exporter, reason, suppressed, "a row was rejected and is in the dead letters");
        }
    }

    /// Writes one dead letter about a batch whose rows cannot be shown.
    fn write_without_rows(&self, origin: &Origin, signal: Signal, counts: RowsAndItems, reason: &str) {
        let Range { start, end } = &origin.positions;
        let what = [("positions", format!("{start}-{end}").into()), ("rows", counts.rows.into())];
        self.write_dead_letter(origin, signal, reason, what, counts);
    }

    /// Writes one dead letter about so many rows of a batch.
    fn write_dead_letter<const N: usize>(
        &self,
        origin: &Origin,
        signal: Signal,
        reason: &str,
        what: [(&str, Value); N],
        counts: RowsAndItems,
    ) {
        let mut fields = Map::new();
        fields.insert("lane".into(), origin.lane.as_ref().into());
        fields.extend(what.map(|(name, value)| (name.to_owned(), value)));
        self.context.dead_letters.write(&self.context.id, reason, fields);
        self.metrics.refused(signal, counts.rows, counts.items);
    }
}
