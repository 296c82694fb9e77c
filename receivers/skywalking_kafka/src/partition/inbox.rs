//! The queue between the thread that polls Kafka and the task of one partition.
//!
//! The thread never waits here. When [`Inbox::weight`] is too high, it takes no more records of the
//! partition.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::partition::batching::{Batching, Chunk, Limits, Stamp};
use crate::partition::idle_timer::IdleTimer;

/// The records of one partition that wait for its task.
pub(crate) struct Inbox {
    state: Mutex<State>,
    weight: AtomicUsize,
    changed: Notify,
}

struct State {
    batching: Batching,
    idle_timer: IdleTimer,
    closed: bool,
}

/// The next act of the task.
#[derive(Debug)]
pub(crate) enum Next {
    /// Send these records.
    Chunk(Chunk),
    /// Say that the partition has been idle for this long.
    Idle(Duration),
    /// End the lane. What still waits is dropped; the next owner of the partition reads it again.
    Close,
}

impl Inbox {
    /// `cuts`: offsets that no batch may span, rising.
    pub(crate) fn new(limits: Limits, cuts: Vec<i64>) -> Inbox {
        let state = State {
            batching: Batching::new(limits, cuts),
            idle_timer: IdleTimer::new(Instant::now()),
            closed: false,
        };
        Inbox { state: Mutex::new(state), weight: AtomicUsize::new(0), changed: Notify::new() }
    }

    /// Begins to add records that have come together.
    pub(crate) fn fill(&self) -> Filler<'_> {
        Filler { inbox: self, state: self.lock(), now: Instant::now(), wake: false }
    }

    /// The partition is read to its end.
    pub(crate) fn end(&self) {
        if self.lock().idle_timer.reached_end(Instant::now()) {
            self.changed.notify_one();
        }
    }

    /// Whether the partition's broker answers.
    pub(crate) fn reachable(&self, reachable: bool) {
        self.lock().idle_timer.set_reachable(reachable, Instant::now());
        self.changed.notify_one();
    }

    /// No more records: the task ends its lane.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        drop(state);
        self.changed.notify_one();
    }

    /// Waits until it is closed. For the task that also calls [`next`](Self::next), in its place.
    pub(crate) async fn closed(&self) {
        while !self.lock().closed {
            self.changed.notified().await;
        }
    }

    /// Bytes that wait.
    pub(crate) fn weight(&self) -> usize {
        self.weight.load(Ordering::Relaxed)
    }

    /// The task has just delivered what it took.
    pub(crate) fn delivered(&self) {
        self.lock().idle_timer.delivered(Instant::now());
    }

    /// Waits for something to do. For one task.
    pub(crate) async fn next(&self) -> Next {
        loop {
            let wake = {
                let mut state = self.lock();
                if state.closed {
                    return Next::Close;
                }
                let now = Instant::now();
                if let Some(chunk) = state.batching.take(now) {
                    self.weight.store(state.batching.weight(), Ordering::Relaxed);
                    return Next::Chunk(chunk);
                }
                if state.batching.is_empty() {
                    if let Some(idle) = state.idle_timer.report(now) {
                        return Next::Idle(idle);
                    }
                    state.idle_timer.next_report()
                } else {
                    state.batching.ready_at()
                }
            };
            // `Notify` keeps a notification that comes before the wait begins.
            match wake {
                Some(wake) => {
                    let _ = tokio::time::timeout_at(wake.into(), self.changed.notified()).await;
                }
                None => self.changed.notified().await,
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds records. The task sees them when this is dropped.
pub(crate) struct Filler<'a> {
    inbox: &'a Inbox,
    state: MutexGuard<'a, State>,
    now: Instant,
    /// Whether the task has to be woken.
    wake: bool,
}

impl Filler<'_> {
    /// A record.
    pub(crate) fn push(&mut self, offset: i64, stamp: Stamp, (key, record): (&[u8], &[u8])) {
        self.add(|batching, now| batching.push(offset, stamp, (key, record), now));
    }

    /// A record that has nothing for the lane.
    pub(crate) fn skip(&mut self, offset: i64) {
        self.add(|batching, now| batching.skip(offset, now));
    }

    /// Bytes that wait.
    pub(crate) fn weight(&self) -> usize {
        self.state.batching.weight()
    }

    fn add(&mut self, add: impl FnOnce(&mut Batching, Instant) -> bool) {
        if !self.state.closed {
            self.state.idle_timer.got_record();
            self.wake |= add(&mut self.state.batching, self.now);
        }
    }
}

impl Drop for Filler<'_> {
    fn drop(&mut self) {
        self.inbox.weight.store(self.state.batching.weight(), Ordering::Relaxed);
        if self.wake {
            self.inbox.changed.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_pdata::Format;

    const SEGMENT: Stamp = Stamp { format: Format::SkyWalkingSegment, arrival: None, written: None };

    fn inbox() -> Inbox {
        Inbox::new(Limits { max_records: 2, max_bytes: 1000, timeout: Duration::from_millis(1) }, Vec::new())
    }

    #[tokio::test]
    async fn records_come_out_as_chunks_and_the_weight_goes_down() {
        let inbox = inbox();
        let mut filling = inbox.fill();
        filling.push(0, SEGMENT, (b"", b"a"));
        filling.push(1, SEGMENT, (b"", b"b"));
        filling.push(2, SEGMENT, (b"", b"c"));
        drop(filling);
        assert!(inbox.weight() > 3);
        let Next::Chunk(chunk) = inbox.next().await else { panic!("a chunk") };
        assert_eq!(chunk.offsets, [0, 1]);
        let Next::Chunk(chunk) = inbox.next().await else { panic!("a chunk after its timeout") };
        assert_eq!(chunk.offsets, [2]);
        assert_eq!(inbox.weight(), 0);
    }

    #[tokio::test]
    async fn closing_wakes_the_task_and_drops_what_waits() {
        let inbox = std::sync::Arc::new(inbox());
        let task = tokio::spawn({
            let inbox = inbox.clone();
            async move { inbox.next().await }
        });
        inbox.close();
        assert!(matches!(task.await.unwrap(), Next::Close));
        inbox.fill().push(0, SEGMENT, (b"", b"late"));
        assert!(matches!(inbox.next().await, Next::Close));
        assert_eq!(inbox.weight(), 0);
    }
}
