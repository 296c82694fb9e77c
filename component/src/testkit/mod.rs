//! Tools for the tests of components: recording neighbours, and the contracts that every component keeps.
//!
//! * [`RecordingLanes`] stands for the pipelines below a receiver.
//! * [`Probe`] makes acks and tells what became of them.
//! * [`check_stage`] drives a processor's stage and checks the rules for stages.
//! * [`check_exporter`] runs an exporter behind the helper and checks that every row is settled as it should.
//!
//! Everything here panics when a rule is broken: it is for tests.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "for tests: a broken rule panics")]

mod exporter;
mod probe;
mod recording;
mod stage;

use std::sync::Arc;

use weir_config::ComponentId;
use weir_pdata::json::JsonLines;
use weir_pdata::{Ack, EventBatch, Origin, Projection, Signal};

use crate::clock::ManualClock;
use crate::delivery::{Ledger, LedgerSpec, Metadata, Shard};
use crate::{Context, DeadLetters, Telemetry};

pub use exporter::{FlakyExporter, FnExporter, Regime, check_exporter, check_exporter_contract};
pub use probe::Probe;
pub use recording::{RecordedLane, RecordingLanes};
pub use stage::check_stage;

/// A context whose dead letters go to `directory` and whose clock stands at 0.
#[must_use]
pub fn context(id: &str, directory: &std::path::Path) -> Context {
    let telemetry = Telemetry::default();
    let dead_letters = DeadLetters::new(directory, 1 << 30, telemetry.clone());
    let id: ComponentId = id.parse().expect("a valid component id");
    Context { clock: Arc::new(ManualClock::at(0)), ..Context::new(id, telemetry, dead_letters) }
}

/// The ledger of an input `number` that begins at 0, with this metadata of its last owner. `wake` is called
/// when there is something to write down.
#[must_use]
pub fn ledger(number: i32, metadata: Metadata, wake: Arc<dyn Fn() + Send + Sync>) -> Ledger {
    Ledger::new(LedgerSpec {
        source: "c/g/t".into(),
        input: None,
        set: None,
        number,
        shard: Shard(0),
        own: Shard(1),
        position: Some(0),
        metadata,
        wake,
    })
}

/// A batch of these JSON objects as rows of `signal`.
#[must_use]
pub fn json_batch(signal: Signal, rows: &[serde_json::Value], ack: Ack) -> EventBatch {
    let line = |row: &serde_json::Value| {
        let mut row = row.clone();
        row["signal"] = signal.name().into();
        row.to_string().into_bytes()
    };
    let lines: Vec<Vec<u8>> = rows.iter().map(line).collect();
    let read = JsonLines::read(lines.iter().map(Vec::as_slice), &Projection::everything());
    assert!(read.rejected.is_empty(), "{:?}", read.rejected);
    let (signal, columns) = read.batches.into_iter().next().expect("at least one row");
    EventBatch::columns(signal, columns, Origin::default(), ack)
}
