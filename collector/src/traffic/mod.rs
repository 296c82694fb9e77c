//! The traffic of the running program: rows over each edge of the pipelines, and how late events are on each
//! lane. `GET /debug/pipelines` shows it, and some of it is metrics.

mod disorder;
mod distances;
mod flow;
mod metrics;
mod page;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use weir_component::LaneId;
use weir_pdata::Signal;

use disorder::Disorder;
pub(crate) use disorder::LaneDisorder;
pub(crate) use flow::Flow;
pub use metrics::METRICS;
pub(crate) use metrics::TrafficMetrics;
pub(crate) use page::{json, text};

/// The counts of the parts that run. Cheap to clone; clones share it.
#[derive(Clone, Debug)]
pub struct Traffic {
    parts: Arc<Mutex<Parts>>,
    is_read: bool,
}

#[derive(Debug, Default)]
struct Parts {
    flows: Vec<Arc<Flow>>,
    lanes: BTreeMap<LaneId, LaneTraffic>,
    /// Of all lanes that a receiver has had.
    receivers: BTreeMap<String, Disorders>,
}

/// How late events are, by signal.
type Disorders = BTreeMap<Signal, Arc<Disorder>>;

/// A lane that is open.
#[derive(Clone, Debug)]
pub(crate) struct LaneTraffic {
    pub(crate) receiver: String,
    pub(crate) name: Arc<str>,
    pub(crate) disorders: Disorders,
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
    /// Nothing runs yet. `is_read`: something may ask for it; else the times of events are not measured.
    pub(crate) fn new(is_read: bool) -> Traffic {
        Traffic { parts: Arc::default(), is_read }
    }

    fn parts<T>(&self, of: impl FnOnce(&mut Parts) -> T) -> T {
        of(&mut self.parts.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A pipeline runs.
    pub(crate) fn add(&self, flow: Arc<Flow>) {
        self.parts(|parts| parts.flows.push(flow));
    }

    /// A lane opens. It is shown as long as the entry lives.
    pub(crate) fn open_lane(&self, id: LaneId, receiver: &str, name: Arc<str>) -> (LaneEntry, LaneDisorder) {
        let lane = LaneTraffic { receiver: receiver.to_owned(), name, disorders: Disorders::new() };
        self.parts(|parts| {
            parts.lanes.insert(id, lane);
            parts.receivers.entry(receiver.to_owned()).or_default();
        });
        let (traffic, receiver) = (self.clone(), receiver.to_owned());
        let shared: disorder::Shared = Box::new(move |signal| traffic.disorders(id, &receiver, signal));
        (LaneEntry { traffic: self.clone(), id }, LaneDisorder::new(self.is_read.then_some(shared)))
    }

    /// Where the disorder of a signal is counted, of a lane and of its receiver.
    fn disorders(&self, id: LaneId, receiver: &str, signal: Signal) -> [Arc<Disorder>; 2] {
        let of = |disorders: Option<&mut Disorders>| {
            disorders.map_or_else(Arc::default, |disorders| Arc::clone(disorders.entry(signal).or_default()))
        };
        self.parts(|parts| {
            let lane = parts.lanes.get_mut(&id).map(|lane| &mut lane.disorders);
            [of(lane), of(parts.receivers.get_mut(receiver))]
        })
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
    pub(crate) fn receivers(&self) -> Vec<(String, Disorders)> {
        self.parts(|parts| parts.receivers.iter().map(|(id, of)| (id.clone(), of.clone())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, RecordBatch, TimestampNanosecondArray};

    /// Nobody could read it.
    #[test]
    fn without_an_address_nothing_is_measured() {
        let times: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![5]).with_timezone("UTC"));
        let batch = RecordBatch::try_from_iter([("time", times)]).unwrap();
        for is_read in [true, false] {
            let traffic = Traffic::new(is_read);
            let (_entry, mut lane) = traffic.open_lane(LaneId(1), "file", Arc::from("all"));
            lane.measure(Signal::Logs, &batch, 7);
            let measured = usize::from(is_read);
            assert_eq!(traffic.receivers()[0].1.len(), measured);
            assert_eq!(traffic.lanes()[0].disorders.len(), measured);
        }
    }
}
