//! How many rows and batches have gone over each edge of the pipelines.
//!
//! An edge leads from one part of a pipeline to the next one: on lanes from the receivers through the
//! processors to the exporters, from the half of a processor on lanes to that on the trunk, and along the
//! trunk. What passes a processor that has no stage there counts on both of its edges. Counting is two
//! additions for each batch, without a lock.

use std::sync::atomic::{AtomicU64, Ordering};

use weir_pdata::{EventBatch, Signal};

/// Rows (records, while not decoded) and batches that went over an edge, by signal.
#[derive(Debug, Default)]
pub(crate) struct Edge([Count; Signal::ALL.len()]);

#[derive(Debug, Default)]
struct Count {
    rows: AtomicU64,
    batches: AtomicU64,
}

impl Edge {
    /// A batch goes over it.
    pub(crate) fn count(&self, batch: &EventBatch) {
        let count = &self.0[batch.signal as usize];
        count.rows.fetch_add(batch.len() as u64, Ordering::Relaxed);
        count.batches.fetch_add(1, Ordering::Relaxed);
    }

    /// Rows and batches of a signal.
    pub(crate) fn get(&self, signal: Signal) -> (u64, u64) {
        let count = &self.0[signal as usize];
        (count.rows.load(Ordering::Relaxed), count.batches.load(Ordering::Relaxed))
    }
}

/// The edges of one pipeline.
#[derive(Debug)]
pub(crate) struct Flow {
    /// The pipeline's id.
    pub(crate) id: String,
    /// The ids of its receivers, processors and exporters, in order.
    pub(crate) receivers: Vec<String>,
    pub(crate) processors: Vec<String>,
    pub(crate) exporters: Vec<String>,
    /// On lanes: into each processor, and into the exporters.
    pub(crate) lanes: Box<[Edge]>,
    /// From the half of each processor on lanes to that on the trunk.
    to_trunk: Box<[Edge]>,
    /// Along the trunk: out of each processor, to the next one or the exporters.
    trunk: Box<[Edge]>,
}

impl Flow {
    /// The edges of a pipeline of these parts.
    pub(crate) fn new(
        id: String,
        receivers: Vec<String>,
        processors: Vec<String>,
        exporters: Vec<String>,
    ) -> Flow {
        let edges = |count: usize| (0..count).map(|_| Edge::default()).collect();
        let count = processors.len();
        let (lanes, to_trunk, trunk) = (edges(count + 1), edges(count), edges(count));
        Flow { id, receivers, processors, exporters, lanes, to_trunk, trunk }
    }

    /// A batch goes on a lane from behind processor `from` (0: the receivers) to processor `to`, or to the
    /// exporters where there are only so many.
    pub(crate) fn on_lane(&self, from: usize, to: usize, batch: &EventBatch) {
        let to = to.min(self.processors.len());
        self.lanes.iter().take(to + 1).skip(from).for_each(|edge| edge.count(batch));
    }

    /// A batch goes from the half of processor `at` on a lane to that on the trunk.
    pub(crate) fn to_trunk(&self, at: usize, batch: &EventBatch) {
        self.to_trunk.iter().skip(at).take(1).for_each(|edge| edge.count(batch));
    }

    /// A batch goes along the trunk from processor `from` to processor `to`, or to the exporters.
    pub(crate) fn on_trunk(&self, from: usize, to: usize, batch: &EventBatch) {
        self.trunk.iter().take(to).skip(from).for_each(|edge| edge.count(batch));
    }

    /// Every edge that something went over: where, from what, to what, and how much of which signal.
    pub(crate) fn rows(&self) -> Vec<FlowRow> {
        let processor = |at: usize| format!("processor:{}", self.processors[at]);
        let joined = |kind: &str, ids: &[String]| {
            ids.iter().map(|id| format!("{kind}:{id}")).collect::<Vec<_>>().join(", ")
        };
        let next = |at: usize| {
            if at < self.processors.len() { processor(at) } else { joined("exporter", &self.exporters) }
        };
        let mut rows = Vec::new();
        let mut add = |place: &'static str, from: String, to: String, edge: &Edge| {
            for signal in Signal::ALL {
                let (count, batches) = edge.get(signal);
                if batches > 0 {
                    let (from, to) = (from.clone(), to.clone());
                    rows.push(FlowRow { place, from, to, signal, rows: count, batches });
                }
            }
        };
        for (at, edge) in self.lanes.iter().enumerate() {
            let from = match at.checked_sub(1) {
                Some(before) => processor(before),
                None => joined("receiver", &self.receivers),
            };
            add("lanes", from, next(at), edge);
        }
        for (at, edge) in self.to_trunk.iter().enumerate() {
            add("to the trunk", processor(at), processor(at), edge);
        }
        for (at, edge) in self.trunk.iter().enumerate() {
            add("trunk", processor(at), next(at + 1), edge);
        }
        rows
    }
}

/// What went over one edge of one signal.
#[derive(Debug)]
pub(crate) struct FlowRow {
    pub(crate) place: &'static str,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) signal: Signal,
    pub(crate) rows: u64,
    pub(crate) batches: u64,
}
