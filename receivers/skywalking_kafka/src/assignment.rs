//! The partitions that this receiver owns, each with its lane.
//!
//! An ownership lasts from assignment to revocation. Its offset tracker goes with it, so that what is acknowledged
//! later is never committed by the next one.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use weir_component::{LaneClosed, LaneSpec, ReceiverHost};

use crate::batching::Limits;
use crate::inbox::Inbox;
use crate::lane::LaneTask;
use crate::metrics::PartitionMetrics;
use crate::position::Position;
use crate::rejects::{PartitionRejects, TopicRejects};

/// The owned partitions.
pub(crate) struct Assignment {
    host: ReceiverHost,
    runtime: Handle,
    topic: Arc<str>,
    rejects: Arc<TopicRejects>,
    limits: Limits,
    queue_bytes: usize,
    owned: BTreeMap<i32, Owned>,
}

/// One ownership of one partition.
pub(crate) struct Owned {
    pub(crate) position: Position,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) metrics: PartitionMetrics,
    /// Waits for its pipeline.
    pub(crate) paused: bool,
    /// Its lane ends: nothing more is read.
    pub(crate) closing: bool,
    task: JoinHandle<Result<(), LaneClosed>>,
}

/// A lane ended although nobody closed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The pipeline has stopped.
    Closed,
    /// Something below the receiver panicked in this partition's task.
    Panicked(i32),
}

impl Assignment {
    pub(crate) fn new(
        host: ReceiverHost,
        runtime: Handle,
        rejects: Arc<TopicRejects>,
        topic: Arc<str>,
        limits: Limits,
        queue_bytes: usize,
    ) -> Assignment {
        Assignment { host, runtime, topic, rejects, limits, queue_bytes, owned: BTreeMap::new() }
    }

    /// Opens the lane of a partition. One that is open already stays as it is.
    pub(crate) fn open(&mut self, partition: i32) {
        if self.owned.contains_key(&partition) {
            return;
        }
        let _entered = self.runtime.enter();
        let context = &self.host.context;
        let rejects = Arc::new(PartitionRejects::new(self.rejects.clone(), partition));
        let name = format!("{}/{partition}", self.topic);
        let lane = self.host.open_lane(LaneSpec { name: Arc::from(&*name), rejects: rejects.clone() });
        let inbox = Arc::new(Inbox::new(self.limits));
        let position = Position::default();
        let receiver = context.id.to_string();
        let task = LaneTask {
            lane,
            inbox: inbox.clone(),
            tracker: position.tracker.clone(),
            rejects,
            name: Arc::from(format!("{receiver}/{name}")),
        };
        let metrics = PartitionMetrics::new(&context.telemetry, &receiver, &self.topic, partition);
        let task = self.runtime.spawn(task.run());
        let owned = Owned { position, inbox, metrics, paused: false, closing: false, task };
        self.owned.insert(partition, owned);
    }

    /// Ends the lanes of these partitions in an orderly way. Takes time: see [`drained`](Self::drained).
    pub(crate) fn close(&mut self, partitions: &[i32]) {
        for owned in self.some(partitions) {
            owned.closing = true;
            owned.inbox.close();
        }
    }

    /// Whether the lanes have ended and nothing that they were given can still become committable.
    pub(crate) fn drained(&mut self, partitions: &[i32]) -> bool {
        self.some(partitions).all(|owned| owned.task.is_finished() && owned.position.is_final())
    }

    /// Gives these partitions up. What is not finished is cancelled; the next owner reads it again.
    pub(crate) fn drop_all(&mut self, partitions: &[i32]) {
        for partition in partitions {
            if let Some(owned) = self.owned.remove(partition) {
                owned.task.abort();
            }
        }
    }

    pub(crate) fn get_mut(&mut self, partition: i32) -> Option<&mut Owned> {
        self.owned.get_mut(&partition)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (i32, &mut Owned)> {
        self.owned.iter_mut().map(|(partition, owned)| (*partition, owned))
    }

    pub(crate) fn partitions(&self) -> Vec<i32> {
        self.owned.keys().copied().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.owned.len()
    }

    /// A lane that ended by itself. Each is told once.
    pub(crate) fn ended(&mut self) -> Option<Ended> {
        let (partition, owned) =
            self.owned.iter_mut().find(|(_, owned)| !owned.closing && owned.task.is_finished())?;
        owned.closing = true;
        // The task is finished, so this does not wait.
        Some(match self.runtime.block_on(&mut owned.task) {
            Ok(_) => Ended::Closed,
            Err(_) => Ended::Panicked(*partition),
        })
    }

    /// Bytes of one partition that may wait: a partition is paused at the first number and resumed at the second.
    pub(crate) fn pressure(&self) -> (usize, usize) {
        let share = self.queue_bytes / self.owned.len().max(1);
        let high = share.max(self.limits.max_bytes);
        (high, high / 4)
    }

    fn some(&mut self, partitions: &[i32]) -> impl Iterator<Item = &mut Owned> {
        self.owned.iter_mut().filter(|(partition, _)| partitions.contains(partition)).map(|(_, owned)| owned)
    }
}
