//! What the tests of components share: recording neighbours, and the contracts that every component keeps.
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

use crate::clock::ManualClock;
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
