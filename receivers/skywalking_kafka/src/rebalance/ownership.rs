//! Whose partitions these are: a state machine of rebalances, and of the beginning and end of lanes.
//!
//! * A lane begins where the last owner of its partition stopped, with the metadata of that owner. Kafka is
//!   asked beside the polling thread ([`questions`](crate::rebalance::questions)). A partition without an
//!   answer does not delay the others, but windows that they share wait for it: a lane without records keeps
//!   its place.
//! * Lanes whose windows are added up end together. First no more records are sent down any of them, then all
//!   are closed. So no window fires without the share of one of them. The same holds for lost partitions, for
//!   a drain that took too long and for a panic: the pipelines let a [`LaneSet`](weir_component::LaneSet) go
//!   as a whole.
//! * Then the finished work is committed and the rebalance is answered, both within `drain_timeout` and five
//!   seconds. Before an answer, a commit that is on its way is waited for in any case. *Lost* partitions are
//!   given up at once, because another member may have them already.
//! * Windows are over all partitions while this gateway has every partition of the topic. When that changes,
//!   the lanes that stay end too, and begin again with windows of the other kind.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use weir_component::{ReceiverError, ReceiverHost};

use crate::config::{Config, WindowsOver};
use crate::consumer::context::{Event, KafkaContext};
use crate::consumer::partition_queue::FetchQueue;
use crate::consumer::wakeup::Wakeup;
use crate::metrics::Metrics;
use crate::partition::assignment::{Assignment, WindowScope};
use crate::rebalance::awaiting::Awaiting;
use crate::rebalance::client_assignment::{ClientAssignment, Rebalance};
use crate::rebalance::committer::Committer;
use crate::rebalance::known_topic::KnownTopic;
use crate::rebalance::questions::{Asking, Facts, TOPIC};
use crate::rebalance::reports::Reports;
use crate::rebalance::start_offsets::{self, LogChange};

/// How long the last commit of an ownership may take.
const COMMIT_PATIENCE: Duration = Duration::from_secs(5);

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
    asking: Asking,
    /// Partitions that are ours, and of which Kafka has not said yet where they begin.
    awaiting: Awaiting,
    /// The partitions that librdkafka reads.
    client: ClientAssignment<'a>,
    reports: Reports<'a>,
    known: KnownTopic,
    /// The id of the topic whose lanes are open.
    topic_id: Option<String>,
    /// When the topic's id is looked at next, and the question about it.
    next_topic_check: Instant,
    /// Rebalances that are not begun yet.
    rebalances: VecDeque<Rebalance>,
    /// The rebalance that waits for its answer.
    owed: Option<Rebalance>,
    /// Partitions whose lanes have to begin again.
    restarting: BTreeSet<i32>,
    /// What has happened to the logs of partitions that begin again.
    log_changes: BTreeMap<i32, LogChange>,
    step: Step,
}

/// What goes on beside reading.
enum Step {
    Reading,
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
        let (topic, wakeup): (Arc<str>, _) = (Arc::from(config.segments_topic()), Wakeup::default());
        Ownership {
            consumer,
            config,
            host,
            asking: Asking::new(consumer, Arc::clone(&topic), wakeup.clone()),
            wakeup,
            topic: Arc::clone(&topic),
            metrics: metrics.clone(),
            assignment,
            committer,
            awaiting: Awaiting::default(),
            client: ClientAssignment::new(consumer, &host.context.id, Arc::clone(&topic)),
            reports: Reports::new(config, host, topic, metrics),
            known: KnownTopic::default(),
            topic_id: None,
            next_topic_check: Instant::now(),
            rebalances: VecDeque::new(),
            owed: None,
            restarting: BTreeSet::new(),
            log_changes: BTreeMap::new(),
            step: Step::Reading,
        }
    }

    /// Takes an event of the client.
    pub(crate) fn handle_event(&mut self, event: Event) {
        match event {
            Event::Assign(partitions) => self.rebalances.push_back(Rebalance::Assign(partitions)),
            Event::Revoke { partitions, lost } => {
                self.rebalances.push_back(Rebalance::Revoke { partitions, lost });
            }
            Event::Statistics(..) | Event::TopicMissing => {}
        }
    }

    /// This partition is not what it was: its lane has to begin again.
    pub(crate) fn restart_lane(&mut self, partition: i32, seen: LogChange) {
        self.restarting.insert(partition);
        self.log_changes.insert(partition, seen);
    }

    /// The topic does not exist.
    pub(crate) fn topic_missing(&mut self) {
        self.known.missing();
    }

    /// The partitions of which Kafka does not say where to begin.
    pub(crate) fn unplaced(&self) -> Vec<i32> {
        self.awaiting.partitions()
    }

    /// Whether something goes on beside reading.
    pub(crate) fn is_busy(&self) -> bool {
        !matches!(self.step, Step::Reading) || !self.restarting.is_empty()
    }

    /// Goes on as far as possible now. Returns whether everything has stopped.
    ///
    /// # Errors
    /// A fault that no retry can cure.
    pub(crate) fn advance(&mut self, now: Instant, stopping: bool) -> Result<bool, ReceiverError> {
        self.take_answers(now);
        if !stopping {
            self.ask_questions(now);
        }
        match std::mem::replace(&mut self.step, Step::Reading) {
            Step::Reading => self.next_step(now, stopping)?,
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
                    self.reports.lanes_ended(&closing.partitions, now < closing.deadline);
                    self.committer.flush();
                    self.step = Step::Committing(Closing { deadline: now + COMMIT_PATIENCE, ..closing });
                }
            }
            Step::Committing(closing) => {
                let waits = now < closing.deadline && !self.committer.is_written(&closing.partitions);
                // Another owner may follow, whose commits must come later.
                let goes_on = closing.then.is_some();
                if waits || (goes_on && self.committer.is_sending(&closing.partitions)) {
                    self.step = Step::Committing(closing);
                } else {
                    self.reports.given_up(&closing.partitions, now < closing.deadline);
                    self.closed(closing, now);
                }
            }
            Step::Stopped => self.step = Step::Stopped,
        }
        Ok(matches!(self.step, Step::Stopped))
    }

    /// Gives everything up. The consumer cannot close while a rebalance waits for its answer.
    pub(crate) fn close(&mut self) {
        self.asking.end();
        self.give_up(&self.assignment.partitions(), false);
        self.answer_owed();
        for event in self.consumer.context().take_events() {
            self.handle_event(event);
        }
        for rebalance in std::mem::take(&mut self.rebalances) {
            self.client.answer(&rebalance);
        }
        self.consumer.context().close();
    }

    /// Takes the answers of Kafka.
    fn take_answers(&mut self, now: Instant) {
        for answer in self.asking.answers() {
            if answer.partition == TOPIC {
                // Under the same name there is another topic now: nothing of it has been read.
                let id = answer.facts.ok().and_then(|facts| facts.topic.id.clone());
                if id.is_some() && self.topic_id.is_some() && id != self.topic_id {
                    self.restarting.extend(self.assignment.partitions());
                }
                continue;
            }
            let partition = answer.partition;
            if let Some(error) = self.awaiting.answer(answer, now) {
                self.reports.no_answer(partition, &error);
            }
        }
    }

    /// Asks Kafka the questions that are due.
    fn ask_questions(&mut self, now: Instant) {
        for partitions in self.awaiting.due(now) {
            let number = self.asking.ask(&partitions);
            self.awaiting.asked(&partitions, number);
        }
        if now >= self.next_topic_check {
            self.next_topic_check = now + self.config.metadata_refresh.get();
            if self.topic_id.is_some() {
                self.asking.ask(&[]);
            }
        }
    }

    /// Begins the next thing to do, if there is one.
    fn next_step(&mut self, now: Instant, stopping: bool) -> Result<(), ReceiverError> {
        if stopping {
            self.end_lanes(self.assignment.partitions(), None, now);
            return Ok(());
        }
        if !self.restarting.is_empty() {
            let again: Vec<i32> = std::mem::take(&mut self.restarting).into_iter().collect();
            let closing = self.together(&again);
            self.end_lanes(closing.clone(), Some(closing), now);
            return Ok(());
        }
        // Rebalances come first: a partition that could begin may have gone to another member.
        let Some(rebalance) = self.rebalances.pop_front() else {
            let ready = self.awaiting.ready(now);
            return if ready.is_empty() { Ok(()) } else { self.open_lanes(&ready, now) };
        };
        match &rebalance {
            Rebalance::Assign(partitions) => {
                self.reports.assigned(partitions);
                self.awaiting.assign(partitions, now);
                self.client.answer(&rebalance);
                self.report_ready();
            }
            Rebalance::Revoke { partitions, lost } => {
                self.reports.revoked(partitions, *lost);
                self.awaiting.revoke(partitions);
                self.log_changes.retain(|partition, _| !partitions.contains(partition));
                let (lost, closing) = (*lost, self.together(partitions));
                let stay: Vec<i32> =
                    closing.iter().filter(|partition| !partitions.contains(partition)).copied().collect();
                self.owed = Some(rebalance);
                if lost {
                    // Nothing is drained or committed: another member may have begun.
                    self.give_up(&closing, true);
                    let closing = Closing { partitions: closing, deadline: now, then: Some(stay) };
                    self.step = Step::Committing(closing);
                    return Ok(());
                }
                self.end_lanes(closing, Some(stay), now);
            }
        }
        Ok(())
    }

    /// The partitions that end when these do: with whole windows all of them.
    fn together(&self, partitions: &[i32]) -> Vec<i32> {
        match self.assignment.windows() {
            Some(WindowScope::AllPartitions) => self.assignment.partitions(),
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
        let lost = matches!(self.owed, Some(Rebalance::Revoke { lost: true, .. }));
        self.give_up(&partitions, lost);
        let Some(again) = then else {
            self.step = Step::Stopped;
            return;
        };
        self.answer_owed();
        self.client.unassign(&again, "beginning partitions again");
        self.awaiting.restart(&again, now);
        self.report_ready();
    }

    /// Says that every lane is open that there is for now, when none is waited for.
    fn report_ready(&self) {
        if self.awaiting.len() == 0 {
            self.host.ready();
        }
    }

    /// Opens the lanes of these partitions and begins to read.
    fn open_lanes(&mut self, ready: &BTreeMap<i32, Facts>, now: Instant) -> Result<(), ReceiverError> {
        let Some(topic) = ready.values().next().map(|facts| Arc::clone(&facts.topic)) else { return Ok(()) };
        self.known.update(&topic);
        let windows =
            self.window_scope(self.assignment.len() + ready.len() + self.awaiting.len(), topic.count);
        let other = topic.id.is_some() && self.topic_id.is_some() && topic.id != self.topic_id;
        if let Some(before) = self.assignment.windows()
            && (before != windows || other)
        {
            // The lanes that are open begin again, with windows of the other kind, or of the other topic;
            // these begin with them.
            let open = self.assignment.partitions();
            let all = open.iter().chain(ready.keys()).copied().collect();
            self.end_lanes(open, Some(all), now);
            return Ok(());
        }
        let mut starts = BTreeMap::new();
        for (partition, facts) in ready {
            let (initial, seen) = (self.config.initial_offset, self.log_changes.remove(partition));
            let start = start_offsets::decide(*partition, facts, &self.known, initial, seen);
            starts.insert(*partition, start.map_err(|error| self.reports.unreadable(*partition, &error))?);
        }
        let from: Vec<(i32, i64)> =
            starts.iter().map(|(partition, start)| (*partition, start.read_from())).collect();
        self.topic_id = topic.id.clone().or(self.topic_id.take());
        let source: Arc<str> = format!("{}/{}/{}", topic.cluster, self.config.group_id, self.topic).into();
        if windows == WindowScope::AllPartitions {
            // Before anything is read: windows do not fire without the share of those that are still waited
            // for.
            let awaited = self.awaiting.partitions();
            awaited.iter().for_each(|partition| self.assignment.hold(*partition, &source, &self.committer));
        }
        for (partition, start) in starts {
            self.reports.start(partition, &start);
            // Before it is assigned, so that no record goes to the queue that all partitions share.
            let wakeup = self.wakeup.clone();
            let queue = FetchQueue::new(self.consumer, &self.topic, partition, move || wakeup.wake());
            self.assignment.open(partition, &start, &source, windows, &self.committer, queue);
        }
        self.count_assigned();
        self.committer.flush();
        self.host.ready();
        self.client.assign(&from)?;
        Ok(())
    }

    /// How windows are added up when this gateway has `owned` of `count` partitions.
    fn window_scope(&self, owned: usize, count: i32) -> WindowScope {
        if self.config.windows == WindowsOver::Partition {
            return WindowScope::EachPartition;
        }
        let all = i64::try_from(owned).unwrap_or(i64::MAX) >= i64::from(count);
        let news = self.metrics.partial.set(i64::from(!all)) != i64::from(!all);
        if !all && news {
            self.reports.part_of_the_topic(owned, count);
        }
        if all { WindowScope::AllPartitions } else { WindowScope::EachPartition }
    }

    fn give_up(&mut self, partitions: &[i32], lost: bool) {
        partitions.iter().for_each(|partition| self.committer.remove(*partition));
        self.assignment.drop_all(partitions, lost);
        self.count_assigned();
    }

    fn count_assigned(&self) {
        self.metrics.assigned.set(i64::try_from(self.assignment.len()).unwrap_or(i64::MAX));
    }

    fn answer_owed(&mut self) {
        if let Some(owed) = self.owed.take() {
            self.client.answer(&owed);
        }
    }
}
