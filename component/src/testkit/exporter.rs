//! The rules for exporters, and an exporter that fails on demand.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use weir_pdata::{Demand, EventBatch, Outcome, SignalSet};

use super::{Probe, context};
use crate::exporter_helper::{self, HelperConfig};
use crate::factory::BuiltExporter;
use crate::{ExportError, Exporter};

/// How a [`FlakyExporter`] behaves.
#[derive(Clone, Copy, Debug)]
pub enum Regime {
    /// Every export succeeds.
    AlwaysOk,
    /// Exports fail with this probability, and may succeed later.
    Transient(f64),
    /// Rows for which the function says so are rejected for ever.
    Permanent(fn(&EventBatch, usize) -> bool),
    /// Both.
    Mixed(f64, fn(&EventBatch, usize) -> bool),
}

/// An exporter that answers what a function says.
pub struct FnExporter<F> {
    answer: F,
    idempotent: bool,
}

impl<F: Fn(&[EventBatch]) -> Result<(), ExportError> + Send + Sync> FnExporter<F> {
    /// An exporter that answers every export with `answer`.
    pub fn new(answer: F) -> FnExporter<F> {
        FnExporter { answer, idempotent: false }
    }

    /// The same, for a destination that leaves out what it has.
    #[must_use]
    pub fn idempotent(self) -> FnExporter<F> {
        FnExporter { idempotent: true, ..self }
    }
}

/// The answer of a [`FlakyExporter`].
type FlakyAnswer = Box<dyn Fn(&[EventBatch]) -> Result<(), ExportError> + Send + Sync>;

/// An exporter that fails on demand and keeps the rows it took, as JSON lines with the number of times each
/// came.
pub type FlakyExporter = FnExporter<FlakyAnswer>;

impl FlakyExporter {
    /// An exporter that behaves as `regime`, and the rows that it takes.
    #[must_use]
    pub fn flaky(regime: Regime, seed: u64) -> (FlakyExporter, Arc<Mutex<BTreeMap<String, usize>>>) {
        let (transient, rejects): (f64, fn(&EventBatch, usize) -> bool) = match regime {
            Regime::AlwaysOk => (0.0, |_, _| false),
            Regime::Transient(share) => (share, |_, _| false),
            Regime::Permanent(rejects) => (0.0, rejects),
            Regime::Mixed(share, rejects) => (share, rejects),
        };
        let random = Mutex::new(StdRng::seed_from_u64(seed));
        let taken: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
        let keeps = Arc::clone(&taken);
        let answer = move |batches: &[EventBatch]| {
            if random.lock().unwrap().random_bool(transient) {
                return Err(ExportError::retryable("not now"));
            }
            if batches.iter().any(|batch| (0..batch.len()).any(|row| rejects(batch, row))) {
                return Err(ExportError::permanent("not this row"));
            }
            let mut taken = keeps.lock().unwrap();
            for batch in batches {
                let mut lines = Vec::new();
                weir_pdata::json::write_rows(batch.as_columns().unwrap(), batch.signal, &mut lines);
                for line in String::from_utf8(lines).unwrap().lines() {
                    *taken.entry(line.to_owned()).or_default() += 1;
                }
            }
            Ok(())
        };
        (FnExporter::new(Box::new(answer) as FlakyAnswer), taken)
    }
}

#[async_trait]
impl<F: Fn(&[EventBatch]) -> Result<(), ExportError> + Send + Sync + 'static> Exporter for FnExporter<F> {
    fn signals(&self) -> SignalSet {
        SignalSet::ALL
    }

    fn demand(&self) -> Demand {
        Demand::everything()
    }

    fn is_idempotent(&self) -> bool {
        self.idempotent
    }

    async fn export(&self, batches: &[EventBatch]) -> Result<(), ExportError> {
        (self.answer)(batches)
    }
}

/// Sends `batches` through the helper to `exporter`, waits until all is settled, and checks that every input
/// settled as `expected` says. Returns the dead letters' text.
///
/// # Panics
/// When an input is not settled within a minute, or otherwise than expected.
pub async fn check_exporter(
    exporter: Box<dyn Exporter>,
    helper: HelperConfig,
    batches: Vec<EventBatch>,
    expected: Outcome,
) -> String {
    let directory = tempfile::tempdir().unwrap();
    let probe = Probe::default();
    let count = batches.len();
    let built = BuiltExporter { exporter, helper };
    let (queue, task) = exporter_helper::spawn(built, context("test", directory.path())).await.unwrap();
    for batch in batches {
        queue.send(EventBatch { ack: probe.ack(), ..batch }).await.unwrap();
    }
    drop(queue);
    let deadline = if expected == Outcome::Done { Duration::from_secs(60) } else { Duration::ZERO };
    task.finish(deadline).await;
    assert_eq!(probe.open(), 0, "every input settles");
    assert_eq!(probe.count(expected), count, "every input is {expected:?}");
    std::fs::read_to_string(directory.path().join("test.jsonl")).unwrap_or_default()
}

/// The contract of an exporter whose destination works: batches of every signal settle as done, none is
/// dead-lettered, and batches without rows are taken too.
///
/// # Panics
/// When a rule is broken.
pub async fn check_exporter_contract(exporter: Box<dyn Exporter>, batches: Vec<EventBatch>) {
    for batch in &batches {
        if let Some(columns) = batch.as_columns() {
            let none = columns.slice(0, 0);
            exporter
                .export(&[batch.clone().with_columns(none)])
                .await
                .expect("a batch without rows is taken");
        }
    }
    let helper = HelperConfig {
        batch: exporter_helper::BatchConfig {
            timeout: weir_config::Duration::from_millis(10),
            ..Default::default()
        },
        ..HelperConfig::default()
    };
    let dead = check_exporter(exporter, helper, batches, Outcome::Done).await;
    assert_eq!(dead, "", "nothing is rejected");
}
