//! When segments are sent, and the event time that each has before disorder.
//!
//! Segments have numbers from 0 over all lanes; lane `l` of `n` sends the segments `l`, `l + n`, `l + 2n`, ….
//! Paced lanes send at ticks: what belongs to a tick depends on settings only, so batches are the same in
//! every run.

use std::ops::Range;
use std::time::Duration;

use crate::written::Rate;

/// Event time advances at this rate when `rate` is `unlimited` and `start_time` is fixed.
const UNLIMITED_EVENT_RATE: f64 = 10_000.0;
const SHORTEST_TICK: f64 = 0.05;
const LONGEST_TICK: f64 = 1.0;

/// The schedule of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    rate: Rate,
    lanes: u64,
    count: u64,
    start_ms: i64,
    follows_clock: bool,
}

impl Pace {
    /// A schedule for `lanes` lanes and `count` segments together (0 = endless), from `start_ms` on.
    /// `fixed`: whether event times are to depend on the start only.
    pub(crate) fn new(rate: Rate, lanes: u64, count: u64, start_ms: i64, fixed: bool) -> Pace {
        let lanes = lanes.max(1);
        Pace { rate, lanes, count, start_ms, follows_clock: rate == Rate::Unlimited && !fixed }
    }

    /// The time from tick to tick of a lane; `None` when it sends without pause.
    pub(crate) fn tick(&self) -> Option<Duration> {
        self.per_tick().map(|(tick, _)| Duration::from_secs_f64(tick))
    }

    /// Which of the lane's own segments (from 0) belong to tick number `tick`.
    pub(crate) fn due(&self, lane: u64, tick: u64) -> Range<u64> {
        let Some((_, segments)) = self.per_tick() else { return 0..0 };
        // At most 2^53 segments are counted exactly: 28,000 years at 10,000 a second.
        let upto = |ticks: u64| ((ticks as f64 * segments) as u64).min(self.of_lane(lane));
        upto(tick)..upto(tick.saturating_add(1))
    }

    /// How many segments the lane has in all.
    pub(crate) fn of_lane(&self, lane: u64) -> u64 {
        match self.count {
            0 => u64::MAX,
            count => count.saturating_sub(lane).div_ceil(self.lanes),
        }
    }

    /// The number, over all lanes, of a lane's own segment.
    pub(crate) fn number(&self, lane: u64, own: u64) -> u64 {
        own.saturating_mul(self.lanes).saturating_add(lane)
    }

    /// The event time of a segment before disorder. `now_ms` is the clock, which only an unlimited rate looks
    /// at.
    pub(crate) fn time_ms(&self, number: u64, now_ms: i64) -> i64 {
        let rate = match self.rate {
            Rate::Unlimited if self.follows_clock => return now_ms,
            Rate::Unlimited => UNLIMITED_EVENT_RATE,
            Rate::PerSecond(rate) => rate,
        };
        self.start_ms.saturating_add((number as f64 * 1000.0 / rate) as i64)
    }

    /// Seconds and segments of a tick of one lane.
    fn per_tick(&self) -> Option<(f64, f64)> {
        let Rate::PerSecond(rate) = self.rate else { return None };
        let of_lane = rate / self.lanes as f64;
        let tick = (1.0 / of_lane).clamp(SHORTEST_TICK, LONGEST_TICK);
        Some((tick, tick * of_lane))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_second_of_ticks_has_the_rate_and_times_follow_the_number() {
        let pace = Pace::new(Rate::PerSecond(200.0), 1, 0, 1_000, true);
        assert_eq!(pace.tick(), Some(Duration::from_millis(50)));
        assert_eq!((pace.due(0, 0), pace.due(0, 19)), (0..10, 190..200));
        assert_eq!((pace.time_ms(0, 9), pace.time_ms(200, 9), pace.time_ms(3, 9)), (1_000, 2_000, 1_015));
    }

    #[test]
    fn a_slow_rate_wakes_up_once_a_second_at_most() {
        let pace = Pace::new(Rate::PerSecond(0.1), 1, 0, 0, true);
        assert_eq!(pace.tick(), Some(Duration::from_secs(1)));
        assert_eq!((pace.due(0, 0), pace.due(0, 9)), (0..0, 0..1));
    }

    #[test]
    fn unlimited_times_follow_the_clock_or_the_fixed_start() {
        assert_eq!(Pace::new(Rate::Unlimited, 1, 0, 5, false).time_ms(10_000, 77), 77);
        assert_eq!(Pace::new(Rate::Unlimited, 1, 0, 5, true).time_ms(10_000, 77), 1_005);
        assert_eq!(Pace::new(Rate::Unlimited, 1, 0, 5, true).tick(), None);
    }

    proptest! {
        #[test]
        fn every_segment_is_due_on_one_lane_at_one_tick(
            rate in 1.0..5_000.0f64,
            lanes in 1..8u64,
            count in 1..500u64,
        ) {
            let pace = Pace::new(Rate::PerSecond(rate), lanes, count, 0, true);
            let mut numbers = Vec::new();
            for lane in 0..lanes {
                let (mut own, mut tick) = (0, 0);
                while own < pace.of_lane(lane) {
                    let due = pace.due(lane, tick);
                    prop_assert_eq!(due.start, own);
                    numbers.extend(due.clone().map(|own| pace.number(lane, own)));
                    (own, tick) = (due.end, tick + 1);
                }
            }
            numbers.sort_unstable();
            prop_assert!(numbers.iter().copied().eq(0..count));
        }
    }
}
