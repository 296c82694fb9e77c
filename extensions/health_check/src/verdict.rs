//! One answer of what all components report. No I/O: time is an argument.
//!
//! * While the program starts or stops, or ends with an error, that is the answer.
//! * Else the worst status of its components is.
//! * A recoverable error counts when it has lasted for `recovery_duration`, or at once when the component has
//!   never worked: a gateway with a wrong address is not healthy for five minutes.

use std::time::{Duration, Instant};

use chrono::{DateTime, SecondsFormat};
use serde_json::{Map, Value};
use weir_component::health::{HealthBoard, HealthGroup, Reading, Status};

use crate::config::ComponentHealth;

/// An instant, and what the clock shows then.
#[derive(Clone, Copy)]
pub(crate) struct Now {
    pub(crate) instant: Instant,
    /// Milliseconds since 1970, UTC.
    pub(crate) clock_ms: i64,
}

impl Now {
    /// The time of an earlier instant, by today's clock.
    fn write(&self, instant: Instant) -> Value {
        let ago = self.instant.saturating_duration_since(instant).as_millis();
        let time = self.clock_ms.saturating_sub(i64::try_from(ago).unwrap_or(i64::MAX));
        let time = DateTime::from_timestamp_millis(time).unwrap_or_default();
        time.to_rfc3339_opts(SecondsFormat::Millis, true).into()
    }
}

/// The answer.
pub(crate) struct Verdict {
    pub(crate) is_healthy: bool,
    /// The program ends because of an error.
    pub(crate) is_fatal: bool,
    /// As the Collector writes it.
    pub(crate) body: Value,
}

/// Which components to name.
#[derive(Clone, Copy, Default)]
pub(crate) struct Asked<'a> {
    /// Each with its status.
    pub(crate) is_verbose: bool,
    /// Only those of this pipeline.
    pub(crate) pipeline: Option<&'a str>,
}

/// How the program fares. `None`: there is no such pipeline.
pub(crate) fn verdict(
    board: &HealthBoard,
    rules: ComponentHealth,
    asked: Asked<'_>,
    now: Now,
) -> Option<Verdict> {
    let groups = board.groups();
    let wanted = asked.pipeline.map(|pipeline| format!("pipeline:{pipeline}"));
    let shown: Vec<&HealthGroup> =
        groups.iter().filter(|group| wanted.as_ref().is_none_or(|wanted| group.name == *wanted)).collect();
    if wanted.is_some() && shown.is_empty() {
        return None;
    }
    let program = board.program().read();
    let mut total = Total::of(&program, rules, now);
    let mut components = Map::new();
    for group in shown {
        let (mut of_group, mut named) = (Total::default(), Map::new());
        for (name, health) in &group.components {
            let reading = health.read();
            of_group.add(&reading, rules, now);
            if asked.is_verbose {
                named.insert(name.clone(), Total::of(&reading, rules, now).write(now).into());
            }
        }
        if program.status == Status::Ok {
            total.add_all(&of_group);
        }
        let mut written = of_group.write(now);
        written.insert("components".to_owned(), named.into());
        components.insert(group.name.clone(), written.into());
    }
    let mut body = total.write(now);
    if asked.is_verbose {
        body.insert("components".to_owned(), components.into());
    }
    let is_fatal = matches!(program.status, Status::FatalError(_));
    Some(Verdict { is_healthy: total.is_healthy, is_fatal, body: body.into() })
}

/// The worst of some components.
struct Total {
    is_healthy: bool,
    worst: Option<Reading>,
}

impl Default for Total {
    fn default() -> Total {
        Total { is_healthy: true, worst: None }
    }
}

impl Total {
    fn of(reading: &Reading, rules: ComponentHealth, now: Now) -> Total {
        let mut total = Total::default();
        total.add(reading, rules, now);
        total
    }

    fn add(&mut self, reading: &Reading, rules: ComponentHealth, now: Now) {
        self.add_one(reading.clone(), is_healthy(reading, rules, now));
    }

    fn add_all(&mut self, other: &Total) {
        if let Some(reading) = &other.worst {
            self.add_one(reading.clone(), other.is_healthy);
        }
    }

    fn add_one(&mut self, reading: Reading, is_healthy: bool) {
        self.is_healthy &= is_healthy;
        let is_worse = |worst: &Reading| severity(&reading.status) > severity(&worst.status);
        if self.worst.as_ref().is_none_or(is_worse) {
            self.worst = Some(reading);
        }
    }

    fn write(&self, now: Now) -> Map<String, Value> {
        let mut fields = Map::new();
        fields.insert("healthy".to_owned(), self.is_healthy.into());
        let Some(Reading { status, since, last_error, .. }) = &self.worst else {
            fields.insert("status".to_owned(), Status::Ok.name().into());
            return fields;
        };
        fields.insert("status".to_owned(), status.name().into());
        if let Some(error) = status.error() {
            fields.insert("error".to_owned(), error.into());
        }
        fields.insert("status_time".to_owned(), now.write(*since));
        if let Some((error, at)) = last_error.as_ref().filter(|_| status.error().is_none()) {
            fields.insert("last_error".to_owned(), error.as_str().into());
            fields.insert("last_error_time".to_owned(), now.write(*at));
        }
        fields
    }
}

fn is_healthy(reading: &Reading, rules: ComponentHealth, now: Now) -> bool {
    let lasted = now.instant.saturating_duration_since(reading.since);
    match &reading.status {
        Status::Ok | Status::Stopped => true,
        Status::RecoverableError(_) => {
            let grace = if reading.has_worked { rules.recovery_duration.get() } else { Duration::ZERO };
            !rules.include_recoverable_errors || lasted < grace
        }
        Status::PermanentError(_) => !rules.include_permanent_errors,
        Status::Starting | Status::Stopping | Status::FatalError(_) => false,
    }
}

fn severity(status: &Status) -> u8 {
    match status {
        Status::Stopped => 0,
        Status::Ok => 1,
        Status::Starting => 2,
        Status::Stopping => 3,
        Status::RecoverableError(_) => 4,
        Status::PermanentError(_) => 5,
        Status::FatalError(_) => 6,
    }
}

#[cfg(test)]
mod tests;
