//! The thread that polls Kafka.
//!
//! It hands records to the partitions' tasks, answers rebalances, pauses and resumes, and commits. It never waits for a
//! pipeline: while lanes drain it goes on polling, and answers the rebalance when they are done or `drain_timeout` is over.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use rdkafka::{Message, TopicPartitionList};
use tokio_util::sync::CancellationToken;
use weir_component::{LogLimit, ReceiverError, ReceiverHost};

use crate::assignment::{Assignment, Ended};
use crate::committer::Commit;
use crate::config::Config;
use crate::context::{Event, KafkaContext, PartitionState};
use crate::metrics::Metrics;
use crate::rejects::TopicRejects;
use crate::start::{self, Known, Start};

/// The longest wait for Kafka when nothing is going on.
const IDLE_POLL: Duration = Duration::from_millis(200);
/// The longest wait for Kafka while something is going on, and between two looks at what is.
const BUSY_POLL: Duration = Duration::from_millis(10);
/// How long the last commit of an ownership may take.
const COMMIT_PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait before a last commit that was refused is tried again.
const COMMIT_RETRY: Duration = Duration::from_millis(100);
/// How long to wait before Kafka is asked again where to begin.
const RETRY: Duration = Duration::from_secs(1);

/// How a session with Kafka ended.
pub(crate) enum End {
    /// The receiver was stopped, or the pipeline below it.
    Stopped,
    /// The Kafka client cannot go on; a new one can.
    Fatal(KafkaError),
    /// A restart of the program is needed.
    Failed(ReceiverError),
}

/// One life of a Kafka consumer.
pub(crate) struct Session<'a> {
    consumer: &'a BaseConsumer<KafkaContext>,
    config: &'a Config,
    host: &'a ReceiverHost,
    topic: Arc<str>,
    metrics: Metrics,
    rejects: Arc<TopicRejects>,
    assignment: Assignment,
    known: Known,
    /// Rebalances that are not answered yet, without the one in `step`.
    rebalances: VecDeque<Rebalance>,
    step: Step,
    stopping: bool,
    commits: Sender<Commit>,
    /// A commit waits for its answer. There is one at a time.
    committing: bool,
    next_commit: Instant,
    next_look: Instant,
    commit_log: LogLimit,
    start_log: LogLimit,
}

enum Rebalance {
    Assign(Vec<i32>),
    Revoke { partitions: Vec<i32>, lost: bool },
}

/// What goes on beside reading.
enum Step {
    Reading,
    /// Partitions were assigned, their lanes are open; Kafka is asked where to begin.
    Beginning {
        partitions: Vec<i32>,
        next_try: Instant,
    },
    /// Lanes end.
    Draining {
        partitions: Vec<i32>,
        deadline: Instant,
        then: Then,
    },
    /// What was acknowledged is committed a last time.
    Committing {
        partitions: Vec<i32>,
        deadline: Instant,
        then: Then,
    },
    Stopped,
}

/// What follows the end of some lanes.
#[derive(Clone, Copy)]
enum Then {
    Unassign,
    Stop,
}

impl<'a> Session<'a> {
    pub(crate) fn new(
        consumer: &'a BaseConsumer<KafkaContext>,
        config: &'a Config,
        host: &'a ReceiverHost,
        rejects: Arc<TopicRejects>,
        metrics: Metrics,
        assignment: Assignment,
        commits: Sender<Commit>,
    ) -> Session<'a> {
        let now = Instant::now();
        Session {
            consumer,
            config,
            host,
            topic: Arc::from(config.segments_topic()),
            metrics,
            rejects,
            assignment,
            known: Known::default(),
            rebalances: VecDeque::new(),
            step: Step::Reading,
            stopping: false,
            commits,
            committing: false,
            next_commit: now,
            next_look: now,
            commit_log: LogLimit::every_ms(10_000),
            start_log: LogLimit::every_ms(10_000),
        }
    }

    /// Reads until `stop`. At the end every lane has ended and what was acknowledged is committed, as far as possible.
    pub(crate) fn run(mut self, stop: &CancellationToken) -> End {
        let end = self.read(stop);
        let all = self.assignment.partitions();
        self.assignment.drop_all(&all);
        self.metrics.assigned.set(0);
        // The consumer cannot close while a rebalance waits for its answer.
        if let Step::Beginning { .. } = self.step {
            self.answer(true, &[]);
        }
        if let Step::Draining { partitions, then: Then::Unassign, .. }
        | Step::Committing { partitions, then: Then::Unassign, .. } = &self.step
        {
            self.answer(false, partitions);
        }
        for event in self.consumer.context().take_events() {
            self.rebalances.extend(rebalance(event));
        }
        for rebalance in &self.rebalances {
            match rebalance {
                Rebalance::Assign(_) => self.answer(true, &[]),
                Rebalance::Revoke { partitions, .. } => self.answer(false, partitions),
            }
        }
        self.consumer.context().close();
        end
    }

    fn read(&mut self, stop: &CancellationToken) -> End {
        loop {
            let message = self.consumer.poll(self.patience());
            let nothing = message.is_none();
            match message {
                Some(Ok(message)) => self.record(&message),
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    if let Some(owned) = self.assignment.get_mut(partition) {
                        owned.inbox.end();
                    }
                }
                Some(Err(error @ KafkaError::MessageConsumptionFatal(_))) => return End::Fatal(error),
                // The context has logged it; librdkafka tries again.
                Some(Err(_)) | None => {}
            }
            let now = Instant::now();
            if nothing || now >= self.next_look {
                self.next_look = now + BUSY_POLL;
                self.stopping |= stop.is_cancelled();
                if let Some(end) = self.look(now) {
                    return end;
                }
            }
        }
    }

    fn patience(&mut self) -> Duration {
        let busy = self.stopping
            || !matches!(self.step, Step::Reading)
            || self.assignment.iter_mut().any(|(_, owned)| owned.paused);
        if busy { BUSY_POLL } else { IDLE_POLL }
    }

    fn record(&mut self, message: &BorrowedMessage<'_>) {
        let partition = message.partition();
        let (high, _) = self.assignment.pressure();
        let Some(owned) = self.assignment.get_mut(partition).filter(|owned| !owned.closing) else {
            return;
        };
        let record = message.payload().unwrap_or_default();
        let offset = message.offset();
        owned.position.read(offset);
        self.metrics.records.inc();
        self.metrics.bytes.inc_by(record.len() as u64);
        let most = self.config.max_record_bytes;
        if record.is_empty() {
            self.metrics.empty.inc();
            owned.inbox.skip(offset);
        } else if record.len() > most.as_usize() {
            let reason = format!("the record has {} bytes; max_record_bytes is {most}", record.len());
            self.rejects.reject(partition, offset, record, &reason);
            owned.inbox.skip(offset);
        } else {
            owned.inbox.push(offset, record);
        }
        if !owned.paused && owned.inbox.weight() >= high {
            owned.paused = true;
            owned.metrics.paused.set(1);
            let list = start::list(&self.topic, [partition]);
            self.told(self.consumer.pause(&list), "pausing a partition");
        }
    }

    /// Everything that is not reading.
    fn look(&mut self, now: Instant) -> Option<End> {
        for event in self.consumer.context().take_events() {
            match event {
                Event::Committed(answer) => self.committed(answer),
                Event::Statistics(states) => self.statistics(&states),
                event => self.rebalances.extend(rebalance(event)),
            }
        }
        match self.assignment.ended() {
            // The other lanes end in an orderly way.
            Some(Ended::Closed) => self.stopping = true,
            Some(Ended::Panicked(partition)) => {
                return Some(End::Failed(ReceiverError::new(format!(
                    "the pipeline panicked on records of partition {partition} of topic `{}`: nothing of what was open is \
                     committed, a restart reads it again",
                    self.topic
                ))));
            }
            None => {}
        }
        self.advance(now);
        self.resume();
        if now >= self.next_commit && !matches!(self.step, Step::Committing { .. }) {
            self.next_commit = now + self.config.commit_interval.get();
            self.commit();
            self.failures();
        }
        matches!(self.step, Step::Stopped).then_some(End::Stopped)
    }

    fn advance(&mut self, now: Instant) {
        match std::mem::replace(&mut self.step, Step::Reading) {
            Step::Reading => self.begin_step(now),
            Step::Beginning { .. } if self.stopping => self.answer(true, &[]),
            Step::Beginning { partitions, next_try } => {
                if now < next_try || !self.begin(&partitions) {
                    let next_try = if now < next_try { next_try } else { Instant::now() + RETRY };
                    self.step = Step::Beginning { partitions, next_try };
                }
            }
            Step::Draining { partitions, deadline, then } => {
                if now < deadline && !self.assignment.drained(&partitions) {
                    self.step = Step::Draining { partitions, deadline, then };
                    return;
                }
                self.commit();
                self.next_commit = now + COMMIT_RETRY;
                self.failures();
                let (receiver, drained) = (&self.host.context.id, now < deadline);
                tracing::debug!(%receiver, ?partitions, drained, "lanes have ended: committing");
                self.step = Step::Committing { partitions, deadline: now + COMMIT_PATIENCE, then };
            }
            Step::Committing { partitions, deadline, then } => {
                if now < deadline && self.uncommitted(&partitions) {
                    if now >= self.next_commit {
                        self.next_commit = now + COMMIT_RETRY;
                        self.commit();
                    }
                    self.step = Step::Committing { partitions, deadline, then };
                    return;
                }
                let (receiver, committed) = (&self.host.context.id, now < deadline);
                tracing::debug!(%receiver, ?partitions, committed, "partitions given up");
                self.give_up(&partitions);
                match then {
                    Then::Unassign => self.answer(false, &partitions),
                    Then::Stop => self.step = Step::Stopped,
                }
            }
            Step::Stopped => self.step = Step::Stopped,
        }
    }

    /// Begins what is next, when something is.
    fn begin_step(&mut self, now: Instant) {
        let drain = now + self.config.drain_timeout.get();
        if self.stopping {
            let partitions = self.assignment.partitions();
            self.assignment.close(&partitions);
            self.step = Step::Draining { partitions, deadline: drain, then: Then::Stop };
            return;
        }
        match self.rebalances.pop_front() {
            None => {}
            Some(Rebalance::Assign(partitions)) => {
                for partition in &partitions {
                    self.assignment.open(*partition);
                }
                self.count_assigned();
                let (receiver, topic) = (&self.host.context.id, &self.topic);
                tracing::info!(%receiver, %topic, ?partitions, "partitions assigned");
                self.step = Step::Beginning { partitions, next_try: now };
            }
            Some(Rebalance::Revoke { partitions, lost }) => {
                let (receiver, topic) = (&self.host.context.id, &self.topic);
                tracing::info!(%receiver, %topic, ?partitions, lost, "partitions revoked");
                if lost {
                    self.give_up(&partitions);
                    self.answer(false, &partitions);
                } else {
                    self.assignment.close(&partitions);
                    self.step = Step::Draining { partitions, deadline: drain, then: Then::Unassign };
                }
            }
        }
    }

    /// Begins to read from partitions whose lanes are open. Returns whether Kafka said where.
    fn begin(&mut self, partitions: &[i32]) -> bool {
        let initial = self.config.initial_offset;
        let starts = start::positions(self.consumer, &self.topic, partitions, initial, &mut self.known)
            .and_then(|starts| Ok((start::assignment(&self.topic, &starts)?, starts)));
        let (list, starts) = match starts {
            Ok(found) => found,
            Err(error) => {
                if let Some(more) = self.start_log.allow(self.host.context.clock.now_ms()) {
                    let (receiver, topic) = (&self.host.context.id, &self.topic);
                    tracing::warn!(%receiver, %topic, %error, more, "Kafka does not say where to begin: retrying");
                }
                return false;
            }
        };
        for (partition, start) in starts {
            if let Some(owned) = self.assignment.get_mut(partition) {
                owned.position.begin(start.offset(), matches!(start, Start::End(_)));
            }
        }
        self.told(self.consumer.incremental_assign(&list), "assigning partitions");
        // A pause of an earlier ownership must not live on.
        if list.count() > 0 {
            self.told(self.consumer.resume(&list), "resuming partitions");
        }
        true
    }

    fn give_up(&mut self, partitions: &[i32]) {
        self.assignment.drop_all(partitions);
        self.count_assigned();
    }

    fn count_assigned(&self) {
        self.metrics.assigned.set(i64::try_from(self.assignment.len()).unwrap_or(i64::MAX));
    }

    /// Answers a rebalance.
    fn answer(&self, assign: bool, partitions: &[i32]) {
        let list = start::list(&self.topic, partitions.iter().copied());
        let answer = if assign {
            self.consumer.incremental_assign(&list)
        } else {
            self.consumer.incremental_unassign(&list)
        };
        self.told(answer, "answering a rebalance");
    }

    /// Resumes the partitions whose pipelines have caught up.
    fn resume(&mut self) {
        let (_, low) = self.assignment.pressure();
        let mut list = TopicPartitionList::new();
        for (partition, owned) in self.assignment.iter_mut() {
            if owned.paused && !owned.closing && owned.inbox.weight() <= low {
                owned.paused = false;
                owned.metrics.paused.set(0);
                list.add_partition(&self.topic, partition);
            }
        }
        if list.count() > 0 {
            self.told(self.consumer.resume(&list), "resuming partitions");
        }
    }

    /// Commits what is acknowledged, all partitions in one request.
    fn commit(&mut self) {
        if self.committing {
            return;
        }
        let mut commit = Commit::new();
        for (partition, owned) in self.assignment.iter_mut() {
            if let Some(offset) = owned.position.to_commit() {
                owned.position.requested(offset);
                commit.push((partition, offset));
            }
        }
        // The committing thread lives as long as this sender, so sending fails only when it panicked: the
        // answer then never comes and nothing more is committed.
        self.committing = !commit.is_empty();
        if self.committing && self.commits.send(commit).is_err() {
            self.stopping = true;
        }
    }

    /// Whether something of these partitions is still to be committed, or waits for its answer.
    fn uncommitted(&mut self, partitions: &[i32]) -> bool {
        self.committing
            || partitions.iter().any(|partition| {
                self.assignment.get_mut(*partition).is_some_and(|owned| owned.position.to_commit().is_some())
            })
    }

    fn committed(&mut self, answer: Result<Vec<(i32, i64)>, KafkaError>) {
        self.committing = false;
        let offsets = match answer {
            Ok(offsets) => offsets,
            Err(error) => return self.refused(&error),
        };
        for (partition, offset) in offsets {
            if let Some(owned) = self.assignment.get_mut(partition) {
                owned.position.committed(offset);
                owned.metrics.committed.set(offset);
            }
        }
    }

    fn refused(&mut self, error: &KafkaError) {
        self.metrics.commit_failures.inc();
        for (_, owned) in self.assignment.iter_mut() {
            owned.position.refused();
        }
        if let Some(more) = self.commit_log.allow(self.host.context.clock.now_ms()) {
            let (receiver, topic) = (&self.host.context.id, &self.topic);
            tracing::warn!(%receiver, %topic, %error, more, "offsets were not committed: tried again with the next commit");
        }
    }

    /// Tells, once, which partitions have failed input.
    fn failures(&mut self) {
        for (partition, owned) in self.assignment.iter_mut() {
            // The inputs of open windows fail when a lane ends early: that is no error.
            if owned.closing {
                continue;
            }
            if let Some(offset) = owned.position.failure() {
                let (receiver, topic) = (&self.host.context.id, &self.topic);
                tracing::error!(
                    %receiver, %topic, partition, offset,
                    "a batch was not delivered: the offset is not committed past it, a restart reads it again"
                );
            }
        }
    }

    fn statistics(&mut self, states: &[PartitionState]) {
        for state in states {
            let Some(owned) = self.assignment.get_mut(state.partition) else {
                continue;
            };
            owned.inbox.reachable(state.reachable);
            // The event for the end of a partition is lost when a rebalance comes between.
            if state.at_end && !owned.paused {
                owned.inbox.end();
            }
            if let Some(lag) = state.end.and_then(|end| owned.position.lag(end)) {
                owned.metrics.lag.set(lag);
            }
        }
    }

    fn told(&self, answer: Result<(), KafkaError>, what: &str) {
        if let Err(error) = answer {
            let (receiver, topic) = (&self.host.context.id, &self.topic);
            tracing::warn!(%receiver, %topic, %error, "the Kafka client reports an error when {what}");
        }
    }
}

fn rebalance(event: Event) -> Option<Rebalance> {
    match event {
        Event::Assign(partitions) => Some(Rebalance::Assign(partitions)),
        Event::Revoke { partitions, lost } => Some(Rebalance::Revoke { partitions, lost }),
        Event::Committed(_) | Event::Statistics(_) => None,
    }
}
