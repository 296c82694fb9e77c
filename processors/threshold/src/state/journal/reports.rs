//! Reports of trouble with the storage: in the log, in the metrics and in the processor's status.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use weir_component::storage::Appending;
use weir_component::{Context, LogLimit, Status};

use crate::metrics::StorageMetrics;
use crate::state::journal::encode::LeftOut;

/// How long an append may take before that is reported.
const PATIENCE: Duration = Duration::from_secs(10);

/// Says what goes wrong.
pub(crate) struct StorageReports {
    pub(crate) context: Context,
    pub(crate) pipeline: String,
    pub(crate) metrics: StorageMetrics,
    pub(crate) trouble: LogLimit,
    pub(crate) room: LogLimit,
    /// The storage does not take what it is given.
    pub(crate) is_stuck: AtomicBool,
}

impl StorageReports {
    /// Waits until a record is safe. `None`: it will not be, and nothing after it.
    pub(crate) async fn confirmed(&self, mut appending: Appending, stop: &CancellationToken) -> Option<u64> {
        loop {
            tokio::select! {
                biased;
                confirmed = &mut appending => match confirmed {
                    Ok(number) => {
                        if self.is_stuck.swap(false, Ordering::Relaxed) {
                            self.context.health.recovered();
                        }
                        return Some(number);
                    }
                    Err(error) => {
                        self.trouble(&error.to_string());
                        // Its inputs must not be let go as if it had been written.
                        stop.cancelled().await;
                        return None;
                    }
                },
                () = tokio::time::sleep(PATIENCE) => {
                    self.trouble("the storage has not taken them for ten seconds; their input waits");
                    if stop.is_cancelled() {
                        return None;
                    }
                }
            }
        }
    }

    pub(crate) fn foreign(&self, error: &str) {
        let (processor, pipeline) = (&self.context.id, &self.pipeline);
        tracing::error!(
            %processor, %pipeline,
            "alarms in the storage are not of this version of Weir; those that fire may be raised once more: {error}"
        );
    }

    pub(crate) fn trouble(&self, why: &str) {
        self.metrics.errors.inc();
        self.is_stuck.store(true, Ordering::Relaxed);
        let error = format!("alarms cannot be kept across a restart: {why}");
        self.context.health.report(Status::RecoverableError(error));
        if let Some(suppressed) = self.trouble.allow(self.context.clock.now_ms()) {
            let (processor, pipeline) = (&self.context.id, &self.pipeline);
            tracing::error!(%processor, %pipeline, suppressed, "alarms cannot be kept across a restart: {why}");
        }
    }

    pub(crate) fn not_kept(&self, left_out: &[LeftOut]) {
        let Some(LeftOut { rule, bytes }) = left_out.first() else { return };
        self.metrics.not_kept.inc_by(left_out.len() as u64);
        if let Some(suppressed) = self.room.allow(self.context.clock.now_ms()) {
            let (processor, pipeline, series) = (&self.context.id, &self.pipeline, left_out.len());
            tracing::error!(
                %processor, %pipeline, series, %rule, bytes, suppressed,
                "the storage has no room for the state of some series: their alarms go out, and are raised once more after a restart; \
                 raise its `max_bytes`"
            );
        }
    }
}
