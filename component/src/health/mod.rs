//! The status of each component, reported by the component itself.
//!
//! A component reports through the [`Health`] of its [`Context`](crate::Context), when its status changes or
//! at most once an export: never for each event. [`HealthBoard`] holds the status of everything in a program,
//! for an extension that shows it. The words are those of the OpenTelemetry Collector. Unlike there, a
//! component may recover from a permanent error.

mod own_clock;
mod troubles;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

pub use own_clock::OwnClock;
pub use troubles::{Trouble, Troubles};

/// How a component fares.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Status {
    /// It does not work yet.
    #[default]
    Starting,
    /// It works.
    Ok,
    /// It does not work now, and tries again by itself.
    RecoverableError(String),
    /// It does not work until a person acts.
    PermanentError(String),
    /// The program ends because of it. No other status follows.
    FatalError(String),
    /// It drains.
    Stopping,
    /// It has done its work.
    Stopped,
}

impl Status {
    /// The word for it, as the Collector writes it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Status::Starting => "StatusStarting",
            Status::Ok => "StatusOK",
            Status::RecoverableError(_) => "StatusRecoverableError",
            Status::PermanentError(_) => "StatusPermanentError",
            Status::FatalError(_) => "StatusFatalError",
            Status::Stopping => "StatusStopping",
            Status::Stopped => "StatusStopped",
        }
    }

    /// The error, if it is one.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        match self {
            Status::RecoverableError(error) | Status::PermanentError(error) | Status::FatalError(error) => {
                Some(error)
            }
            Status::Starting | Status::Ok | Status::Stopping | Status::Stopped => None,
        }
    }
}

/// A status with its history.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The status now.
    pub status: Status,
    /// When it began. A new text of the same error does not begin it again.
    pub since: Instant,
    /// Whether the status has ever been [`Status::Ok`].
    pub has_worked: bool,
    /// The last error and when it was reported, also when it is over.
    pub last_error: Option<(String, Instant)>,
}

/// The status of one component. Clones share it.
#[derive(Clone, Debug)]
pub struct Health(Arc<Mutex<Reading>>);

impl Default for Health {
    fn default() -> Health {
        let (status, since) = (Status::Starting, Instant::now());
        Health(Arc::new(Mutex::new(Reading { status, since, has_worked: false, last_error: None })))
    }
}

impl Health {
    /// The component has this status from now on.
    pub fn report(&self, status: Status) {
        let now = Instant::now();
        let mut reading = self.lock();
        let since = if reading.status.name() == status.name() { reading.since } else { now };
        reading.set(status, since, now);
    }

    /// The component has had this status since then.
    pub fn report_since(&self, status: Status, since: Instant) {
        self.lock().set(status, since, Instant::now());
    }

    /// A recoverable error is over. Any other status stays.
    pub fn recovered(&self) {
        let now = Instant::now();
        let mut reading = self.lock();
        if matches!(reading.status, Status::RecoverableError(_)) {
            reading.set(Status::Ok, now, now);
        }
    }

    /// The component works, if it was starting.
    pub fn started(&self) {
        let now = Instant::now();
        let mut reading = self.lock();
        if reading.status == Status::Starting {
            reading.set(Status::Ok, now, now);
        }
    }

    /// The status and its history.
    #[must_use]
    pub fn read(&self) -> Reading {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Reading> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reading {
    fn set(&mut self, status: Status, since: Instant, now: Instant) {
        // A fatal error stays. The worse of two others is shown until the component says that it works.
        let stays = match self.status {
            Status::FatalError(_) => true,
            Status::PermanentError(_) => matches!(status, Status::RecoverableError(_)),
            _ => false,
        };
        if stays {
            return;
        }
        self.has_worked |= status == Status::Ok;
        if let Some(error) = status.error() {
            self.last_error = Some((error.to_owned(), now));
        }
        (self.status, self.since) = (status, since);
    }
}

/// Components that belong together.
#[derive(Clone, Debug)]
pub struct HealthGroup {
    /// `extensions`, or `pipeline:` and the pipeline's id.
    pub name: String,
    /// Each component by kind and id, such as `exporter:clickhouse`. One that several pipelines use is in
    /// several groups.
    pub components: Vec<(String, Health)>,
}

/// The status of everything in a program. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct HealthBoard {
    program: Health,
    groups: Arc<Mutex<Arc<[HealthGroup]>>>,
}

impl HealthBoard {
    /// The status of the program itself: whether everything is started.
    #[must_use]
    pub fn program(&self) -> &Health {
        &self.program
    }

    /// Shows these components from now on.
    pub fn show(&self, groups: Vec<HealthGroup>) {
        *self.groups.lock().unwrap_or_else(PoisonError::into_inner) = groups.into();
    }

    /// The components of the program.
    #[must_use]
    pub fn groups(&self) -> Arc<[HealthGroup]> {
        Arc::clone(&self.groups.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests;
