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
//! * Windows are over all partitions while this gateway has every partition of every topic. When that
//!   changes, the lanes that stay end too, and begin again with windows of the other kind. When only another
//!   gateway gains partitions, this one sees it when it looks at the topics (`metadata_refresh`), and waits
//!   whether a rebalance brings them here.
//! * Windows over several topics belong to the receiver, and not to the topics that happen to be there.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use weir_component::{ReceiverError, ReceiverHost};

use crate::config::{Config, WindowsOver};
use crate::consumer::context::{Event, KafkaContext};
use crate::consumer::partition_queue::FetchQueue;
use crate::consumer::wakeup::Wakeup;
use crate::create_topics::CreatedTopics;
use crate::metrics::Metrics;
use crate::partition::assignment::{Assignment, WindowScope};
use crate::rebalance::awaiting::Awaiting;
use crate::rebalance::client_assignment::{ClientAssignment, Rebalance};
use crate::rebalance::committer::Committer;
use crate::rebalance::known_topic::KnownTopic;
use crate::rebalance::questions::{Answer, Asking, Facts, WHOLE_TOPIC};
use crate::rebalance::reports::Reports;
use crate::rebalance::shares::Shares;
use crate::rebalance::start_offsets::{self, LogChange};
use crate::rebalance::window_inputs::WindowInputs;
use crate::topics::{Place, TopicSet};

/// How long the last commit of an ownership may take.
const COMMIT_PATIENCE: Duration = Duration::from_secs(5);
/// How long a rebalance may take that brings the partitions that are seen.
const REBALANCE_PATIENCE: Duration = Duration::from_secs(10);

/// The partitions of one consumer, and what happens to them.
pub(crate) struct Ownership<'a> {
    consumer: &'a Arc<BaseConsumer<KafkaContext>>,
    config: &'a Config,
    host: &'a ReceiverHost,
    /// Woken when a partition has records after it had none.
    pub(crate) wakeup: Wakeup,
    topics: TopicSet,
    /// Those that this receiver has made.
    created: CreatedTopics,
    metrics: Metrics,
    pub(crate) assignment: Assignment,
    committer: Committer,
    asking: Asking,
    /// Partitions that are ours, and of which Kafka has not said yet where they begin.
    awaiting: Awaiting,
    /// The partitions that librdkafka reads.
    client: ClientAssignment<'a>,
    reports: Reports<'a>,
    /// Of each topic.
    known: Vec<KnownTopic>,
    /// The ids of the topics whose lanes are open.
    topic_ids: BTreeMap<usize, String>,
    shares: Shares,
    inputs: WindowInputs,
    /// Windows of other receivers need not wait for those that cannot be opened.
    told_refused: bool,
    /// When the topics' ids are looked at next.
    next_topic_check: Instant,
    /// Rebalances that are not begun yet.
    rebalances: VecDeque<Rebalance>,
    /// The rebalance that waits for its answer.
    owed: Option<Rebalance>,
    /// Partitions whose lanes have to begin again.
    restarting: BTreeSet<Place>,
    /// Changes in the logs of partitions that begin again.
    log_changes: BTreeMap<Place, LogChange>,
    step: Step,
}

/// The act that goes on beside reading.
enum Step {
    Reading,
    /// Nothing more is read; what was read goes down the lanes.
    Stopping(Closing),
    /// The lanes are closed; what they were given is delivered.
    Draining(Closing),
    /// The finished work is committed a last time.
    Committing(Closing),
    Stopped,
}

/// Lanes that end together.
struct Closing {
    partitions: Vec<Place>,
    deadline: Instant,
    /// Partitions that begin again afterwards. `None`: the receiver stops.
    then: Option<Vec<Place>>,
}

impl<'a> Ownership<'a> {
    pub(crate) fn new(
        consumer: &'a Arc<BaseConsumer<KafkaContext>>,
        config: &'a Config,
        host: &'a ReceiverHost,
        created: CreatedTopics,
        metrics: Metrics,
        assignment: Assignment,
        committer: Committer,
    ) -> Ownership<'a> {
        let topics = config.topic_set();
        let wakeup = Wakeup::default();
        Ownership {
            consumer,
            config,
            host,
            asking: Asking::new(consumer, topics.clone(), config.initial_offset, wakeup.clone()),
            wakeup,
            created,
            metrics: metrics.clone(),
            assignment,
            committer,
            awaiting: Awaiting::default(),
            client: ClientAssignment::new(consumer, &host.context.id, topics.clone()),
            reports: Reports::new(config, host, topics.clone(), metrics),
            known: vec![KnownTopic::default(); topics.len()],
            shares: Shares::new(topics.len(), REBALANCE_PATIENCE.max(2 * config.metadata_refresh.get())),
            inputs: WindowInputs::new(&host.context.id.to_string(), &config.group_id, topics.clone()),
            told_refused: false,
            topics,
            topic_ids: BTreeMap::new(),
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
            Event::Statistics(..) | Event::TopicMissing(_) => {}
        }
    }

    /// This partition is not what it was: its lane has to begin again.
    pub(crate) fn restart_lane(&mut self, partition: Place, seen: LogChange) {
        self.restarting.insert(partition);
        self.log_changes.insert(partition, seen);
    }

    /// This topic does not exist.
    pub(crate) fn topic_missing(&mut self, topic: usize) {
        self.known.iter_mut().skip(topic).take(1).for_each(KnownTopic::missing);
    }

    /// The partitions of which Kafka does not say where to begin.
    pub(crate) fn unplaced(&self) -> Vec<Place> {
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
        let answers: Vec<Answer> = self.asking.answers().collect();
        for answer in answers {
            let partition = answer.partition;
            if partition.partition == WHOLE_TOPIC {
                let Ok(facts) = answer.facts else { continue };
                self.shares.count(partition.topic, &facts.topic);
                self.check_scope(now);
                // Under the same name there is another topic now: nothing of it has been read.
                let id = facts.topic.id.clone();
                if self.is_another(partition.topic, id.as_ref()) {
                    self.restarting.extend(self.open_of(partition.topic));
                }
                continue;
            }
            if let Some(error) = self.awaiting.answer(answer, now) {
                self.reports.no_answer(partition, &error);
            }
        }
    }

    /// Asks Kafka the questions that are due.
    fn ask_questions(&mut self, now: Instant) {
        for partitions in self.awaiting.due(now) {
            let topic = partitions.first().map_or(0, |place| place.topic);
            let numbers: Vec<i32> = partitions.iter().map(|place| place.partition).collect();
            let number = self.asking.ask(topic, &numbers);
            self.awaiting.asked(&partitions, number);
        }
        if now >= self.next_topic_check {
            self.next_topic_check = now + self.config.metadata_refresh.get();
            let open: BTreeSet<usize> =
                self.assignment.partitions().into_iter().map(|place| place.topic).collect();
            for topic in open {
                self.asking.ask(topic, &[]);
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
            let again: Vec<Place> = std::mem::take(&mut self.restarting).into_iter().collect();
            let closing = self.together(&again);
            self.end_lanes(closing.clone(), Some(closing), now);
            return Ok(());
        }
        // Rebalances come first: a partition that could begin may have gone to another member.
        let Some(rebalance) = self.rebalances.pop_front() else {
            let ready = self.awaiting.ready(now);
            if ready.is_empty() {
                self.hold_refused();
                return Ok(());
            }
            return self.open_lanes(&ready, now);
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
                let stay: Vec<Place> =
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
    fn together(&self, partitions: &[Place]) -> Vec<Place> {
        match self.assignment.windows() {
            Some(WindowScope::AllPartitions) => self.assignment.partitions(),
            _ => partitions.to_vec(),
        }
    }

    fn end_lanes(&mut self, partitions: Vec<Place>, then: Option<Vec<Place>>, now: Instant) {
        self.assignment.close(&partitions);
        let deadline = now + self.config.drain_timeout.get();
        self.step = Step::Stopping(Closing { partitions, deadline, then });
    }

    /// Lanes have ended and are committed.
    fn closed(&mut self, closing: Closing, now: Instant) {
        let Closing { partitions, then, .. } = closing;
        self.told_refused = false;
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
    fn open_lanes(&mut self, ready: &BTreeMap<Place, Facts>, now: Instant) -> Result<(), ReceiverError> {
        if ready.is_empty() {
            return Ok(());
        }
        let mut others = Vec::new();
        for (place, facts) in ready {
            let created = self.created.contains(self.topics.name(place.topic));
            for known in self.known.iter_mut().skip(place.topic).take(1) {
                if created {
                    known.missing();
                }
                known.update(&facts.topic);
            }
            if self.is_another(place.topic, facts.topic.id.as_ref()) {
                others.extend(self.open_of(place.topic));
            }
        }
        for (place, facts) in ready {
            self.shares.count(place.topic, &facts.topic);
        }
        let mut starts = BTreeMap::new();
        for (partition, facts) in ready {
            let (initial, seen) = (self.config.initial_offset, self.log_changes.get(partition).copied());
            let known = self.known.get(partition.topic).cloned().unwrap_or_default();
            let start = start_offsets::decide(partition.partition, facts, &known, initial, seen);
            starts.insert(*partition, start.map_err(|error| self.reports.unreadable(*partition, &error))?);
        }
        let windows = self.window_scope(&ready.keys().copied().collect());
        let cluster = ready.values().next().map(|facts| facts.topic.cluster.as_str()).unwrap_or_default();
        let sources = self.inputs.sources(cluster, &mut starts);
        let is_other = windows == WindowScope::AllPartitions && self.inputs.open() != sources.all.as_ref();
        if let Some(before) = self.assignment.windows()
            && (before != windows || is_other || !others.is_empty())
        {
            // Lanes that are open begin again, with windows of the other kind, or of the other topic; these
            // begin with them.
            let all = before != windows || is_other;
            let again = if all { self.assignment.partitions() } else { self.together(&others) };
            let all = again.iter().chain(ready.keys()).copied().collect();
            self.end_lanes(again, Some(all), now);
            return Ok(());
        }
        self.inputs.opened(&sources);
        let from: Vec<(Place, i64)> =
            starts.iter().map(|(partition, start)| (*partition, start.read_from())).collect();
        for (place, facts) in ready {
            self.log_changes.remove(place);
            if let Some(id) = &facts.topic.id {
                self.topic_ids.insert(place.topic, id.clone());
            }
        }
        if windows == WindowScope::AllPartitions {
            // Before anything is read: windows do not fire without the share of those that are still waited
            // for.
            for place in self.awaiting.partitions() {
                self.assignment.hold(place, &self.committer);
            }
        } else {
            self.assignment.let_held_go();
        }
        for (partition, start) in starts {
            self.reports.start(partition, &start);
            // Before it is assigned, so that no record goes to the queue that all partitions share.
            let wakeup = self.wakeup.clone();
            let (topic, number) = (self.topics.name(partition.topic), partition.partition);
            let queue = FetchQueue::new(self.consumer, topic, number, move || wakeup.wake());
            self.assignment.open(partition, &start, &sources, windows, &self.committer, queue);
        }
        self.count_assigned();
        self.committer.flush();
        self.host.ready();
        self.client.assign(&from)?;
        Ok(())
    }

    /// Lanes begin again when they make windows of the wrong kind for longer than a rebalance takes.
    fn check_scope(&mut self, now: Instant) {
        let Some(open) = self.assignment.windows() else { return };
        let rests = matches!(self.step, Step::Reading) && self.rebalances.is_empty();
        let should_be = match self.config.windows {
            WindowsOver::Partition => WindowScope::EachPartition,
            WindowsOver::All => self.shares.scope(&self.owned_with(&BTreeSet::new())).0,
        };
        if self.shares.is_wrong_for_long(rests && open != should_be, now) {
            self.restarting.extend(self.assignment.partitions());
        }
    }

    /// How many partitions of each topic this gateway has when these begin, too.
    fn owned_with(&self, ready: &BTreeSet<Place>) -> Vec<usize> {
        let coming: BTreeSet<Place> =
            self.awaiting.partitions().into_iter().chain(ready.iter().copied()).collect();
        let of = |topic| {
            self.assignment.len_of(topic) + coming.iter().filter(|place| place.topic == topic).count()
        };
        (0..self.topics.len()).map(of).collect()
    }

    /// How windows are added up when these begin, too.
    fn window_scope(&self, ready: &BTreeSet<Place>) -> WindowScope {
        if self.config.windows == WindowsOver::Partition {
            return WindowScope::EachPartition;
        }
        let owned = self.owned_with(ready);
        let (scope, part) = self.shares.scope(&owned);
        let partial = i64::from(part.is_some());
        let news = self.metrics.partial.set(partial) != partial;
        if let Some((topic, partitions)) = part.filter(|_| news) {
            self.reports.part_of_the_topic(topic, owned.get(topic).copied().unwrap_or(0), partitions);
        }
        scope
    }

    /// When Kafka says of no partition where to begin, each has a place, so that the windows of other
    /// receivers wait only for those that bring events into them.
    fn hold_refused(&mut self) {
        let refused = self.awaiting.are_refused() && self.assignment.len() == 0;
        if refused && !self.told_refused {
            if self.config.windows == WindowsOver::All {
                for place in self.awaiting.partitions() {
                    self.assignment.hold(place, &self.committer);
                }
            }
            self.host.ready();
        }
        self.told_refused = refused;
    }

    /// Whether the topic with open lanes is another one than that with this id.
    fn is_another(&self, topic: usize, id: Option<&String>) -> bool {
        id.is_some_and(|id| self.topic_ids.get(&topic).is_some_and(|open| open != id))
    }

    /// The partitions of a topic whose lanes are open.
    fn open_of(&self, topic: usize) -> Vec<Place> {
        self.assignment.partitions().into_iter().filter(|place| place.topic == topic).collect()
    }

    fn give_up(&mut self, partitions: &[Place], lost: bool) {
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
