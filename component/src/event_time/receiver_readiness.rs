//! The receivers for which windows wait.
//!
//! A trunk knows from the start which receivers are configured, and waits for each until it has opened its
//! lanes. So the events of a receiver that connects late are not late. When lanes of a receiver close before
//! their stream has ended (partitions that move, a stop), the trunk waits again, until the receiver has
//! opened its lanes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::delivery::{LaneStart, TrunkStart};
use crate::{Clock, LaneId, LogLimit};

/// How long windows wait without a word in the log.
const PATIENCE: i64 = 60_000;

/// The receivers of one pipeline, as a stage of its trunk sees them.
#[derive(Debug)]
pub struct ReceiverReadiness {
    receivers: BTreeSet<Arc<str>>,
    /// The receiver of each open lane.
    lanes: BTreeMap<LaneId, Arc<str>>,
    /// Since when, in milliseconds, when somebody asked.
    since: Option<i64>,
    log: LogLimit,
}

impl ReceiverReadiness {
    /// Every receiver that is configured.
    #[must_use]
    pub fn new(trunk: &TrunkStart) -> ReceiverReadiness {
        let receivers = trunk.receivers.iter().cloned().collect();
        ReceiverReadiness {
            receivers,
            lanes: BTreeMap::new(),
            since: None,
            log: LogLimit::every_ms(PATIENCE),
        }
    }

    /// A lane is open.
    pub fn open(&mut self, start: &LaneStart) {
        if let Some(receiver) = &start.receiver {
            self.lanes.insert(start.lane, Arc::clone(receiver));
        }
    }

    /// A lane is closed. `ended`: its stream has come to its end.
    pub fn close(&mut self, lane: LaneId, ended: bool) {
        if let Some(receiver) = self.lanes.remove(&lane).filter(|_| !ended) {
            self.receivers.insert(receiver);
        }
    }

    /// This receiver has opened what it has.
    pub fn ready(&mut self, receiver: &Arc<str>) {
        self.receivers.remove(receiver);
        if self.receivers.is_empty() {
            self.since = None;
        }
    }

    /// Whether windows wait for a receiver. Says so in the log when that takes long.
    pub fn is_waiting(&mut self, processor: &str, clock: &dyn Clock) -> bool {
        let Some(first) = self.receivers.first() else { return false };
        let now = clock.now_ms();
        let since = *self.since.get_or_insert(now);
        if now.saturating_sub(since) >= PATIENCE
            && let Some(suppressed) = self.log.allow(now)
        {
            tracing::warn!(
                processor, receiver = %first, seconds = now.saturating_sub(since) / 1000, suppressed,
                "windows wait for a receiver that has not begun: its events belong into them, too"
            );
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn windows_wait_for_every_receiver_and_again_when_lanes_are_closed_early() {
        let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let trunk = TrunkStart { receivers: [a.clone(), b.clone()].into(), ..TrunkStart::default() };
        let clock = ManualClock::at(0);
        let mut readiness = ReceiverReadiness::new(&trunk);
        readiness.open(&LaneStart { receiver: Some(a.clone()), ..LaneId(1).into() });
        readiness.ready(&a);
        assert!(readiness.is_waiting("p", &clock), "b has not connected");
        readiness.ready(&b);
        assert!(!readiness.is_waiting("p", &clock), "b has no lane for now");
        readiness.close(LaneId(1), false);
        assert!(readiness.is_waiting("p", &clock), "a begins again");
        readiness.open(&LaneStart { receiver: Some(a.clone()), ..LaneId(2).into() });
        readiness.ready(&a);
        readiness.close(LaneId(2), true);
        assert!(!readiness.is_waiting("p", &clock), "its stream has ended");
    }
}
