//! The thread that commits offsets with their metadata, all partitions of all topics in one request where
//! Kafka lets it.
//!
//! rdkafka 0.39 never calls back for an asynchronous commit, so a refused one would go unnoticed. A
//! synchronous commit waits for Kafka, up to the session timeout when the coordinator is away. So it has a
//! thread of its own. It commits at once when a ledger needs a write before it can go on, else every
//! `commit_interval`.
//!
//! * No request is sent for partitions that have gone. While a request is on its way, its partitions do not
//!   go: librdkafka would send it under the new generation of the group, and it would overwrite the commit of
//!   their next owner.
//! * The partitions of a topic are accepted together, or none of them is. Kafka checks the length of each
//!   metadata text on its own. So a new length is first tried on one partition, with the metadata that Kafka
//!   already has.
//! * Kafka may refuse one topic (it is gone, or the user may not read it any more) and take the others.
//!   librdkafka (2.12) does not say which: it puts the last error on every partition of the request. So after
//!   such an error each topic is committed by itself. One that is refused is tried again every few seconds,
//!   and does not hold up the others. Lanes of both say which windows they shared ([`Metadata::set`]).
//!
//! [`Metadata::set`]: weir_component::delivery::Metadata::set

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use prometheus_client::metrics::gauge::Gauge;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use weir_component::delivery::{Lease, Ledger, MAX_BYTES, Position, positions};
use weir_component::{Context, LogLimit, failpoint};

use crate::consumer::context::KafkaContext;
use crate::metrics::Metrics;
use crate::topics::{Place, TopicSet};

/// How long to wait before a commit that was refused is tried again.
const RETRY: Duration = Duration::from_millis(100);
/// How long before a topic is tried again that Kafka refuses.
const RETRY_TOPIC: Duration = Duration::from_secs(5);
/// How long when a text was too long: only another setting of the brokers helps.
const RETRY_TOO_LONG: Duration = Duration::from_secs(2);

/// The owned partitions, as far as commits care. The thread ends when it is dropped.
pub(crate) struct Committer(Arc<Shared>, Lease);

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    lanes: BTreeMap<Place, CommittedLane>,
    /// The partitions of the request that is on its way.
    sending: BTreeSet<Place>,
    /// Somebody waits for a commit.
    urgent: bool,
    ended: bool,
}

struct CommittedLane {
    ledger: Ledger,
    gauge: Gauge,
    /// The commits of this ownership that Kafka has.
    written: Option<Position>,
}

/// The parts that the thread works with.
struct CommitThread {
    consumer: Weak<BaseConsumer<KafkaContext>>,
    topics: TopicSet,
    context: Context,
    metrics: Metrics,
    interval: Duration,
    lease: Lease,
    log: LogLimit,
    /// The length of the longest text that Kafka is known to keep.
    known_length: usize,
    /// Topics that Kafka refuses, and when each is tried again.
    refused: BTreeMap<usize, Instant>,
}

/// Partitions to commit: the position of each, and its ledger.
type Due<'a> = Vec<(Place, &'a Ledger, Position)>;

/// A request is on its way, until this is dropped.
struct Sending<'a>(&'a Shared);

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        self.0.lock().sending.clear();
    }
}

impl Committer {
    /// Starts the thread. `session`: after so long a silence partitions go to another.
    ///
    /// # Errors
    /// The system has no thread left.
    pub(crate) fn start(
        consumer: &Arc<BaseConsumer<KafkaContext>>,
        topics: TopicSet,
        context: Context,
        metrics: Metrics,
        interval: Duration,
        session: Duration,
    ) -> std::io::Result<Committer> {
        let shared = Arc::new(Shared::default());
        let log = LogLimit::every_ms(10_000);
        let lease = Lease::new(session);
        let consumer = Arc::downgrade(consumer);
        let lease_of_work = lease.clone();
        let work = CommitThread {
            consumer,
            topics,
            context,
            metrics,
            interval,
            lease: lease_of_work,
            log,
            known_length: 0,
            refused: BTreeMap::new(),
        };
        let mine = Arc::clone(&shared);
        std::thread::Builder::new().name("weir-commit".to_owned()).spawn(move || work.run(&mine))?;
        Ok(Committer(shared, lease))
    }

    /// Holds as long as partitions that were assigned cannot be another's: each commit renews it.
    pub(crate) fn lease(&self) -> Lease {
        self.1.clone()
    }

    /// For ledgers to call when something has to be written down soon.
    pub(crate) fn wake(&self) -> Arc<dyn Fn() + Send + Sync> {
        let shared = Arc::downgrade(&self.0);
        Arc::new(move || {
            if let Some(shared) = shared.upgrade() {
                shared.wake();
            }
        })
    }

    /// Commits what there is now.
    pub(crate) fn flush(&self) {
        self.0.wake();
    }

    /// From now on this partition is committed too. The gauge shows its offset.
    pub(crate) fn add(&self, partition: Place, ledger: Ledger, gauge: Gauge) {
        self.0.lock().lanes.insert(partition, CommittedLane { ledger, gauge, written: None });
    }

    /// From now on this partition is not committed any more.
    pub(crate) fn remove(&self, partition: Place) {
        self.0.lock().lanes.remove(&partition);
    }

    /// Whether a request is on its way that commits one of these partitions. They must not go to another
    /// owner before it is answered.
    pub(crate) fn is_sending(&self, partitions: &[Place]) -> bool {
        let state = self.0.lock();
        partitions.iter().any(|partition| state.sending.contains(partition))
    }

    /// Whether Kafka has what the ledgers of these partitions say now.
    pub(crate) fn is_written(&self, partitions: &[Place]) -> bool {
        let state = self.0.lock();
        let owned = partitions.iter().filter_map(|partition| state.lanes.get(partition));
        let (ledgers, written): (Vec<&Ledger>, Vec<&Option<Position>>) =
            owned.map(|entry| (&entry.ledger, &entry.written)).unzip();
        positions(&ledgers).iter().zip(written).all(|(now, written)| now == written)
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.0.lock().ended = true;
        self.0.changed.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        self.lock().urgent = true;
        self.changed.notify_one();
    }

    /// A request with these lanes is on its way from now on. `None`: one of them has gone.
    fn begin_sending(&self, due: &Due<'_>) -> Option<Sending<'_>> {
        let mut state = self.lock();
        let is_owned = |(partition, ledger, _): &(Place, &Ledger, Position)| {
            state.lanes.get(partition).is_some_and(|entry| entry.ledger.is_same(ledger))
        };
        if state.ended || !due.iter().all(is_owned) {
            return None;
        }
        state.sending = due.iter().map(|(partition, ..)| *partition).collect();
        Some(Sending(self))
    }

    /// A position that Kafka has, or that it can have without anything being lost: that with the shortest
    /// text.
    fn shortest(&self, due: &Due<'_>) -> Option<(Place, i64, String)> {
        let state = self.lock();
        let known = |(partition, ledger, _): &(Place, &Ledger, Position)| {
            let written = state.lanes.get(partition).and_then(|entry| entry.written.clone());
            let Position { offset, metadata, .. } = written.or_else(|| ledger.resumed())?;
            Some((*partition, offset, metadata.encode()))
        };
        due.iter().filter_map(known).min_by_key(|(.., text)| text.len())
    }
}

impl CommitThread {
    fn run(mut self, shared: &Shared) {
        loop {
            let idle = |state: &mut State| !state.urgent && !state.ended;
            let pause = if self.refused.is_empty() { self.interval } else { self.interval.min(RETRY_TOPIC) };
            let waited = shared.changed.wait_timeout_while(shared.lock(), pause, idle);
            let (mut state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if state.ended {
                return;
            }
            state.urgent = false;
            drop(state);
            let Some(consumer) = self.consumer.upgrade() else { return };
            if let Err(error) = self.commit(shared, &consumer) {
                let too_long = is_too_long(&error);
                self.refused(&error);
                let ended = |state: &mut State| !state.ended;
                let pause = if too_long { RETRY_TOO_LONG } else { RETRY };
                let waited = shared.changed.wait_timeout_while(shared.lock(), pause, ended);
                waited.unwrap_or_else(PoisonError::into_inner).0.urgent = true;
            }
        }
    }

    fn commit(&mut self, shared: &Shared, consumer: &BaseConsumer<KafkaContext>) -> KafkaResult<()> {
        let lanes: Vec<(Place, Ledger)> =
            shared.lock().lanes.iter().map(|(partition, entry)| (*partition, entry.ledger.clone())).collect();
        self.refused.retain(|topic, _| lanes.iter().any(|(place, _)| place.topic == *topic));
        let ledgers: Vec<&Ledger> = lanes.iter().map(|(_, ledger)| ledger).collect();
        let positions = lanes.iter().zip(positions(&ledgers));
        let due = positions.filter_map(|((place, ledger), position)| Some((*place, ledger, position?)));
        let (refused, due): (Due<'_>, Due<'_>) =
            due.partition(|(place, ..)| self.refused.contains_key(&place.topic));
        let now = Instant::now();
        for alone in by_topic(refused) {
            let topic = alone.first().map_or(0, |(place, ..)| place.topic);
            if self.refused.get(&topic).is_some_and(|next| *next <= now) {
                self.commit_topic(topic, &alone, shared, consumer)?;
            }
        }
        let topics: BTreeSet<usize> = due.iter().map(|(place, ..)| place.topic).collect();
        match self.send(&due, shared, consumer) {
            Err(error) if topics.len() > 1 && is_of_a_topic(&error) => {
                for alone in by_topic(due) {
                    let topic = alone.first().map_or(0, |(place, ..)| place.topic);
                    self.commit_topic(topic, &alone, shared, consumer)?;
                }
                Ok(())
            }
            answer => answer,
        }
    }

    /// Commits the partitions of one topic. That Kafka refuses the topic is no error: the others go on.
    fn commit_topic(
        &mut self,
        topic: usize,
        due: &Due<'_>,
        shared: &Shared,
        consumer: &BaseConsumer<KafkaContext>,
    ) -> KafkaResult<()> {
        match self.send(due, shared, consumer) {
            Ok(()) => {
                self.refused.remove(&topic);
                Ok(())
            }
            Err(error) if is_of_a_topic(&error) => {
                self.refused.insert(topic, Instant::now() + RETRY_TOPIC);
                self.refused_topic(topic, &error);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Commits these partitions in one request, when there is something new.
    fn send(
        &mut self,
        due: &Due<'_>,
        shared: &Shared,
        consumer: &BaseConsumer<KafkaContext>,
    ) -> KafkaResult<()> {
        let news = |state: &State| {
            due.iter().any(|(place, _, position)| {
                state.lanes.get(place).is_some_and(|entry| entry.written.as_ref() != Some(position))
            })
        };
        if !news(&shared.lock()) {
            return Ok(());
        }
        let mut list = TopicPartitionList::with_capacity(due.len());
        let mut longest = 0;
        for (place, _, position) in due {
            let text = position.metadata.encode();
            longest = longest.max(text.len());
            self.add(&mut list, *place, position.offset, text)?;
        }
        let Some(sending) = shared.begin_sending(due) else {
            shared.wake();
            return Ok(());
        };
        let sent = Instant::now();
        let answer = self.try_length(shared, consumer, due, longest).and_then(|()| {
            failpoint::reach("before-commit");
            if moves_marks(&shared.lock(), due) {
                failpoint::reach("before-mark");
            }
            consumer.commit(&list, CommitMode::Sync)
        });
        drop(sending);
        match &answer {
            Ok(()) => self.known_length = self.known_length.max(longest),
            Err(error) if is_too_long(error) => {
                self.known_length = 0;
                self.report_too_long(longest);
            }
            Err(_) => {}
        }
        answer?;
        self.lease.renew(sent);
        failpoint::reach("after-commit");
        for (place, ledger, position) in due {
            ledger.written(position);
            // Meanwhile the partition may have another owner, whose positions these are not.
            let mut state = shared.lock();
            if let Some(entry) = state.lanes.get_mut(place).filter(|entry| entry.ledger.is_same(ledger)) {
                entry.gauge.set(position.offset);
                entry.written = Some(position.clone());
            }
        }
        Ok(())
    }

    fn add(&self, list: &mut TopicPartitionList, place: Place, offset: i64, text: String) -> KafkaResult<()> {
        let mut element = list.add_partition(self.topics.name(place.topic), place.partition);
        element.set_offset(Offset::Offset(offset))?;
        element.set_metadata(text);
        Ok(())
    }

    /// Sees that Kafka keeps a text of this length, when that is not known and the request is for several
    /// partitions: commits what is there already once more, with a text that blanks make so long.
    fn try_length(
        &mut self,
        shared: &Shared,
        consumer: &BaseConsumer<KafkaContext>,
        due: &Due<'_>,
        longest: usize,
    ) -> KafkaResult<()> {
        if due.len() < 2 || longest <= self.known_length {
            return Ok(());
        }
        let Some((partition, offset, text)) = shared.shortest(due) else { return Ok(()) };
        // Most brokers take the default.
        let lengths = [MAX_BYTES.max(longest), longest];
        let mut answer = Ok(());
        for length in lengths {
            let padded = format!("{text:length$}");
            let length = padded.len();
            let mut list = TopicPartitionList::with_capacity(1);
            self.add(&mut list, partition, offset, padded)?;
            answer = consumer.commit(&list, CommitMode::Sync);
            match &answer {
                Ok(()) => {
                    self.known_length = length;
                    return Ok(());
                }
                Err(error) if is_too_long(error) => {}
                Err(_) => return answer,
            }
        }
        answer
    }

    fn report_too_long(&self, bytes: usize) {
        if let Some(suppressed) = self.log.allow(self.context.clock.now_ms()) {
            let (receiver, topics) = (&self.context.id, &self.topics);
            tracing::error!(
                %receiver, %topics, bytes, suppressed,
                "the metadata of an offset is larger than the brokers keep (offset.metadata.max.bytes), and nothing goes on \
                 without it: give the group fewer aggregates and exporters, or raise that setting"
            );
        }
    }

    fn refused(&self, error: &KafkaError) {
        self.metrics.commit_failures.inc();
        if let Some(suppressed) = self.log.allow(self.context.clock.now_ms()) {
            let (receiver, topics) = (&self.context.id, &self.topics);
            tracing::warn!(%receiver, %topics, %error, suppressed, "offsets were not committed: trying again");
        }
    }

    fn refused_topic(&self, topic: usize, error: &KafkaError) {
        self.metrics.commit_failures.inc();
        if let Some(suppressed) = self.log.allow(self.context.clock.now_ms()) {
            let (receiver, topic) = (&self.context.id, self.topics.name(topic));
            tracing::warn!(
                %receiver, %topic, %error, suppressed,
                "Kafka does not take the offsets of this topic: its records wait for it, the other topics go on; trying again"
            );
        }
    }
}

/// The same partitions, those of each topic apart.
fn by_topic(due: Due<'_>) -> Vec<Due<'_>> {
    let mut topics: BTreeMap<usize, Due<'_>> = BTreeMap::new();
    for one in due {
        topics.entry(one.0.topic).or_default().push(one);
    }
    topics.into_values().collect()
}

/// Whether windows are about to be committed as stored that were not before.
fn moves_marks(state: &State, due: &Due<'_>) -> bool {
    due.iter().any(|(partition, _, position)| {
        let written = state.lanes.get(partition).and_then(|entry| entry.written.as_ref());
        written.is_some_and(|written| written.metadata.windows != position.metadata.windows)
    })
}

/// Whether Kafka refuses a topic, and not the member of the group.
fn is_of_a_topic(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownTopicId
                | RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::InvalidTopic
        )
    )
}

fn is_too_long(error: &KafkaError) -> bool {
    error.rdkafka_error_code() == Some(RDKafkaErrorCode::OffsetMetadataTooLarge)
}

#[cfg(test)]
mod tests;
