//! The thread that polls Kafka.
//!
//! It hands records to the tasks of their partitions, and [`Ownership`] answers rebalances. It never waits
//! for a pipeline: it goes on polling while lanes drain.
//!
//! Each partition has a queue of its own in librdkafka. No records are taken from the queue of a partition
//! whose pipeline is behind, so it fills up and librdkafka fetches no more. (A pause would throw away the
//! fetched records. And when all partitions of a broker are paused, librdkafka checks only once a second
//! whether to go on.)

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message, Timestamp};
use tokio_util::sync::CancellationToken;
use weir_component::{ReceiverError, ReceiverHost, Status};

use crate::config::Config;
use crate::consumer::context::{Event, KafkaContext};
use crate::consumer::lost_records::LostRecords;
use crate::consumer::partition_queue::{Fetched, Record};
use crate::consumer::statistics::{ClusterState, PartitionState};
use crate::health::{self, Names};
use crate::metrics::Metrics;
use crate::partition::assignment::{Ended, Owned};
use crate::partition::batching::Stamp;
use crate::partition::position::Continuity;
use crate::partition::rejects::RejectedRecord;
use crate::rebalance::ownership::Ownership;
use crate::topics::{Place, TopicSet};

/// The longest wait when there is nothing to do. Rebalances and errors are seen after it.
const IDLE_WAIT: Duration = Duration::from_millis(100);
/// The longest wait while lanes begin or end, and the longest time between two rounds of housekeeping.
const BUSY_WAIT: Duration = Duration::from_millis(10);
/// The time between two reports of failed input, and of how long records have waited.
const FAILURES_EVERY: Duration = Duration::from_secs(1);

/// How the loop ended.
pub(crate) enum PollEnd {
    /// The receiver was stopped, or the pipeline below it.
    Stopped,
    /// The Kafka client cannot go on; a new one can.
    Fatal(KafkaError),
    /// A restart of the program is needed.
    Failed(ReceiverError),
}

/// One life of a Kafka consumer.
pub(crate) struct PollLoop<'a> {
    consumer: &'a Arc<BaseConsumer<KafkaContext>>,
    config: &'a Config,
    host: &'a ReceiverHost,
    topics: TopicSet,
    metrics: Metrics,
    ownership: Ownership<'a>,
    stopping: bool,
    next_housekeeping: Instant,
    next_failure_report: Instant,
}

impl<'a> PollLoop<'a> {
    pub(crate) fn new(
        consumer: &'a Arc<BaseConsumer<KafkaContext>>,
        config: &'a Config,
        host: &'a ReceiverHost,
        topics: TopicSet,
        metrics: Metrics,
        ownership: Ownership<'a>,
    ) -> PollLoop<'a> {
        let now = Instant::now();
        PollLoop {
            consumer,
            config,
            host,
            topics,
            metrics,
            ownership,
            stopping: false,
            next_housekeeping: now,
            next_failure_report: now,
        }
    }

    /// Reads until `stop`. At the end every lane has ended and what was acknowledged is committed, as far as
    /// possible.
    pub(crate) fn run(mut self, stop: &CancellationToken) -> PollEnd {
        let end = self.read(stop);
        self.ownership.close();
        end
    }

    fn read(&mut self, stop: &CancellationToken) -> PollEnd {
        loop {
            // Rebalances, statistics, errors.
            while let Some(message) = self.consumer.poll(Duration::ZERO) {
                if let Some(end) = self.polled(message) {
                    return end;
                }
            }
            let mut taken = false;
            for partition in self.ownership.assignment.partitions() {
                taken |= self.take(partition, None);
            }
            let now = Instant::now();
            if !taken || now >= self.next_housekeeping {
                self.next_housekeeping = now + BUSY_WAIT;
                self.stopping |= stop.is_cancelled();
                if let Some(end) = self.run_housekeeping(now) {
                    return end;
                }
            }
            if !taken {
                let patience = self.patience();
                self.ownership.wakeup.wait(patience);
            }
        }
    }

    fn polled(&mut self, message: KafkaResult<BorrowedMessage<'_>>) -> Option<PollEnd> {
        match message {
            // Of a partition that librdkafka could not set apart.
            Ok(message) => {
                let (arrival, written) = match message.timestamp() {
                    Timestamp::LogAppendTime(time) => (Some(time), Some(time)),
                    Timestamp::CreateTime(time) => (None, Some(time)),
                    Timestamp::NotAvailable => (None, None),
                };
                let known = |time: Option<i64>| time.filter(|time| *time >= 0);
                let (arrival, written) = (known(arrival), known(written));
                let (offset, key, value) = (message.offset(), message.key(), message.payload());
                let record = Record { offset, epoch: -1, arrival, written, key, value };
                if let Some(place) = self.topics.place(message.topic(), message.partition()) {
                    self.take(place, Some(Fetched::Record(record)));
                }
            }
            // Of which topic is not said. A partition that is not set apart is a rare one, and its end is
            // also in the statistics.
            Err(KafkaError::PartitionEOF(partition)) => {
                if self.topics.len() == 1 {
                    self.take(Place { topic: 0, partition }, Some(Fetched::End(None)));
                }
            }
            Err(error @ KafkaError::MessageConsumptionFatal(_)) => return Some(PollEnd::Fatal(error)),
            // The context has logged it; librdkafka tries again.
            Err(_) => {}
        }
        None
    }

    fn patience(&mut self) -> Duration {
        let busy = self.stopping
            || self.ownership.is_busy()
            || self.ownership.assignment.iter_mut().any(|(_, owned)| owned.paused);
        if busy { BUSY_WAIT } else { IDLE_WAIT }
    }

    /// Takes what has come of a partition: what waits in its queue, or, if it has none, this. Returns whether
    /// anything was there.
    fn take(&mut self, partition: Place, entry: Option<Fetched<'_>>) -> bool {
        let (high, _) = self.ownership.assignment.queue_limits();
        let owned = self.ownership.assignment.get_mut(partition);
        let Some(owned) = owned.filter(|owned| entry.map_or(owned.is_read(), |_| !owned.closing)) else {
            return false;
        };
        let (mut records, mut bytes, mut at_end, mut broken) = (0, 0, false, None);
        let most = self.config.max_record_bytes;
        let content = self.topics.content(partition.topic);
        let Owned { position, inbox, rejects, queue, .. } = &mut *owned;
        let mut lost = LostRecords::new(queue.as_ref());
        let mut filling = inbox.fill();
        let mut add = |entry: Fetched<'_>| {
            let came = match entry {
                Fetched::Record(record) => position.read(record.offset, record.epoch),
                Fetched::End(Some(end)) => position.reach(end),
                Fetched::End(None) => Continuity::Next { gap: None },
                // The context has logged an error; librdkafka tries again.
                Fetched::Error => return true,
            };
            let gap = match came {
                Continuity::Next { gap } => gap,
                Continuity::AlreadyRead => return true,
                // It is begun broken, and what comes now comes again.
                Continuity::Broken(seen) => {
                    broken = Some(seen);
                    return false;
                }
            };
            let (offset, stamp, key, record) = match entry {
                Fetched::Record(Record { offset, arrival, written, key, value, .. }) => {
                    let stamp = Stamp { format: content.format(key), arrival, written };
                    (offset, stamp, key.unwrap_or_default(), value.unwrap_or_default())
                }
                Fetched::End(end) => {
                    if let (Some(from), Some(end)) = (gap, end) {
                        lost.skip(from, end);
                        filling.skip(end - 1);
                    }
                    at_end = true;
                    return true;
                }
                Fetched::Error => return true,
            };
            if let Some(from) = gap {
                lost.skip(from, offset);
            }
            at_end = false;
            records += 1;
            bytes += record.len() as u64;
            if record.is_empty() {
                self.metrics.of_records.empty.inc();
                filling.skip(offset);
            } else if record.len() > most.as_usize() {
                let reason = format!("the record has {} bytes; max_record_bytes is {most}", record.len());
                rejects.reject_record(&RejectedRecord { offset, time: stamp.written, key, record }, &reason);
                filling.skip(offset);
            } else {
                filling.push(offset, stamp, (key, record));
            }
            filling.weight() < high
        };
        let taken = match (entry, queue.as_ref()) {
            (Some(entry), _) => {
                add(entry);
                true
            }
            (None, Some(queue)) => queue.take(add),
            (None, None) => false,
        };
        let lost = lost.records;
        // Before the lane sees the records: what it says about them is never written down without it.
        position.ledger.reached_epoch(position.epoch());
        drop(filling);
        self.metrics.of_records.records.inc_by(records);
        self.metrics.of_records.bytes.inc_by(bytes);
        if lost > 0 {
            self.metrics.lost.inc_by(lost);
            let (receiver, topic) = (&self.host.context.id, self.topics.name(partition.topic));
            tracing::error!(
                %receiver, %topic, partition = partition.partition, records = lost,
                "records were deleted before they were read: the topic's retention is too short for how far behind this gateway is"
            );
        }
        if let Some(seen) = broken {
            owned.closing = true;
            self.ownership.restart_lane(partition, seen);
            return true;
        }
        if at_end {
            owned.inbox.end();
        }
        if !owned.paused && owned.inbox.weight() >= high {
            owned.paused = true;
            owned.metrics.paused.set(1);
        }
        taken
    }

    /// Everything beside reading: events of the client, lanes that begin and end, paused partitions, reports.
    fn run_housekeeping(&mut self, now: Instant) -> Option<PollEnd> {
        for event in self.consumer.context().take_events() {
            match event {
                Event::Statistics(cluster, states) => {
                    self.report_health(&cluster, &states);
                    self.statistics(&states);
                }
                Event::TopicMissing(topic) => self.ownership.topic_missing(topic),
                event => self.ownership.handle_event(event),
            }
        }
        match self.ownership.assignment.ended() {
            // The other lanes end in an orderly way.
            Some(Ended::Closed) => self.stopping = true,
            Some(Ended::Panicked(Place { topic, partition })) => {
                return Some(PollEnd::Failed(ReceiverError::new(format!(
                    "the pipeline panicked on records of partition {partition} of topic `{}`: nothing of what was open is \
                     committed, a restart reads it again",
                    self.topics.name(topic)
                ))));
            }
            None => {}
        }
        match self.ownership.advance(now, self.stopping) {
            Ok(false) => {}
            Ok(true) => return Some(PollEnd::Stopped),
            Err(error) => return Some(PollEnd::Failed(error)),
        }
        self.resume();
        if now >= self.next_failure_report {
            self.next_failure_report = now + FAILURES_EVERY;
            self.report_failures();
        }
        None
    }

    /// Goes on with the partitions whose pipelines have caught up.
    fn resume(&mut self) {
        let (_, low) = self.ownership.assignment.queue_limits();
        for (_, owned) in self.ownership.assignment.iter_mut() {
            if owned.paused && owned.inbox.weight() <= low {
                owned.paused = false;
                owned.metrics.paused.set(0);
            }
        }
    }

    /// Measures how long records have waited, and reports each partition with failed input once.
    fn report_failures(&mut self) {
        for (place, owned) in self.ownership.assignment.iter_mut() {
            let oldest = owned.position.ledger.tracker().oldest().unwrap_or_default().as_secs();
            owned.metrics.oldest.set(i64::try_from(oldest).unwrap_or(i64::MAX));
            // The inputs of open windows fail when a lane ends early: that is no error.
            if !owned.closing && owned.position.failure() {
                let (receiver, topic) = (&self.host.context.id, self.topics.name(place.topic));
                let partition = place.partition;
                let offset = owned.position.ledger.tracker().committable();
                tracing::error!(
                    %receiver, %topic, partition, offset,
                    "a batch was not delivered: the offset is not committed past it, a restart reads it again"
                );
            }
        }
    }

    fn report_health(&self, cluster: &ClusterState, states: &[PartitionState]) {
        let (owned, unplaced) = (self.ownership.assignment.partitions(), self.ownership.unplaced());
        let (brokers, group) = (self.config.brokers.join(","), &self.config.group_id);
        let names = Names { brokers: &brokers, topics: &self.topics, group };
        let trouble = health::trouble(cluster, states, (&owned, &unplaced), &names);
        self.host.context.health.report(trouble.map_or(Status::Ok, Status::RecoverableError));
    }

    fn statistics(&mut self, states: &[PartitionState]) {
        for state in states {
            let Some(owned) = self.ownership.assignment.get_mut(state.partition) else {
                continue;
            };
            owned.inbox.reachable(state.reachable);
            // The event for the end of a partition is lost when a rebalance comes between.
            let at_end = state.at_end.filter(|_| !owned.paused);
            if at_end.is_some() {
                owned.inbox.end();
            }
            // Statistics may be of a moment when records were between librdkafka's queue and the lane's. Not
            // of two such moments that long apart.
            let lasts = at_end.is_some() && at_end == owned.reported_end;
            owned.reported_end = at_end;
            if lasts && state.at_end.is_some_and(|end| owned.position.lag(end) > 0) {
                self.take(state.partition, Some(Fetched::End(state.at_end)));
            }
            let owned = self.ownership.assignment.get_mut(state.partition);
            if let (Some(owned), Some(end)) = (owned, state.end) {
                owned.metrics.lag.set(owned.position.lag(end));
            }
        }
    }
}
