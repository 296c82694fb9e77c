//! Batches that an exporter could not deliver before the program ended, and whether its destination works.
//!
//! The exporter's [`Health`] is a recoverable error from the first export that the destination did not take
//! until one that it took; and as long as any export is tried again, whatever others have done meanwhile:
//! with several at a time, one that fails for ever holds its inputs though the others are delivered.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

use crate::health::{Trouble, Troubles};
use crate::{Health, Status};

/// Rows that were not exported when an exporter ended, by what becomes of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unfinished {
    /// The next start reads their input again.
    pub read_again: u64,
    /// Their input is not read again: they are in the dead letters.
    pub dead_letters: u64,
    /// Records, not rows, in the exporter's queue on disk: the next start exports them.
    pub on_disk: u64,
}

impl Unfinished {
    /// Rows that the program has not exported, and no next start finds on disk.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.read_again + self.dead_letters
    }
}

/// How exports go, shared by all that one exporter does.
#[derive(Debug)]
pub(crate) struct Condition {
    /// The program ends: what is left undone from now on counts.
    ending: AtomicBool,
    read_again: AtomicU64,
    dead_letters: AtomicU64,
    last: Mutex<Option<Failure>>,
    troubles: Troubles,
    health: Health,
    /// Why the exporter itself cannot go on.
    broken: watch::Sender<Option<String>>,
}

/// One export, with its repeats. When it is dropped, it is not tried again.
pub(super) struct Attempts<'a> {
    condition: &'a Condition,
    trouble: Option<Trouble>,
}

impl Attempts<'_> {
    /// The destination has answered.
    pub(super) fn succeeded(self) {
        *self.condition.lock() = None;
    }

    /// The destination failed.
    pub(super) fn failed(&mut self, reason: &str) {
        let (troubles, now) = (&self.condition.troubles, Instant::now());
        let begun = || troubles.begun(reason, now);
        let new = || Failure { reason: String::new(), trouble: begun() };
        self.condition.lock().get_or_insert_with(new).update(reason);
        self.trouble.get_or_insert_with(begun).update(reason);
    }
}

/// The last export has failed.
#[derive(Debug)]
struct Failure {
    reason: String,
    /// Since the first failure after the last success.
    trouble: Trouble,
}

impl Failure {
    fn update(&mut self, reason: &str) {
        reason.clone_into(&mut self.reason);
        self.trouble.update(reason);
    }
}

impl Condition {
    pub(super) fn new(health: Health) -> Condition {
        Condition {
            ending: AtomicBool::new(false),
            read_again: AtomicU64::new(0),
            dead_letters: AtomicU64::new(0),
            last: Mutex::default(),
            troubles: Troubles::new(health.clone()),
            health,
            broken: watch::Sender::new(None),
        }
    }

    pub(super) fn end(&self) {
        self.ending.store(true, Ordering::Release);
    }

    /// This many rows are read again.
    pub(super) fn left_to_input(&self, rows: u64) {
        if self.ending.load(Ordering::Acquire) {
            self.read_again.fetch_add(rows, Ordering::AcqRel);
        }
    }

    /// This many rows are in the dead letters because the program ends.
    pub(super) fn add_dead_letters(&self, rows: u64) {
        self.dead_letters.fetch_add(rows, Ordering::AcqRel);
    }

    pub(super) fn unfinished(&self, on_disk: u64) -> Unfinished {
        Unfinished {
            read_again: self.read_again.load(Ordering::Acquire),
            dead_letters: self.dead_letters.load(Ordering::Acquire),
            on_disk,
        }
    }

    /// An export begins.
    pub(super) fn attempts(&self) -> Attempts<'_> {
        Attempts { condition: self, trouble: None }
    }

    /// Why the last export failed; `None` when it did not.
    pub(super) fn trouble(&self) -> Option<String> {
        self.lock().as_ref().map(|last| last.reason.clone())
    }

    /// The exporter cannot go on.
    pub(super) fn set_broken(&self, why: String) {
        self.health.report(Status::FatalError(why.clone()));
        self.broken.send_replace(Some(why));
    }

    /// Waits until the exporter cannot go on; why.
    pub(super) fn broken(&self) -> impl Future<Output = String> + Send + 'static {
        let mut broken = self.broken.subscribe();
        async move {
            let why = broken.wait_for(Option::is_some).await.ok().and_then(|why| why.clone());
            match why {
                Some(why) => why,
                // It has ended as it should.
                None => std::future::pending().await,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Failure>> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(health: &Health) -> Status {
        health.read().status
    }

    #[test]
    fn an_export_that_is_tried_again_for_ever_is_not_hidden_by_others_that_are_taken() {
        let health = Health::default();
        let condition = Condition::new(health.clone());
        let mut stuck = condition.attempts();
        stuck.failed("no such table");
        let since = health.read().since;
        for _ in 0..3 {
            condition.attempts().succeeded();
            stuck.failed("no such table");
        }
        let reading = health.read();
        assert_eq!(
            (reading.status, reading.since),
            (Status::RecoverableError("no such table".to_owned()), since)
        );
        stuck.succeeded();
        assert_eq!(status(&health), Status::Ok);
    }

    #[test]
    fn what_was_given_up_leaves_the_error_until_something_is_taken() {
        let health = Health::default();
        let condition = Condition::new(health.clone());
        let mut first = condition.attempts();
        first.failed("403");
        let since = health.read().since;
        drop(first);
        assert_eq!(status(&health), Status::RecoverableError("403".to_owned()));
        let mut second = condition.attempts();
        second.failed("404");
        assert_eq!(health.read().since, since, "nothing was taken in between");
        second.succeeded();
        assert_eq!(status(&health), Status::Ok);
        assert!(condition.trouble().is_none());
    }

    #[test]
    fn an_exporter_that_cannot_go_on_stays_fatal() {
        let health = Health::default();
        let condition = Condition::new(health.clone());
        condition.set_broken("panicked".to_owned());
        condition.attempts().succeeded();
        assert_eq!(status(&health), Status::FatalError("panicked".to_owned()));
    }
}
