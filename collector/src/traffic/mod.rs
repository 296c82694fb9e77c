//! The traffic of the running program: rows over each edge of the pipelines, and how late events are on each
//! lane. `GET /debug/pipelines` shows it, and some of it is metrics.

mod disorder;
mod flow;
mod metrics;
mod page;
mod process;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use weir_component::LaneId;

use disorder::Disorder;
pub(crate) use disorder::LaneDisorder;
pub(crate) use flow::Flow;
pub use metrics::METRICS;
pub(crate) use metrics::{TrafficMetrics, identity};
pub(crate) use page::{json, text};
pub(crate) use process::Process;

/// What is counted, of the parts that run. Cheap to clone; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Traffic(Arc<Mutex<Parts>>);

#[derive(Debug, Default)]
struct Parts {
    flows: Vec<Arc<Flow>>,
    lanes: BTreeMap<LaneId, LaneTraffic>,
    /// Of all lanes that a receiver has had.
    receivers: BTreeMap<String, Arc<Disorder>>,
}

/// A lane that is open.
#[derive(Clone, Debug)]
pub(crate) struct LaneTraffic {
    pub(crate) receiver: String,
    pub(crate) name: Arc<str>,
    pub(crate) disorder: Arc<Disorder>,
}

/// Keeps a lane among those that are shown.
pub(crate) struct LaneEntry {
    traffic: Traffic,
    id: LaneId,
}

impl Drop for LaneEntry {
    fn drop(&mut self) {
        self.traffic.parts(|parts| parts.lanes.remove(&self.id));
    }
}

impl Traffic {
    fn parts<T>(&self, of: impl FnOnce(&mut Parts) -> T) -> T {
        of(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A pipeline runs.
    pub(crate) fn add(&self, flow: Arc<Flow>) {
        self.parts(|parts| parts.flows.push(flow));
    }

    /// A lane opens. It is shown as long as the entry lives.
    pub(crate) fn open_lane(&self, id: LaneId, receiver: &str, name: Arc<str>) -> (LaneEntry, LaneDisorder) {
        let of_lane = Arc::new(Disorder::default());
        let lane = LaneTraffic { receiver: receiver.to_owned(), name, disorder: Arc::clone(&of_lane) };
        let of_receiver = self.parts(|parts| {
            parts.lanes.insert(id, lane);
            Arc::clone(parts.receivers.entry(receiver.to_owned()).or_default())
        });
        (LaneEntry { traffic: self.clone(), id }, LaneDisorder::new(of_lane, of_receiver))
    }

    /// The pipelines.
    pub(crate) fn flows(&self) -> Vec<Arc<Flow>> {
        self.parts(|parts| parts.flows.clone())
    }

    /// The lanes that are open.
    pub(crate) fn lanes(&self) -> Vec<LaneTraffic> {
        self.parts(|parts| parts.lanes.values().cloned().collect())
    }

    /// How late the events of each receiver are.
    pub(crate) fn receivers(&self) -> Vec<(String, Arc<Disorder>)> {
        self.parts(|parts| parts.receivers.iter().map(|(id, one)| (id.clone(), Arc::clone(one))).collect())
    }
}
