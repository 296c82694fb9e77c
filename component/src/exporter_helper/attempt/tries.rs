//! One export, tried until there is an answer.

use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tokio::time::Instant;

use super::ExportRunner;
use super::backoff::Backoff;
use super::isolation::Refusal;
use super::verdict::Verdict;
use crate::delivery::Ledger;
use crate::{ExportError, Outgoing, failpoint};

/// From this age on, a repeated attempt counts as [repeated](weir_pdata::Origin::repeated): the rows may have
/// been stored, and the destination may no longer remember their identity.
const REMEMBERED: Duration = Duration::from_secs(10);

impl ExportRunner {
    /// Tries until the destination has taken or rejected the batches, or `retry.max_elapsed_time` is over.
    /// `None`: told to give up, or the ownership of what it exports is over.
    pub(super) async fn attempt(
        &self,
        batches: &mut [Outgoing],
        since: Option<Instant>,
        ledger: Option<&Ledger>,
    ) -> Option<Verdict> {
        let since = since.unwrap_or_else(Instant::now);
        let max = self.config.retry.max_elapsed_time;
        let left = || max.get().saturating_sub(since.elapsed());
        let overdue = || !max.get().is_zero() && left().is_zero();
        // Each would cost another `timeout` only to show that nothing has changed.
        if let Some(reason) = self.condition.trouble().filter(|_| overdue()) {
            return Some(Verdict::GivenUp(format!("given up after {max}: {reason}")));
        }
        let mut random = StdRng::seed_from_u64(self.seed.fetch_add(1, Ordering::Relaxed));
        let mut backoff = Backoff::new(self.config.retry);
        let mut attempts = self.condition.attempts();
        loop {
            if batches.iter().any(|batch| batch.origin.is_fenced()) {
                return None;
            }
            if let Some(ledger) = ledger {
                tokio::select! {
                    biased;
                    () = self.abort.cancelled() => return None,
                    owned = ledger.until_owned() => owned.ok()?,
                }
                let until = ledger.owned_until();
                batches.iter_mut().for_each(|batch| batch.origin.owned_until = until);
            }
            if since.elapsed() >= REMEMBERED {
                batches.iter_mut().for_each(|batch| batch.origin.repeated = true);
            }
            let timeout = self.config.timeout.get();
            let result = tokio::select! {
                biased;
                () = self.abort.cancelled() => return None,
                result = tokio::time::timeout(timeout, self.exporter.export_outgoing(batches)) => result,
            };
            let (reason, after) = match result {
                Ok(Ok(())) => {
                    failpoint::reach("after-answer");
                    attempts.succeeded();
                    return Some(Verdict::Taken(0));
                }
                Ok(Err(ExportError::Partial { items, .. })) => {
                    failpoint::reach("after-answer");
                    attempts.succeeded();
                    return Some(Verdict::Taken(items));
                }
                Ok(Err(ExportError::Permanent { reason, rows })) => {
                    attempts.succeeded();
                    return Some(Verdict::Rejected(Refusal { reason, rejected: rows, too_large: false }));
                }
                Ok(Err(ExportError::TooLarge { reason })) => {
                    attempts.succeeded();
                    return Some(Verdict::Rejected(Refusal {
                        reason,
                        rejected: Vec::new(),
                        too_large: true,
                    }));
                }
                Ok(Err(ExportError::Retryable { reason, after })) => (reason, after),
                Err(_) => (format!("no answer within {}", self.config.timeout), None),
            };
            attempts.failed(&reason);
            if overdue() {
                return Some(Verdict::GivenUp(format!(
                    "given up after {max}, and it may have been taken all the same: {reason}"
                )));
            }
            let mut wait = backoff.wait(after, &mut random);
            if !max.get().is_zero() {
                wait = wait.min(left());
            }
            self.metrics.retries.inc();
            if let Some(suppressed) = self.log.allow(self.context.clock.now_ms()) {
                let exporter = self.context.id.to_string();
                tracing::warn!(exporter, %reason, ?wait, suppressed, "export failed, retrying");
            }
            let lost = async {
                match ledger {
                    Some(ledger) => ledger.until_closed().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.abort.cancelled() => return None,
                () = lost => return None,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }
}
