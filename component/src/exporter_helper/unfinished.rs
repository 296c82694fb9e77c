//! What an exporter could not deliver before the program ended, and whether its destination works.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

/// Rows that were not exported when an exporter ended, by what becomes of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Unfinished {
    /// The next start reads their input again.
    pub read_again: u64,
    /// Nobody reads their input again: they are in the dead letters.
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
    /// Why the last export failed, when the destination was at fault.
    trouble: Mutex<Option<String>>,
    /// Why the exporter itself cannot go on.
    broken: watch::Sender<Option<String>>,
}

impl Condition {
    pub fn new() -> Condition {
        Condition {
            ending: AtomicBool::new(false),
            read_again: AtomicU64::new(0),
            dead_letters: AtomicU64::new(0),
            trouble: Mutex::new(None),
            broken: watch::Sender::new(None),
        }
    }

    pub fn end(&self) {
        self.ending.store(true, Ordering::Release);
    }

    /// So many rows are read again.
    pub fn left_to_input(&self, rows: u64) {
        if self.ending.load(Ordering::Acquire) {
            self.read_again.fetch_add(rows, Ordering::AcqRel);
        }
    }

    /// So many rows are in the dead letters because the program ends.
    pub fn add_dead_letters(&self, rows: u64) {
        self.dead_letters.fetch_add(rows, Ordering::AcqRel);
    }

    pub fn unfinished(&self, on_disk: u64) -> Unfinished {
        Unfinished {
            read_again: self.read_again.load(Ordering::Acquire),
            dead_letters: self.dead_letters.load(Ordering::Acquire),
            on_disk,
        }
    }

    /// The destination has answered.
    pub fn export_succeeded(&self) {
        *self.lock() = None;
    }

    /// The destination was at fault.
    pub fn export_failed(&self, reason: &str) {
        *self.lock() = Some(reason.to_owned());
    }

    /// Why the last export failed; `None` when it did not.
    pub fn trouble(&self) -> Option<String> {
        self.lock().clone()
    }

    /// The exporter cannot go on.
    pub fn set_broken(&self, why: String) {
        self.broken.send_replace(Some(why));
    }

    /// Waits until the exporter cannot go on; why.
    pub fn broken(&self) -> impl Future<Output = String> + Send + 'static {
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

    fn lock(&self) -> MutexGuard<'_, Option<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
