//! Whose partitions these are: rebalances, and the beginning and end of lanes.
//!
//! * A lane begins where its last owner stopped, with what that one wrote down, before anything is read from it.
//! * Lanes whose windows are added up end together: first nothing more is sent down any of them, then all are closed. So
//!   none of them lets a window fire without the share of another.
//! * Then what is done is committed, and the rebalance is answered; both within `drain_timeout` and a bit. Partitions that
//!   are *lost* are dropped: somebody else has them already.
//! * Windows are whole while this gateway has every partition of the topic. When that changes the lanes that stay end,
//!   too, and begin again with windows of the other kind.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use weir_component::{LogLimit, ReceiverError, ReceiverHost};

use crate::assignment::{Assignment, Windows};
use crate::committer::Committer;
use crate::config::{Config, WindowsOver};
use crate::context::{Event, KafkaContext};
use crate::fetched::Queue;
use crate::metrics::Metrics;
use crate::start::{self, Known, Start, StartError, Trouble};
use crate::wakeup::Wakeup;

/// How long the last commit of an ownership may take.
const COMMIT_PATIENCE: Duration = Duration::from_secs(5);
/// How long Kafka may take to say which cluster it is.
const CLUSTER_PATIENCE: Duration = Duration::from_secs(5);
/// How long to wait before Kafka is asked again where to begin.
const RETRY: Duration = Duration::from_secs(1);

/// The partitions of one consumer, and what happens to them.
pub(crate) struct Ownership<'a> {
    consumer: &'a Arc<BaseConsumer<KafkaContext>>,
    config: &'a Config,
    host: &'a ReceiverHost,
    /// Woken when a partition has records after it had none.
    pub(crate) wakeup: Wakeup,
    topic: Arc<str>,
    metrics: Metrics,
    pub(crate) assignment: Assignment,
    committer: Committer,
    /// `cluster/group/topic`, once Kafka has said which cluster it is.
    source: Option<Arc<str>>,
    known: Known,
    /// Rebalances that are not begun yet.
    rebalances: VecDeque<Rebalance>,
    /// The rebalance that waits for its answer.
    owed: Option<Rebalance>,
    /// Partitions whose positions have begun anew.
    again: BTreeSet<i32>,
    step: Step,
    log: LogLimit,
}

#[derive(Clone)]
enum Rebalance {
    Assign(Vec<i32>),
    Revoke { partitions: Vec<i32>, lost: bool },
}

/// What goes on beside reading.
enum Step {
    Reading,
    /// Kafka is asked where to begin.
    Beginning {
        partitions: Vec<i32>,
        next_try: Instant,
    },
    /// Nothing more is read; what was read goes down the lanes.
    Stopping(Closing),
    /// The lanes are closed; what they were given is delivered.
    Draining(Closing),
    /// What is done is committed a last time.
    Committing(Closing),
    Stopped,
}

/// Lanes that end together.
struct Closing {
    partitions: Vec<i32>,
    deadline: Instant,
    /// Partitions that begin again afterwards. `None`: the receiver stops.
    then: Option<Vec<i32>>,
}

impl<'a> Ownership<'a> {
    pub(crate) fn new(
        consumer: &'a Arc<BaseConsumer<KafkaContext>>,
        config: &'a Config,
        host: &'a ReceiverHost,
        metrics: Metrics,
        assignment: Assignment,
        committer: Committer,
    ) -> Ownership<'a> {
        Ownership {
            consumer,
            config,
            host,
            wakeup: Wakeup::default(),
            topic: Arc::from(config.segments_topic()),
            metrics,
            assignment,
            committer,
            source: None,
            known: Known::default(),
            rebalances: VecDeque::new(),
            owed: None,
            again: BTreeSet::new(),
            step: Step::Reading,
            log: LogLimit::every_ms(10_000),
        }
    }

    /// Something happened.
    pub(crate) fn tell(&mut self, event: Event) {
        match event {
            Event::Assign(partitions) => self.rebalances.push_back(Rebalance::Assign(partitions)),
            Event::Revoke { partitions, lost } => {
                self.rebalances.push_back(Rebalance::Revoke { partitions, lost });
            }
            Event::Statistics(_) => {}
        }
    }

    /// The positions of this partition have begun anew: its lane has to, too.
    pub(crate) fn begin_again(&mut self, partition: i32) {
        self.again.insert(partition);
    }

    /// Whether something goes on beside reading.
    pub(crate) fn is_busy(&self) -> bool {
        !matches!(self.step, Step::Reading) || !self.again.is_empty()
    }

    /// Does what can be done now. Returns whether everything has stopped.
    ///
    /// # Errors
    /// What no retry can cure.
    pub(crate) fn advance(&mut self, now: Instant, stopping: bool) -> Result<bool, ReceiverError> {
        match std::mem::replace(&mut self.step, Step::Reading) {
            Step::Reading => self.next_step(now, stopping),
            Step::Beginning { .. } if stopping => self.answer_owed(),
            Step::Beginning { partitions, next_try } => {
                if now < next_try {
                    self.step = Step::Beginning { partitions, next_try };
                } else if !self.begin(&partitions)? {
                    self.step = Step::Beginning { partitions, next_try: Instant::now() + RETRY };
                }
            }
            Step::Stopping(closing) => {
                if now < closing.deadline && !self.assignment.stopped(&closing.partitions) {
                    self.step = Step::Stopping(closing);
                } else {
                    self.assignment.release(&closing.partitions);
                    self.step = Step::Draining(closing);
                }
            }
            Step::Draining(closing) => {
                if now < closing.deadline && !self.assignment.drained(&closing.partitions) {
                    self.step = Step::Draining(closing);
                } else {
                    let (receiver, drained) = (&self.host.context.id, now < closing.deadline);
                    tracing::debug!(%receiver, partitions = ?closing.partitions, drained, "lanes have ended: committing");
                    self.committer.flush();
                    self.step = Step::Committing(Closing { deadline: now + COMMIT_PATIENCE, ..closing });
                }
            }
            Step::Committing(closing) => {
                if now < closing.deadline && !self.committer.is_written(&closing.partitions) {
                    self.step = Step::Committing(closing);
                } else {
                    let (receiver, committed) = (&self.host.context.id, now < closing.deadline);
                    tracing::debug!(%receiver, partitions = ?closing.partitions, committed, "partitions given up");
                    self.closed(closing, now);
                }
            }
            Step::Stopped => self.step = Step::Stopped,
        }
        Ok(matches!(self.step, Step::Stopped))
    }

    /// Gives everything up. The consumer cannot close while a rebalance waits for its answer.
    pub(crate) fn close(&mut self) {
        self.give_up(&self.assignment.partitions());
        self.answer_owed();
        for event in self.consumer.context().take_events() {
            self.tell(event);
        }
        for rebalance in std::mem::take(&mut self.rebalances) {
            self.answer(&rebalance);
        }
        self.consumer.context().close();
    }

    /// Begins what is next, when something is.
    fn next_step(&mut self, now: Instant, stopping: bool) {
        if stopping {
            return self.end_lanes(self.assignment.partitions(), None, now);
        }
        if !self.again.is_empty() {
            let again: Vec<i32> = std::mem::take(&mut self.again).into_iter().collect();
            let closing = self.together(&again);
            return self.end_lanes(closing.clone(), Some(closing), now);
        }
        let Some(rebalance) = self.rebalances.pop_front() else { return };
        let (receiver, topic) = (&self.host.context.id, &self.topic);
        match &rebalance {
            Rebalance::Assign(partitions) => {
                tracing::info!(%receiver, %topic, ?partitions, "partitions assigned");
                let partitions = partitions.clone();
                self.owed = Some(rebalance);
                self.step = Step::Beginning { partitions, next_try: now };
            }
            Rebalance::Revoke { partitions, lost } => {
                tracing::info!(%receiver, %topic, ?partitions, lost, "partitions revoked");
                if *lost {
                    self.give_up(partitions);
                    self.answer(&rebalance);
                    return;
                }
                let closing = self.together(partitions);
                let stay =
                    closing.iter().filter(|partition| !partitions.contains(partition)).copied().collect();
                self.owed = Some(rebalance);
                self.end_lanes(closing, Some(stay), now);
            }
        }
    }

    /// The partitions that end when these do: with whole windows all of them.
    fn together(&self, partitions: &[i32]) -> Vec<i32> {
        match self.assignment.windows() {
            Some(Windows::Whole) => self.assignment.partitions(),
            _ => partitions.to_vec(),
        }
    }

    fn end_lanes(&mut self, partitions: Vec<i32>, then: Option<Vec<i32>>, now: Instant) {
        self.assignment.close(&partitions);
        let deadline = now + self.config.drain_timeout.get();
        self.step = Step::Stopping(Closing { partitions, deadline, then });
    }

    /// Lanes have ended and are committed.
    fn closed(&mut self, closing: Closing, now: Instant) {
        let Closing { partitions, then, .. } = closing;
        self.give_up(&partitions);
        let Some(again) = then else {
            self.step = Step::Stopped;
            return;
        };
        self.answer_owed();
        if !again.is_empty() {
            // Others among them were assigned meanwhile, and are not read yet.
            let read = partitions.iter().filter(|partition| again.contains(partition)).copied();
            let list = start::list(&self.topic, read);
            self.told(self.consumer.incremental_unassign(&list), "beginning partitions again");
            self.step = Step::Beginning { partitions: again, next_try: now };
        }
    }

    /// Opens the lanes of these partitions and begins to read. Returns whether Kafka said where.
    fn begin(&mut self, partitions: &[i32]) -> Result<bool, ReceiverError> {
        let (source, count, starts) = match self.starts(partitions) {
            Ok(found) => found,
            Err(StartError::Kafka(error)) => {
                if let Some(more) = self.log.allow(self.host.context.clock.now_ms()) {
                    let (receiver, topic) = (&self.host.context.id, &self.topic);
                    tracing::warn!(%receiver, %topic, %error, more, "Kafka does not say where to begin: retrying");
                }
                return Ok(false);
            }
            Err(error @ StartError::Unreadable(..)) => {
                return Err(ReceiverError::new(format!(
                    "receiver `{}`: group `{}` of topic `{}`: {error}; run the version of Weir that wrote it, or give this one \
                     another group_id",
                    self.host.context.id, self.config.group_id, self.topic
                )));
            }
        };
        let windows = self.windows(self.assignment.len() + partitions.len(), count);
        if let Some(before) = self.assignment.windows()
            && before != windows
        {
            // The lanes that are open begin again, with windows of the other kind; these begin with them.
            let open = self.assignment.partitions();
            let all = open.iter().chain(partitions).copied().collect();
            if let Some(owed) = self.owed.take() {
                self.answer(&owed);
            }
            self.assignment.close(&open);
            let deadline = Instant::now() + self.config.drain_timeout.get();
            self.step = Step::Stopping(Closing { partitions: open, deadline, then: Some(all) });
            return Ok(true);
        }
        let list = start::assignment(&self.topic, &starts).map_err(|error| {
            ReceiverError::new(format!("receiver `{}`: assigning partitions: {error}", self.host.context.id))
        })?;
        for (partition, start) in starts {
            self.report(partition, &start);
            // Before it is assigned, so that no record goes to the queue that all partitions share.
            let wakeup = self.wakeup.clone();
            let queue = Queue::new(self.consumer, &self.topic, partition, move || wakeup.wake());
            self.assignment.open(partition, start, &source, windows, &self.committer, queue);
        }
        self.count_assigned();
        self.committer.flush();
        self.owed = None;
        self.told(self.consumer.incremental_assign(&list), "assigning partitions");
        Ok(true)
    }

    #[allow(clippy::type_complexity, reason = "used once, above")]
    fn starts(
        &mut self,
        partitions: &[i32],
    ) -> Result<(Arc<str>, Option<i32>, BTreeMap<i32, Start>), StartError> {
        let source = match &self.source {
            Some(source) => Arc::clone(source),
            None => {
                let cluster = self.consumer.client().fetch_cluster_id(CLUSTER_PATIENCE);
                let unknown = KafkaError::Global(rdkafka::error::RDKafkaErrorCode::OperationTimedOut);
                let cluster = cluster.ok_or(StartError::Kafka(unknown))?;
                let source: Arc<str> = format!("{cluster}/{}/{}", self.config.group_id, self.topic).into();
                Arc::clone(self.source.insert(source))
            }
        };
        let count = start::partition_count(self.consumer, &self.topic)?;
        let initial = self.config.initial_offset;
        let starts =
            start::positions(self.consumer, &self.topic, partitions, initial, count, &mut self.known)?;
        Ok((source, count, starts))
    }

    /// How windows are added up when this gateway has `owned` of `count` partitions.
    fn windows(&self, owned: usize, count: Option<i32>) -> Windows {
        if self.config.windows == WindowsOver::Partition {
            return Windows::Parts;
        }
        let all = count.is_none_or(|count| i64::try_from(owned).unwrap_or(i64::MAX) >= i64::from(count));
        let news = self.metrics.partial.set(i64::from(!all)) != i64::from(!all);
        if !all && news {
            let (receiver, topic) = (&self.host.context.id, &self.topic);
            tracing::error!(
                %receiver, %topic, owned, partitions = count,
                "this gateway has only part of the topic, so each partition's windows are apart (column `shard`) and thresholds see \
                 parts: let one gateway read the topic, or set `windows: partition` to say that this is wanted"
            );
        }
        if all { Windows::Whole } else { Windows::Parts }
    }

    fn report(&self, partition: i32, start: &Start) {
        let (receiver, topic, offset) = (&self.host.context.id, &self.topic, start.offset);
        match start.trouble {
            None => {}
            Some(Trouble::Deleted(records)) => {
                self.metrics.lost.inc_by(records.unsigned_abs());
                tracing::error!(
                    %receiver, %topic, partition, offset, records,
                    "records were deleted before they were read: the topic's retention is too short for this outage"
                );
            }
            Some(Trouble::CreatedAgain) => tracing::error!(
                %receiver, %topic, partition, offset,
                "the committed offset is beyond the end of the partition: the topic was created again, it is read from its beginning"
            ),
        }
    }

    fn give_up(&mut self, partitions: &[i32]) {
        partitions.iter().for_each(|partition| self.committer.remove(*partition));
        self.assignment.drop_all(partitions);
        self.count_assigned();
    }

    fn count_assigned(&self) {
        self.metrics.assigned.set(i64::try_from(self.assignment.len()).unwrap_or(i64::MAX));
    }

    fn answer_owed(&mut self) {
        if let Some(owed) = self.owed.take() {
            self.answer(&owed);
        }
    }

    /// Answers a rebalance; what is assigned is not read (yet).
    fn answer(&self, rebalance: &Rebalance) {
        let answer = match rebalance {
            Rebalance::Assign(_) => self.consumer.incremental_assign(&start::list(&self.topic, [])),
            Rebalance::Revoke { partitions, .. } => {
                self.consumer.incremental_unassign(&start::list(&self.topic, partitions.iter().copied()))
            }
        };
        self.told(answer, "answering a rebalance");
    }

    fn told(&self, answer: Result<(), KafkaError>, what: &str) {
        if let Err(error) = answer {
            let (receiver, topic) = (&self.host.context.id, &self.topic);
            tracing::warn!(%receiver, %topic, %error, "the Kafka client reports an error when {what}");
        }
    }
}
