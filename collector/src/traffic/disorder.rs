//! How late events are, by lane and signal: histograms of two distances in event time, and the advice that
//! follows.
//!
//! * *Delay*: from the time of an event to its arrival. The arrival is the append time of its record where
//!   the lane keeps it, else the gateway's clock when the batch is read.
//! * *Disorder*: how far an event is behind the latest one of its signal that its lane brought before it. An
//!   event that is ahead of its arrival counts as at its arrival, so that one fast clock does not make all
//!   others late.
//!
//! An event whose disorder is not above `out_of_orderness` is not late in an `aggregate` of its signal. So
//! the advice is the lowest bound of a bucket that 99.9 % of the recent events do not exceed.
//!
//! A batch is counted in plain memory of its lane; its buckets are then added to what is shared, without a
//! lock.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::TimestampNanosecondType;
use weir_pdata::{Arrivals, Signal};

use super::distances::{BatchCounts, Distances};

/// The share of events that the advice keeps, in thousandths.
const KEPT: u64 = 999;

/// The time columns, in the order in which they are looked for.
const TIMES: [&str; 2] = ["end_time", "time"];

/// The distances of the events of one signal: of a lane, or of all lanes that a receiver has had.
#[derive(Debug, Default)]
pub(crate) struct Disorder {
    pub(crate) delay: Distances,
    pub(crate) behind: Distances,
}

impl Disorder {
    /// The `out_of_orderness`, in milliseconds, that would have kept 99.9 % of the recent events.
    pub(crate) fn advice(&self) -> Option<i64> {
        self.behind.at(KEPT)
    }
}

/// Where the disorder of a signal is counted: of a lane, and of its receiver.
pub(super) type Shared = Box<dyn Fn(Signal) -> [Arc<Disorder>; 2] + Send + Sync>;

/// Measures the batches of one lane.
pub(crate) struct LaneDisorder {
    /// `None`: nothing is measured.
    shared: Option<Shared>,
    streams: [Option<Stream>; Signal::ALL.len()],
}

/// The events of one signal of a lane.
struct Stream {
    /// The latest event time, in milliseconds.
    latest: i64,
    shared: [Arc<Disorder>; 2],
}

impl LaneDisorder {
    /// A lane that has brought nothing. `shared` is asked once for each signal.
    pub(super) fn new(shared: Option<Shared>) -> LaneDisorder {
        LaneDisorder { shared, streams: Default::default() }
    }

    /// Measures a batch that is read at `now`, in milliseconds. One without a time column is not measured.
    pub(crate) fn measure(&mut self, signal: Signal, batch: &RecordBatch, now: i64) {
        let Some(shared) = &self.shared else { return };
        let column = TIMES.iter().find_map(|name| batch.column_by_name(name));
        let Some(times) = column.and_then(|array| array.as_primitive_opt::<TimestampNanosecondType>()) else {
            return;
        };
        if times.null_count() == times.len() {
            return;
        }
        let stream = self.streams[signal as usize]
            .get_or_insert_with(|| Stream { latest: i64::MIN, shared: shared(signal) });
        let arrivals = Arrivals::of(batch);
        let (mut delay, mut behind) = (BatchCounts::new(), BatchCounts::new());
        for row in (0..times.len()).filter(|row| times.is_valid(*row)) {
            let time = times.value(row).div_euclid(1_000_000);
            let arrival = arrivals.as_ref().and_then(|arrivals| arrivals.get(row)).unwrap_or(now);
            delay.add(arrival.saturating_sub(time));
            behind.add(stream.latest.max(time).saturating_sub(time));
            stream.latest = stream.latest.max(time.min(arrival));
        }
        for disorder in &stream.shared {
            disorder.delay.add(&delay, now);
            disorder.behind.add(&behind, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, TimestampNanosecondArray};

    fn batch(name: &str, millis: &[Option<i64>]) -> RecordBatch {
        let times = millis.iter().map(|time| time.map(|time| time * 1_000_000));
        let times: ArrayRef = Arc::new(TimestampNanosecondArray::from_iter(times).with_timezone("UTC"));
        RecordBatch::try_from_iter_with_nullable([(name, times, true)]).unwrap()
    }

    /// A lane, and the disorder of its receiver by signal.
    fn lane() -> (LaneDisorder, [Arc<Disorder>; Signal::ALL.len()]) {
        let of_receiver: [Arc<Disorder>; Signal::ALL.len()] = Default::default();
        let shared = of_receiver.clone();
        let both = move |signal| [Arc::default(), Arc::clone(&shared[signal as usize])];
        (LaneDisorder::new(Some(Box::new(both))), of_receiver)
    }

    fn events(distances: &Distances) -> u64 {
        distances.counts().iter().sum()
    }

    /// 1,000 events in order and each tenth 500 ms late, then one that is 40 s late: all but the last within
    /// 512 ms.
    #[test]
    fn the_advice_is_the_bound_that_would_have_kept_all_but_one_in_a_thousand() {
        let (mut lane, shared) = lane();
        let shared = &shared[Signal::Logs as usize];
        let times: Vec<Option<i64>> =
            (0..1_000).map(|n| Some(100_000 + n * 10 - if n % 10 == 9 { 500 } else { 0 })).collect();
        times.chunks(64).for_each(|times| lane.measure(Signal::Logs, &batch("time", times), 200_000));
        lane.measure(Signal::Logs, &batch("time", &[Some(69_980)]), 200_000);
        assert_eq!(shared.advice(), Some(512));
        assert_eq!(shared.behind.longest(), 40_000);
        assert_eq!(events(&shared.behind), 1_001);
        lane.measure(Signal::Logs, &batch("time", &[Some(69_980)]), 200_000);
        assert_eq!(shared.advice(), Some(40_960), "two of 1,002 are more than one in a thousand");
    }

    /// At 90.000 s an event says that it is of 9000 s. The next ones arrive in time, or 1 s late.
    #[test]
    fn a_fast_clock_makes_no_other_event_late() {
        let (mut lane, shared) = lane();
        let shared = &shared[Signal::Traces as usize];
        let first = batch("end_time", &[Some(90_000), Some(9_000_000), None, Some(90_000)]);
        lane.measure(Signal::Traces, &first, 90_000);
        assert_eq!((shared.behind.longest(), shared.delay.longest()), (0, 0));
        assert_eq!(events(&shared.delay), 3);
        lane.measure(Signal::Traces, &batch("end_time", &[Some(95_000), Some(94_000)]), 95_000);
        assert_eq!(shared.behind.longest(), 1_000);
    }

    /// A lane of OTLP has them side by side: metrics of a minute ago are not late for windows of spans.
    #[test]
    fn signals_are_measured_apart() {
        let (mut lane, shared) = lane();
        for n in 0..3 {
            let now = 100_000 + n * 10;
            lane.measure(Signal::Traces, &batch("end_time", &[Some(now)]), now);
            lane.measure(Signal::Metrics, &batch("time", &[Some(now - 60_000)]), now);
        }
        for signal in [Signal::Traces, Signal::Metrics] {
            let shared = &shared[signal as usize];
            assert_eq!((events(&shared.behind), shared.advice()), (3, Some(0)), "{signal:?}");
        }
        assert_eq!(shared[Signal::Metrics as usize].delay.longest(), 60_000);
    }

    #[test]
    fn what_has_no_time_is_not_measured() {
        let (mut lane, shared) = lane();
        lane.measure(Signal::Logs, &batch("observed", &[Some(1)]), 5);
        lane.measure(Signal::Logs, &batch("time", &[None]), 5);
        assert!(shared.iter().all(|shared| (shared.advice(), shared.delay.at(500)) == (None, None)));
    }
}
