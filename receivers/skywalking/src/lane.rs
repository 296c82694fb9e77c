//! The task of one lane: from the connections down the lane, and back when it is delivered.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Map;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;
use weir_component::{Context, Lane, LaneClosed, LaneMessage, LogLimit, Rejects};
use weir_pdata::{Ack, AckSink, Encoded, EventBatch, Format, MemoryPermit, Origin, Outcome, Payload};

use crate::metrics::Metrics;

/// How long a lane is idle before it says so, and how often it says so again.
const IDLE_REPORT: Duration = Duration::from_secs(1);

/// Records that go down a lane together, and who waits for them.
pub(crate) struct Delivery {
    pub(crate) format: Format,
    pub(crate) arena: Vec<u8>,
    pub(crate) records: Vec<std::ops::Range<u32>>,
    /// Told whether all of it is safe.
    pub(crate) answer: oneshot::Sender<bool>,
    /// Given back when the lane has it: from then on `service.memory.limit` counts its bytes.
    pub(crate) rooms: Vec<OwnedSemaphorePermit>,
}

/// What the task of a lane works with.
pub(crate) struct LaneTask {
    pub(crate) lane: Lane,
    pub(crate) deliveries: mpsc::Receiver<Delivery>,
    /// For [`Origin::lane`].
    pub(crate) name: Arc<str>,
    pub(crate) context: Context,
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
            let Delivery { format, arena, records, answer, rooms } = delivery;
            let end = position.saturating_add_unsigned(records.len() as u64);
            let written = vec![self.context.clock.now_ms(); records.len()];
            number += 1;
            waiting.0.lock().unwrap_or_else(PoisonError::into_inner).insert(number, answer);
            let encoded = Encoded {
                format,
                arena: arena.into(),
                records: records.into(),
                positions: None,
                arrivals: None,
                written: format.needs_times().then(|| written.into()),
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
            (since, said) = (Instant::now(), Duration::ZERO);
        }
    }
}

/// Who waits, by the number of the batch.
#[derive(Default)]
struct Waiting(Mutex<HashMap<u64, oneshot::Sender<bool>>>);

impl AckSink for Waiting {
    fn settle(&self, id: u64, outcome: Outcome) {
        let answer = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
        if let Some(answer) = answer {
            // The client may be gone.
            let _ = answer.send(outcome == Outcome::Done);
        }
    }

    fn waits_for_windows(&self) -> bool {
        false
    }
}

/// Where records are rejected: counted, logged at a limited rate, and kept as dead letters.
pub(crate) struct LaneRejects {
    context: Context,
    metrics: Metrics,
    log: LogLimit,
    escapes: LogLimit,
}

impl LaneRejects {
    pub(crate) fn new(context: Context, metrics: Metrics) -> LaneRejects {
        let (log, escapes) = (LogLimit::every_ms(10_000), LogLimit::every_ms(10_000));
        LaneRejects { context, metrics, log, escapes }
    }
}

impl Rejects for LaneRejects {
    fn reject(&self, encoded: &Encoded, index: usize, _: i64, reason: &str) {
        self.metrics.rejected.inc();
        let record = encoded.records.get(index).and_then(|range| {
            let (start, end) = (usize::try_from(range.start).ok()?, usize::try_from(range.end).ok()?);
            encoded.arena.get(start..end)
        });
        let fields = Map::from_iter([
            ("format".to_owned(), format!("{:?}", encoded.format).into()),
            ("data".to_owned(), STANDARD.encode(record.unwrap_or_default()).into()),
        ]);
        self.context.dead_letters.write(&self.context.id, reason, fields);
        if let Some(suppressed) = self.log.allow(self.context.clock.now_ms()) {
            let receiver = &self.context.id;
            tracing::warn!(%receiver, reason, suppressed, "a record was rejected; it is kept in the dead letters");
        }
    }

    fn escaped(&self, _: &Encoded, _: usize, _: i64, key: &str) {
        self.metrics.escaped.inc();
        if let Some(suppressed) = self.escapes.allow(self.context.clock.now_ms()) {
            let receiver = &self.context.id;
            tracing::warn!(
                %receiver, key, suppressed,
                "a text is not UTF-8: it is stored with the bytes in question escaped (\\xHH)"
            );
        }
    }

    fn empty(&self, count: usize) {
        self.metrics.empty.inc_by(count as u64);
    }
}
