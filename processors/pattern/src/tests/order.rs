//! Matches depend on the events alone: any order of arrival within the bound, any batches and any lanes give
//! the same.

use proptest::prelude::*;
use weir_component::{LaneId, LaneMessage, TrunkMessage, Watermark};
use weir_pdata::Signal;

use super::{TWO_HITS, Trunk, batch, briefs, rows, window};

/// Hits and misses of two keys at different times, and how much later than their time each arrives.
fn events() -> impl Strategy<Value = Vec<(i64, &'static str, bool, i64)>> {
    let one = (prop_oneof![Just("a"), Just("b")], any::<bool>(), 0..1500_i64, 1..900_i64);
    prop::collection::vec(one, 0..25).prop_map(|all| {
        let mut time = 10_000;
        let next = |(key, hit, delay, later): (&'static str, bool, i64, i64)| {
            time += later;
            (time, key, hit, delay)
        };
        all.into_iter().map(next).collect()
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn disorder_batches_and_lanes_change_nothing(events in events(), size in 1..6_usize, lanes in 1..4_u64) {
        let line = |(time, key, hit, _): &(i64, &'static str, bool, i64)| {
            window(key, time + 1, if *hit { 600 } else { 1 })
        };
        let mut sorted = Trunk::new(TWO_HITS);
        let mut expected = Vec::new();
        for event in &events {
            sorted.windows(&[line(event)]);
            expected.extend(sorted.watermark(event.0));
        }

        let mut arrivals = events.clone();
        arrivals.sort_by_key(|(time, _, _, delay)| time + delay);
        let mut trunk = Trunk::new(TWO_HITS);
        (0..lanes).for_each(|lane| drop(trunk.send(TrunkMessage::LaneOpened(LaneId(lane).into()))));
        let mut found = Vec::new();
        for (number, chunk) in arrivals.chunks(size).enumerate() {
            let lines: Vec<_> = chunk.iter().map(line).collect();
            let lane = LaneId(number as u64 % lanes);
            trunk.lane(lane, LaneMessage::Batch(batch(Signal::Windows, &lines, trunk.probe.ack())));
            let latest = arrivals[..number * size + chunk.len()].iter().map(|event| event.0).max().unwrap();
            // No event that is still to come is older than the latest by more than the longest delay.
            let messages = trunk.lane(lane, LaneMessage::Watermark(Watermark(latest - 1500 - 1)));
            found.extend(rows(Signal::Alarms, &messages));
        }
        for lane in 0..lanes {
            let last = trunk.lane(LaneId(lane), LaneMessage::Watermark(Watermark::MAX));
            found.extend(rows(Signal::Alarms, &last));
        }
        prop_assert_eq!(trunk.counted("late_events"), 0);
        prop_assert_eq!(trunk.probe.open(), 0);
        prop_assert_eq!(briefs(&found), briefs(&expected));
        prop_assert_eq!(found, expected);
    }
}
