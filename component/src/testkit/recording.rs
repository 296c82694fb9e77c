//! Lanes that record what a receiver sends.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::Notify;
use weir_pdata::{Encoded, EventBatch};

use crate::delivery::{Ledger, Shard};
use crate::{Lane, LaneClosed, LaneId, LaneMessage, LaneSink, LaneSpec, Lanes, Rejects, Watermark};

/// Stands for the pipelines below a receiver. Cheap to clone; clones share the record.
#[derive(Clone, Default)]
pub struct RecordingLanes(Arc<Shared>);

#[derive(Default)]
struct Shared {
    lanes: Mutex<Vec<RecordedLane>>,
    changed: Notify,
}

/// The messages that one lane saw.
#[derive(Clone, Default)]
pub struct RecordedLane {
    /// The name that the receiver gave.
    pub name: Arc<str>,
    /// Every message, in order. Batches keep their acks open until [`RecordingLanes::take_batches`].
    pub messages: Vec<LaneMessage>,
    /// Whether the receiver has dropped the lane.
    pub closed: bool,
    /// The shard of its ledger, when the receiver keeps one.
    pub shard: Option<Shard>,
    rejects: Option<Arc<dyn Rejects>>,
}

impl RecordingLanes {
    /// A copy of everything seen so far.
    #[must_use]
    pub fn lanes(&self) -> Vec<RecordedLane> {
        self.0.lanes.lock().unwrap().clone()
    }

    /// Takes the batches recorded so far out of all lanes. Dropping them acknowledges them.
    #[must_use]
    pub fn take_batches(&self) -> Vec<EventBatch> {
        let mut taken = Vec::new();
        for lane in self.0.lanes.lock().unwrap().iter_mut() {
            let messages = std::mem::take(&mut lane.messages);
            for message in messages {
                match message {
                    LaneMessage::Batch(batch) => taken.push(batch),
                    other => lane.messages.push(other),
                }
            }
        }
        taken
    }

    /// Waits until `condition` holds on what was recorded.
    ///
    /// # Panics
    /// When it does not within `timeout`.
    pub async fn wait_until(&self, timeout: Duration, condition: impl Fn(&[RecordedLane]) -> bool) {
        let holds = async {
            loop {
                let changed = self.0.changed.notified();
                if condition(&self.0.lanes.lock().unwrap()) {
                    return;
                }
                changed.await;
            }
        };
        assert!(
            tokio::time::timeout(timeout, holds).await.is_ok(),
            "the lanes never came to the expected state"
        );
    }

    /// Checks the rules for receivers: watermarks never go back, nothing follows `Drain`.
    ///
    /// # Panics
    /// When a rule is broken.
    pub fn check_contract(&self) {
        for lane in self.lanes() {
            let mut last = Watermark::MIN;
            let mut drained = false;
            for message in &lane.messages {
                assert!(!drained, "{}: a message after Drain", lane.name);
                match message {
                    LaneMessage::Watermark(watermark) => {
                        assert!(*watermark >= last, "{}: the watermark went back", lane.name);
                        last = *watermark;
                    }
                    LaneMessage::Drain => drained = true,
                    LaneMessage::Batch(_) | LaneMessage::Idle(_) => {}
                }
            }
        }
    }
}

impl RecordedLane {
    /// The batches among the messages.
    pub fn batches(&self) -> impl Iterator<Item = &EventBatch> {
        self.messages.iter().filter_map(|message| match message {
            LaneMessage::Batch(batch) => Some(batch),
            _ => None,
        })
    }

    /// Rejects a record as a decoder would.
    pub fn reject(&self, encoded: &Encoded, index: usize, position: i64, reason: &str) {
        if let Some(rejects) = &self.rejects {
            rejects.reject(encoded, index, position, reason);
        }
    }
}

impl Lanes for RecordingLanes {
    fn open(&self, spec: LaneSpec) -> Lane {
        let mut lanes = self.0.lanes.lock().unwrap();
        let index = lanes.len();
        let shard = spec.ledger.as_ref().map(Ledger::shard);
        let lane =
            RecordedLane { name: spec.name, shard, rejects: Some(spec.rejects), ..RecordedLane::default() };
        lanes.push(lane);
        self.0.changed.notify_waiters();
        Lane::new(LaneId(index as u64), Box::new(Sink { shared: self.0.clone(), index }))
    }
}

struct Sink {
    shared: Arc<Shared>,
    index: usize,
}

#[async_trait]
impl LaneSink for Sink {
    async fn send(&mut self, message: LaneMessage) -> Result<(), LaneClosed> {
        self.shared.lanes.lock().unwrap()[self.index].messages.push(message);
        self.shared.changed.notify_waiters();
        Ok(())
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        self.shared.lanes.lock().unwrap()[self.index].closed = true;
        self.shared.changed.notify_waiters();
    }
}
