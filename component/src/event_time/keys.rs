//! The keys by which a processor's section says how event time passes on its lanes.

use weir_config::Duration;

use super::event_clocks::ClockBounds;
use crate::Check;

/// The keys `out_of_orderness`, `idle_timeout`, `max_future` and `max_ahead` as written.
#[derive(Clone, Copy, Debug)]
pub struct EventTimeKeys {
    /// How far an event may be behind the latest one of its lane.
    pub out_of_orderness: Duration,
    /// A lane without usable input for this long is idle.
    pub idle_timeout: Duration,
    /// Events further ahead of their arrival are left out.
    pub max_future: Duration,
    /// How far ahead of its arrival an event may move the watermark. `None`: as far as `out_of_orderness`.
    pub max_ahead: Option<Duration>,
}

/// The same, checked.
#[derive(Clone, Copy, Debug)]
pub struct EventTime {
    /// Milliseconds.
    pub out_of_orderness: i64,
    /// Not zero.
    pub idle_timeout: std::time::Duration,
    /// `max_future` and `max_ahead`.
    pub bounds: ClockBounds,
}

impl EventTimeKeys {
    /// `out_of_orderness` when it is not written.
    #[must_use]
    pub const fn default_out_of_orderness() -> Duration {
        Duration::from_secs(10)
    }

    /// `idle_timeout` when it is not written.
    #[must_use]
    pub const fn default_idle_timeout() -> Duration {
        Duration::from_secs(30)
    }

    /// `max_future` when it is not written.
    #[must_use]
    pub const fn default_max_future() -> Duration {
        Duration::from_secs(3600)
    }

    /// Notes what is wrong.
    pub fn check(self, check: &mut Check<'_>) -> EventTime {
        let out_of_orderness = check.millis("out_of_orderness", self.out_of_orderness);
        let max_future = check.millis("max_future", self.max_future);
        let max_ahead = self.max_ahead.map_or(out_of_orderness, |ahead| check.millis("max_ahead", ahead));
        if self.idle_timeout.is_zero() {
            check.wrong("idle_timeout", "must be more than 0s");
        }
        let bounds = ClockBounds { max_future, max_ahead };
        EventTime { out_of_orderness, idle_timeout: self.idle_timeout.get(), bounds }
    }
}
