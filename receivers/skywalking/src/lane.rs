//! The task of one lane: from the connections down the lane, and back when it is delivered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Map;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use weir_component::collector_names::AnsweredItems;
use weir_component::{Context, Lane, LaneClosed, LaneMessage, RecordCounters, RejectedRecords, Rejects};
use weir_pdata::{
    Ack, AckSink, Encoded, EventBatch, Format, ItemCount, MemoryPermit, Origin, Outcome, Payload, Signal,
};

use crate::held::Held;

/// How long a lane is idle before it says so, and how often it says so again.
const IDLE_REPORT: Duration = Duration::from_secs(1);

/// Records that go down a lane together, and who waits for them.
pub(crate) struct Delivery {
    pub(crate) format: Format,
    pub(crate) arena: Vec<u8>,
    pub(crate) records: Vec<std::ops::Range<u32>>,
    /// Told whether all of it is safe.
    pub(crate) waiter: Waiter,
    /// Given back when the lane has it: from then on `service.memory.limit` counts its bytes.
    pub(crate) rooms: Vec<Held>,
}

/// What the task of a lane works with.
pub(crate) struct LaneTask {
    pub(crate) lane: Lane,
    pub(crate) deliveries: mpsc::Receiver<Delivery>,
    /// For [`Origin::lane`].
    pub(crate) name: Arc<str>,
    pub(crate) context: Context,
    pub(crate) counters: RecordCounters,
}

impl LaneTask {
    /// Sends until nobody can bring anything any more, then drains the lane and gives it back. It is open
    /// until it is dropped, so that lanes that end together end at one moment. `None`: the pipeline has
    /// stopped.
    pub(crate) async fn run(mut self) -> Option<Lane> {
        self.send_all().await.is_ok().then_some(self.lane)
    }

    async fn send_all(&mut self) -> Result<(), LaneClosed> {
        let waiting = Arc::new(Waiting::default());
        let (mut position, mut number) = (0_i64, 0_u64);
        let (mut since, mut said) = (Instant::now(), Duration::ZERO);
        loop {
            let next = tokio::select! {
                biased;
                next = self.deliveries.recv() => next,
                () = tokio::time::sleep_until(since + said + IDLE_REPORT) => {
                    said = since.elapsed();
                    self.lane.send(LaneMessage::Idle(said)).await?;
                    continue;
                }
            };
            let Some(delivery) = next else { return self.lane.send(LaneMessage::Drain).await };
            self.lane.ready().await;
            let Delivery { format, arena, records, waiter, rooms } = delivery;
            let (count, bytes) = (records.len() as u64, arena.len() as u64);
            let end = position.saturating_add_unsigned(count);
            let written = vec![self.context.clock.now_ms(); records.len()];
            number += 1;
            let items = waiter.items.clone();
            waiting.0.lock().unwrap_or_else(PoisonError::into_inner).insert(number, waiter);
            let encoded = Encoded {
                format,
                arena: arena.into(),
                records: records.into(),
                positions: None,
                arrivals: None,
                written: format.needs_times().then(|| written.into()),
                items,
            };
            let batch = EventBatch {
                signal: format.signal(),
                payload: Payload::Encoded(encoded),
                origin: Origin::lane(Arc::clone(&self.name), position..end),
                ack: Ack::new(waiting.clone(), number),
                permit: MemoryPermit::default(),
            };
            position = end;
            let sent = self.lane.send(LaneMessage::Batch(batch)).await;
            drop(rooms);
            sent?;
            self.counters.records.inc_by(count);
            self.counters.bytes.inc_by(bytes);
            (since, said) = (Instant::now(), Duration::ZERO);
        }
    }
}

/// Who waits for a batch. When this is dropped the client is told that it is not safe, unless it is settled.
pub(crate) struct Waiter {
    answer: Option<oneshot::Sender<bool>>,
    /// Where its items are counted.
    counters: Arc<AnsweredItems>,
    signal: Signal,
    records: usize,
    /// Known when the records have been decoded. Else they count as themselves.
    items: ItemCount,
}

impl Waiter {
    /// For a batch of so many records.
    pub(crate) fn new(
        answer: oneshot::Sender<bool>,
        counters: Arc<AnsweredItems>,
        signal: Signal,
        records: usize,
    ) -> Waiter {
        Waiter { answer: Some(answer), counters, signal, records, items: ItemCount::default() }
    }

    fn settle(&mut self, is_safe: bool) {
        let Some(answer) = self.answer.take() else { return };
        let items = self.items.get().unwrap_or(self.records) as u64;
        self.counters.count(self.signal, items, if is_safe { 0 } else { items });
        // The client may be gone.
        let _ = answer.send(is_safe);
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.settle(false);
    }
}

/// Who waits, by the number of the batch.
#[derive(Default)]
struct Waiting(Mutex<HashMap<u64, Waiter>>);

impl AckSink for Waiting {
    fn settle(&self, id: u64, outcome: Outcome) {
        let waiter = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        if let Some(mut waiter) = waiter {
            waiter.settle(outcome == Outcome::Done);
        }
    }

    fn waits_for_windows(&self) -> bool {
        false
    }
}

/// Where records are rejected: counted, logged at a limited rate, and kept as dead letters.
pub(crate) struct LaneRejects {
    counters: RecordCounters,
    records: RejectedRecords,
}

impl LaneRejects {
    pub(crate) fn new(context: Context, counters: RecordCounters) -> LaneRejects {
        LaneRejects { counters, records: RejectedRecords::new(context) }
    }

    /// Rejects a message of this name that is no record of a lane.
    pub(crate) fn reject_message(&self, name: &str, message: &[u8], reason: &str) {
        self.counters.records.inc();
        self.counters.bytes.inc_by(message.len() as u64);
        self.counters.rejected.inc();
        self.records.keep_bytes(message, reason, about(name));
    }
}

impl Rejects for LaneRejects {
    fn reject(&self, encoded: &Encoded, index: usize, _: i64, reason: &str) {
        self.counters.rejected.inc();
        self.records.keep(encoded, index, reason, about(&format!("{:?}", encoded.format)));
    }

    fn escaped(&self, _: &Encoded, _: usize, _: i64, key: &str) {
        self.counters.escaped.inc();
        self.records.escaped(key);
    }

    fn empty(&self, count: usize) {
        self.counters.empty.inc_by(count as u64);
    }
}

/// The fields of a dead letter.
fn about(format: &str) -> Map<String, serde_json::Value> {
    Map::from_iter([("format".to_owned(), format.into())])
}
