//! Clocks that are wrong: those of the hosts that events come from, and the gateway's own.
//!
//! Every rule counts from the arrival of an event. That is the time at which Kafka's broker appended its
//! record, where the topic keeps it ([`Arrivals`]): then a second reading of the topic decides as the first
//! one did. Else it is the gateway's clock when the batch is read.
//!
//! * An event more than `max_ahead` ahead of its arrival moves the watermark only as far as that. Its own
//!   time stays.
//! * An event more than `max_future` ahead of its arrival is left out.

use std::sync::Arc;

use arrow::array::RecordBatch;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use weir_pdata::Arrivals;
use weir_pdata::text::TextColumn;

use crate::LogLimit;
use crate::health::{Health, OwnClock};

/// Milliseconds between log lines about the same trouble.
const LOG_INTERVAL: i64 = 10_000;

/// How far the clocks of hosts may be ahead, and the reports about those that are. One for a processor.
#[derive(Debug)]
pub struct EventClocks {
    processor: Arc<str>,
    bounds: ClockBounds,
    metrics: ClockMetrics,
    own: OwnClock,
    future: LogLimit,
    ahead: LogLimit,
    behind: LogLimit,
}

/// How far an event may be ahead of its arrival, in milliseconds.
#[derive(Clone, Copy, Debug)]
pub struct ClockBounds {
    /// One that is further is left out.
    pub max_future: i64,
    /// One that is further moves the watermark only as far as this.
    pub max_ahead: i64,
}

/// The counts of one processor.
#[derive(Clone, Debug)]
pub struct ClockMetrics {
    /// Events left out because of `max_future`.
    pub future: Counter,
    /// Events that moved the watermark less because of `max_ahead`.
    pub ahead: Counter,
    /// How far the clock is behind every event of a batch, in milliseconds, while nothing of a batch can be
    /// used.
    pub behind: Gauge,
}

impl EventClocks {
    /// The clocks of the events of this processor, whose health says when the gateway's own is behind.
    #[must_use]
    pub fn new(
        processor: Arc<str>,
        bounds: ClockBounds,
        metrics: ClockMetrics,
        health: Health,
    ) -> EventClocks {
        let limit = || LogLimit::every_ms(LOG_INTERVAL);
        let own = OwnClock::new(health);
        EventClocks { processor, bounds, metrics, own, future: limit(), ahead: limit(), behind: limit() }
    }

    /// Begins with a batch that is read at `now_ms`.
    #[must_use]
    pub fn batch<'a>(&'a self, columns: &'a RecordBatch, now_ms: i64) -> BatchClocks<'a> {
        BatchClocks {
            of: self,
            columns,
            arrivals: Arrivals::of(columns),
            now_ms,
            future: 0,
            nearest: None,
            ahead: 0,
            furthest: None,
        }
    }
}

/// The clocks of the events of one batch.
#[derive(Debug)]
pub struct BatchClocks<'a> {
    of: &'a EventClocks,
    columns: &'a RecordBatch,
    arrivals: Option<Arrivals<'a>>,
    now_ms: i64,
    /// Events left out.
    future: u64,
    /// How far the nearest of them is ahead.
    nearest: Option<i64>,
    /// Events that moved the watermark less.
    ahead: u64,
    /// How far the furthest of them is ahead, and its row.
    furthest: Option<(i64, usize)>,
}

impl BatchClocks<'_> {
    #[inline]
    fn arrival(&self, row: usize) -> i64 {
        match &self.arrivals {
            None => self.now_ms,
            Some(arrivals) => arrivals.get(row).unwrap_or(self.now_ms),
        }
    }

    /// Whether all events of the batch count as having arrived at the same time.
    #[inline]
    pub fn is_same_arrival(&self) -> bool {
        self.arrivals.is_none()
    }

    /// Whether no event of the batch can be from the future or ahead of its arrival, as the latest is at this
    /// time. `false`: each has to be looked at.
    #[must_use]
    pub fn is_past(&self, latest_ms: i64) -> bool {
        let bound = self.of.bounds.max_future.min(self.of.bounds.max_ahead);
        self.arrivals.is_none() && latest_ms <= self.now_ms.saturating_add(bound)
    }

    /// Whether the event of this row is from the future, and left out.
    #[inline]
    pub fn is_future(&mut self, row: usize, time_ms: i64) -> bool {
        let arrival = self.arrival(row);
        let future = time_ms > arrival.saturating_add(self.of.bounds.max_future);
        if future {
            self.future += 1;
            let ahead = time_ms.saturating_sub(arrival);
            self.nearest = Some(self.nearest.map_or(ahead, |nearest| nearest.min(ahead)));
        }
        future
    }

    /// The time up to which the event of this row moves the watermark, the out-of-orderness not yet taken
    /// off.
    #[inline]
    pub fn reach(&mut self, row: usize, time_ms: i64) -> i64 {
        let arrival = self.arrival(row);
        let ceiling = arrival.saturating_add(self.of.bounds.max_ahead);
        if time_ms > ceiling {
            self.ahead += 1;
            self.furthest = self.furthest.max(Some((time_ms.saturating_sub(arrival), row)));
        }
        time_ms.min(ceiling)
    }

    /// Counts, and warns of clocks that are wrong. `usable`: the batch has an event that is not left out.
    pub fn report(&self, usable: bool) {
        self.report_left_out();
        self.report_ahead();
        self.report_behind(usable);
    }

    /// The part of [`report`](Self::report) about events that are left out.
    pub fn report_left_out(&self) {
        let EventClocks { processor, bounds, metrics, .. } = self.of;
        metrics.future.inc_by(self.future);
        if self.future > 0
            && let Some(suppressed) = self.of.future.allow(self.now_ms)
        {
            tracing::warn!(
                %processor, events = self.future, max_future_ms = bounds.max_future, suppressed,
                "events from the future are left out; check the clocks of their hosts"
            );
        }
    }

    /// The part of [`report`](Self::report) about events that move the watermark less.
    pub fn report_ahead(&self) {
        let EventClocks { processor, bounds, metrics, .. } = self.of;
        metrics.ahead.inc_by(self.ahead);
        if let Some((ahead_ms, row)) = self.furthest
            && let Some(suppressed) = self.of.ahead.allow(self.now_ms)
        {
            tracing::warn!(
                %processor, events = self.ahead, service = self.text("service", row),
                instance = self.text("service_instance", row), ahead_ms, max_ahead_ms = bounds.max_ahead, suppressed,
                "the clock of this instance is ahead: its events do not move the watermark further than the time of arrival; set its clock"
            );
        }
    }

    /// The part of [`report`](Self::report) about the clock from which arrivals are.
    pub fn report_behind(&self, usable: bool) {
        let EventClocks { processor, bounds, metrics, own, .. } = self.of;
        let whose = if self.arrivals.is_some() { "the Kafka broker" } else { "this gateway" };
        match self.nearest.filter(|_| !usable) {
            // Else other lanes show that the clock of these hosts is ahead.
            Some(behind_ms) if own.all_future(self.now_ms, behind_ms, whose) => {
                metrics.behind.set(behind_ms);
                if let Some(suppressed) = self.of.behind.allow(self.now_ms) {
                    tracing::error!(
                        %processor, events = self.future, behind_ms,
                        max_future_ms = bounds.max_future, suppressed,
                        "every event of a batch is from the future and is left out: the clock of {whose} is behind; set it"
                    );
                }
            }
            None if usable => {
                own.usable(self.now_ms);
                metrics.behind.set(0);
            }
            _ => {}
        }
    }

    fn text(&self, column: &str, row: usize) -> String {
        let column = self.columns.column_by_name(column).and_then(TextColumn::new);
        column.and_then(|column| column.get(row).map(str::to_owned)).unwrap_or_default()
    }
}
