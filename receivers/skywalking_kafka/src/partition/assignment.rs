//! The partitions that this receiver owns, each with its lane.
//!
//! An ownership lasts from assignment to revocation. Its offset tracker ends with it, so an acknowledgement
//! that comes later is never committed by the next ownership.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use weir_component::delivery::{Ledger, LedgerSpec, Metadata, Shard};
use weir_component::{Lane, LaneClosed, LaneSet, LaneSpec, ReceiverHost};

use crate::consumer::partition_queue::FetchQueue;
use crate::metrics::PartitionMetrics;
use crate::partition::batching::Limits;
use crate::partition::inbox::Inbox;
use crate::partition::position::ReadPosition;
use crate::partition::rejects::{PartitionRejects, TopicRejects};
use crate::partition::task::LaneTask;
use crate::rebalance::committer::Committer;
use crate::rebalance::start_offsets::{Recheck, Start};
use crate::topics::{Place, TopicSet};

/// The owned partitions.
pub(crate) struct Assignment {
    host: ReceiverHost,
    runtime: Handle,
    topics: TopicSet,
    /// Of each topic.
    rejects: Vec<Arc<TopicRejects>>,
    limits: Limits,
    queue_bytes: usize,
    /// Of each topic, the part of its partitions' own shards that is the same.
    own_shards: Vec<u32>,
    owned: BTreeMap<Place, Owned>,
    /// Lanes that say nothing, for partitions of which Kafka does not say where they begin.
    held: BTreeMap<Place, Lane>,
}

/// One ownership of one partition.
pub(crate) struct Owned {
    pub(crate) position: ReadPosition,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) rejects: Arc<PartitionRejects>,
    pub(crate) metrics: PartitionMetrics,
    /// The records that librdkafka has fetched. What is not taken from it stays there, and when it is full no
    /// more is fetched.
    pub(crate) queue: Option<FetchQueue>,
    /// Waits for its pipeline: nothing is taken from the queue.
    pub(crate) paused: bool,
    /// Its lane ends: nothing more is read.
    pub(crate) closing: bool,
    /// The end of the partition in the latest statistics, when everything up to there had been taken.
    pub(crate) reported_end: Option<i64>,
    task: Option<JoinHandle<Result<Lane, LaneClosed>>>,
    /// The lanes that end with its own, until it has ended.
    set: Option<NamedSet>,
}

/// Lanes that begin and end together, and a text that no other such lanes have.
#[derive(Clone)]
struct NamedSet {
    lanes: LaneSet,
    name: Arc<str>,
}

/// The input that lanes belong to.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    /// Of each topic: `cluster/group/topic`.
    pub(crate) topics: Vec<Arc<str>>,
    /// That of windows over all of several topics.
    pub(crate) all: Option<Arc<str>>,
}

/// How the windows of partitions are added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WindowScope {
    /// Over all partitions of all topics.
    AllPartitions,
    /// Each partition's apart.
    EachPartition,
}

/// A lane that ended without being closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// The pipeline has stopped.
    Closed,
    /// Something below the receiver panicked in this partition's task.
    Panicked(Place),
}

impl Owned {
    /// Whether records are taken from its queue now.
    pub(crate) fn is_read(&self) -> bool {
        !self.paused && !self.closing
    }
}

impl Assignment {
    pub(crate) fn new(
        host: ReceiverHost,
        runtime: Handle,
        rejects: Vec<Arc<TopicRejects>>,
        topics: TopicSet,
        limits: Limits,
        queue_bytes: usize,
    ) -> Assignment {
        let receiver = host.context.id.to_string();
        let own_shards = own_shards(&receiver, topics.iter().map(|topic| &*topic.name));
        Assignment {
            host,
            runtime,
            own_shards,
            topics,
            rejects,
            limits,
            queue_bytes,
            owned: BTreeMap::new(),
            held: BTreeMap::new(),
        }
    }

    /// Keeps the place of a partition that is waited for: windows over all partitions wait for its share.
    pub(crate) fn hold(&mut self, place: Place, committer: &Committer) {
        if self.held.contains_key(&place) {
            return;
        }
        let _entered = self.runtime.enter();
        let (topic, partition) = (self.topics.name(place.topic), place.partition);
        let Some(rejects) = self.rejects.get(place.topic) else { return };
        let ledger = Ledger::new(LedgerSpec {
            // It has no share in any window.
            source: Arc::from(""),
            input: None,
            set: None,
            number: partition,
            shard: Shard::default(),
            own: self.own_shard(place),
            position: None,
            metadata: Metadata::default(),
            wake: committer.wake(),
        });
        let name = Arc::from(format!("{topic}/{partition}"));
        let rejects = Arc::new(PartitionRejects::new(rejects.clone(), partition, i64::MIN));
        let signal = Some(self.topics.content(place.topic).signal());
        // It brings nothing, so it may end alone.
        let set = LaneSet::default();
        let lane = self.host.open_lane(LaneSpec { name, rejects, ledger: Some(ledger), set, signal });
        self.held.insert(place, lane);
    }

    /// No windows wait for partitions that are waited for.
    pub(crate) fn let_held_go(&mut self) {
        self.held.clear();
    }

    /// Opens the lane of a partition, which begins at `start`.
    pub(crate) fn open(
        &mut self,
        place: Place,
        start: &Start,
        sources: &Sources,
        windows: WindowScope,
        committer: &Committer,
        queue: Option<FetchQueue>,
    ) {
        let _entered = self.runtime.enter();
        let context = &self.host.context;
        let (topic, partition) = (self.topics.name(place.topic), place.partition);
        let Some(rejects) = self.rejects.get(place.topic) else { return };
        let name = format!("{topic}/{partition}");
        let receiver = context.id.to_string();
        let Some(source) = sources.topics.get(place.topic) else { return };
        let own = self.own_shard(place);
        let whole = windows == WindowScope::AllPartitions;
        let set = self.set(windows);
        let spec = LedgerSpec {
            source: Arc::clone(source),
            input: sources.all.clone().filter(|_| whole),
            set: Some(Arc::clone(&set.name)).filter(|_| whole),
            number: partition,
            shard: if whole { Shard::default() } else { own },
            own,
            // While the place is searched for where it begins, nothing is written down.
            position: (!matches!(start.check, Recheck::From(_))).then_some(start.offset),
            metadata: start.metadata.clone(),
            wake: committer.wake(),
        };
        let ledger = Ledger::leased(spec, committer.lease());
        let rejects = Arc::new(PartitionRejects::new(rejects.clone(), partition, ledger.read()));
        let spec = LaneSpec {
            name: Arc::from(&*name),
            rejects: rejects.clone(),
            ledger: Some(ledger.clone()),
            set: set.lanes.clone(),
            signal: Some(self.topics.content(place.topic).signal()),
        };
        let lane = self.host.open_lane(spec);
        let inbox = Arc::new(Inbox::new(self.limits, ledger.cuts()));
        let position = ReadPosition::new(ledger.clone(), start);
        let task = LaneTask {
            lane,
            inbox: inbox.clone(),
            ledger: ledger.clone(),
            // Before anything is made of the records: else the next owner would not know that there has been
            // this one.
            begun: Some(ledger.request_write()),
            rejects: rejects.clone(),
            name: Arc::from(format!("{receiver}/{name}")),
            unfinished: ledger.read(),
            signal: self.topics.content(place.topic).signal(),
        };
        let metrics = PartitionMetrics::new(&context.telemetry, &receiver, topic, partition);
        committer.add(place, ledger, metrics.committed.clone());
        let task = Some(self.runtime.spawn(task.run()));
        let owned = Owned {
            position,
            inbox,
            rejects,
            metrics,
            queue,
            paused: false,
            closing: false,
            reported_end: None,
            task,
            set: Some(set),
        };
        self.owned.insert(place, owned);
        // Its own lane keeps the place now.
        self.held.remove(&place);
    }

    /// Ends the lanes of these partitions in an orderly way. Takes time: see [`drained`](Self::drained).
    pub(crate) fn close(&mut self, partitions: &[Place]) {
        for owned in self.owned_of(partitions) {
            owned.closing = true;
            owned.inbox.close();
        }
    }

    /// Whether the tasks of these partitions have ended, so that their lanes bring nothing more.
    pub(crate) fn stopped(&mut self, partitions: &[Place]) -> bool {
        self.owned_of(partitions).all(|owned| owned.task.as_ref().is_none_or(JoinHandle::is_finished))
    }

    /// Closes these lanes. What is not finished is cancelled; the next owner reads it again. The pipelines
    /// let all of them go at one moment, when the last one has ended.
    pub(crate) fn release(&mut self, partitions: &[Place]) {
        let runtime = self.runtime.clone();
        let tasks: Vec<_> = self.owned_of(partitions).filter_map(|owned| owned.task.take()).collect();
        tasks.iter().for_each(JoinHandle::abort);
        // Each ends at its next await. A finished task gives its lane, which is dropped here.
        tasks.into_iter().for_each(|task| drop(runtime.block_on(task)));
        self.owned_of(partitions).for_each(|owned| owned.set = None);
        if self.owned.values().all(|owned| owned.task.is_none()) {
            self.held.clear();
        }
    }

    /// The lanes with which the next one ends: with whole windows all that are open.
    fn set(&self, windows: WindowScope) -> NamedSet {
        let mut open = self.owned.values().filter(|_| windows == WindowScope::AllPartitions);
        open.find_map(|owned| owned.set.clone()).unwrap_or_else(|| NamedSet {
            lanes: LaneSet::default(),
            // Keys of the standard library's hashers are random: no other set of any gateway has it.
            name: Arc::from(format!(
                "{:x}",
                RandomState::new().hash_one(self.host.context.clock.now_ms()) >> 24
            )),
        })
    }

    fn own_shard(&self, Place { topic, partition }: Place) -> Shard {
        own_shard(self.own_shards.get(topic).copied().unwrap_or_default(), partition)
    }

    /// Whether nothing that these lanes were given can still become committable.
    pub(crate) fn drained(&mut self, partitions: &[Place]) -> bool {
        self.owned_of(partitions).all(|owned| owned.task.is_none() && owned.position.ledger.is_final())
    }

    /// Gives these partitions up. Nothing more is begun for any of them from the first moment on.
    pub(crate) fn drop_all(&mut self, partitions: &[Place], lost: bool) {
        self.owned_of(partitions).for_each(|owned| {
            owned.closing = true;
            let ledger = &owned.position.ledger;
            if lost { ledger.lose() } else { ledger.close() }
        });
        self.release(partitions);
        for partition in partitions {
            self.owned.remove(partition);
            self.held.remove(partition);
        }
    }

    pub(crate) fn get_mut(&mut self, partition: Place) -> Option<&mut Owned> {
        self.owned.get_mut(&partition)
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (Place, &mut Owned)> {
        self.owned.iter_mut().map(|(partition, owned)| (*partition, owned))
    }

    pub(crate) fn partitions(&self) -> Vec<Place> {
        self.owned.keys().copied().collect()
    }

    pub(crate) fn len(&self) -> usize {
        self.owned.len()
    }

    /// How many of a topic are owned.
    pub(crate) fn len_of(&self, topic: usize) -> usize {
        self.owned.keys().filter(|place| place.topic == topic).count()
    }

    /// A lane that ended by itself. Each is returned once.
    pub(crate) fn ended(&mut self) -> Option<Ended> {
        let finished = |owned: &Owned| owned.task.as_ref().is_some_and(JoinHandle::is_finished);
        let (partition, owned) =
            self.owned.iter_mut().find(|(_, owned)| !owned.closing && finished(owned))?;
        owned.closing = true;
        // The task is finished, so this does not wait.
        Some(match self.runtime.block_on(owned.task.take()?) {
            Ok(_) => Ended::Closed,
            Err(_) => Ended::Panicked(*partition),
        })
    }

    /// Bytes of one partition that may wait: nothing more is taken at the first number, until it is at the
    /// second.
    pub(crate) fn queue_limits(&self) -> (usize, usize) {
        let share = self.queue_bytes / self.owned.len().max(1);
        let high = share.max(self.limits.max_bytes);
        (high, high / 4)
    }

    /// How the windows of the open lanes are added up; `None` when there is no lane.
    pub(crate) fn windows(&self) -> Option<WindowScope> {
        let (_, owned) = self.owned.first_key_value()?;
        let whole = owned.position.ledger.shard() == Shard::default();
        Some(if whole { WindowScope::AllPartitions } else { WindowScope::EachPartition })
    }

    fn owned_of(&mut self, partitions: &[Place]) -> impl Iterator<Item = &mut Owned> {
        self.owned.iter_mut().filter(|(partition, _)| partitions.contains(partition)).map(|(_, owned)| owned)
    }
}

/// The shard of a partition's own windows: never 0, and another for each partition of a receiver.
fn own_shard(of_topic: u32, partition: i32) -> Shard {
    Shard(of_topic | (partition.unsigned_abs().saturating_add(1) & 0xffff))
}

/// For each topic the part of its partitions' own shards that is the same: 16 bits of a hash of receiver and
/// topic. A topic whose hash an earlier one has takes the next.
fn own_shards<'a>(receiver: &str, topics: impl Iterator<Item = &'a str>) -> Vec<u32> {
    let step = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    let mut taken = BTreeSet::new();
    let of_topic = |topic: &str| {
        // FNV-1a, folded to 16 bits.
        let mut hash = receiver.bytes().chain([0]).chain(topic.bytes()).fold(0x811c_9dc5, step);
        loop {
            let folded = (hash ^ (hash >> 16)) << 16;
            if taken.insert(folded) {
                return folded;
            }
            hash = step(hash, 1);
        }
    };
    topics.map(of_topic).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_topics_and_receivers_have_shards_of_their_own() {
        let shard =
            |receiver, topic, partition| own_shard(own_shards(receiver, [topic].into_iter())[0], partition);
        assert_eq!(shard("r", "t", 3), shard("r", "t", 3));
        assert_eq!(shard("r", "t", 3).0 & 0xffff, 4);
        let others = [shard("r", "t", 4), shard("r", "u", 3), shard("q", "t", 3)];
        assert!(others.iter().all(|other| *other != shard("r", "t", 3)), "{others:?}");
        // As in every version before.
        assert_eq!(shard("skywalking_kafka", "skywalking-segments", 0).0, 810024961);
    }

    #[test]
    fn topics_of_one_receiver_never_share_a_shard() {
        // Two names with the same hash.
        let mut known: BTreeMap<u32, String> = BTreeMap::new();
        let (first, second) = (0..)
            .find_map(|number| {
                let name = format!("topic-{number}");
                let hash = own_shards("r", [&*name].into_iter())[0];
                known.insert(hash, name.clone()).map(|before| (before, name))
            })
            .unwrap();
        let alone = own_shards("r", [&*first].into_iter())[0];
        assert_eq!(alone, own_shards("r", [&*second].into_iter())[0]);
        let both = own_shards("r", [&*first, &*second].into_iter());
        assert_eq!(both[0], alone, "the first one keeps it");
        assert_ne!(both[0], both[1]);
    }
}
