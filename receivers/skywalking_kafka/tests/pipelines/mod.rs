//! Pipelines that can be held up, or stopped.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Mutex;

use async_trait::async_trait;
use tokio::sync::watch;
use weir_component::testkit::RecordingLanes;
use weir_component::{Lane, LaneClosed, LaneId, LaneMessage, LaneSink, LaneSpec, Lanes};

/// Recording lanes behind a gate. Cheap to clone.
#[derive(Clone)]
pub struct GatedLanes {
    recorded: RecordingLanes,
    shut: Arc<Mutex<HashSet<String>>>,
    state: watch::Sender<State>,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Gated,
    Open,
    Stopped,
}

impl Default for GatedLanes {
    fn default() -> GatedLanes {
        GatedLanes {
            recorded: RecordingLanes::default(),
            shut: Arc::default(),
            state: watch::Sender::new(State::Gated),
        }
    }
}

impl GatedLanes {
    /// Lets nothing into this lane until [`open`](Self::open).
    pub fn shut(&self, lane: &str) {
        self.shut.lock().unwrap().insert(lane.to_owned());
    }

    pub fn open(&self) {
        self.state.send_replace(State::Open);
    }

    pub fn stop_pipeline(&self) {
        self.state.send_replace(State::Stopped);
    }

    pub fn recorded(&self) -> &RecordingLanes {
        &self.recorded
    }
}

impl Lanes for GatedLanes {
    fn open(&self, spec: LaneSpec) -> Lane {
        let shut = self.shut.lock().unwrap().contains(&*spec.name);
        let lane = self.recorded.open(spec);
        Lane::new(LaneId(lane.id().0), Box::new(Sink { lane, shut, state: self.state.subscribe() }))
    }
}

struct Sink {
    lane: Lane,
    shut: bool,
    state: watch::Receiver<State>,
}

#[async_trait]
impl LaneSink for Sink {
    async fn send(&mut self, message: LaneMessage) -> Result<(), LaneClosed> {
        if self.shut {
            let _ = self.state.wait_for(|state| *state != State::Gated).await;
        }
        if *self.state.borrow() == State::Stopped {
            if let LaneMessage::Batch(batch) = &message {
                batch.ack.fail();
            }
            return Err(LaneClosed);
        }
        self.lane.send(message).await
    }
}
