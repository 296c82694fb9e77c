//! Questions to Kafka about partitions: which topic it is, what the group has committed, which offsets the
//! log has.
//!
//! A question may take long, so it is asked on a thread of its own, and the polling thread collects the
//! answers. Each partition has its own answer: a partition whose broker is away, or that has no leader, does
//! not delay the others.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use weir_component::delivery::Metadata;

use crate::config::InitialOffset;
use crate::consumer::context::KafkaContext;
use crate::consumer::native;
use crate::consumer::wakeup::Wakeup;
use crate::topics::{Place, TopicSet};

/// How long Kafka may take for each question.
const PATIENCE: Duration = Duration::from_secs(5);

/// Instead of a partition in an answer that is about the topic alone.
pub(crate) const WHOLE_TOPIC: i32 = -1;

/// The system has no thread left to ask with.
const NO_THREAD: KafkaError = KafkaError::Global(RDKafkaErrorCode::CriticalSystemResource);

/// The known facts about the topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Topic {
    /// The cluster that it is in.
    pub(crate) cluster: String,
    /// Its id: another one when it is created again.
    pub(crate) id: Option<String>,
    /// How many partitions it has.
    pub(crate) count: i32,
    /// How many partitions each topic of the receiver has, by number; 0 for those that do not exist. `None`:
    /// Kafka does not say it.
    pub(crate) counts: Vec<Option<i32>>,
}

/// The known facts about a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) topic: Arc<Topic>,
    /// The first offset that it has.
    pub(crate) first: i64,
    /// One past the last offset that may be read.
    pub(crate) end: i64,
    /// The first record of `initial_offset.timestamp` or later, where that is asked for and there is one.
    pub(crate) at_time: Option<i64>,
    /// The commit of the group: the offset, and the text beside it.
    pub(crate) committed: Option<(i64, String)>,
    /// How many partitions the topic had when the group began to read it, as it wrote down for any of them.
    pub(crate) first_count: Option<i32>,
    /// What the group wrote down for partitions of all topics, when the receiver has several.
    pub(crate) others: Arc<[Metadata]>,
}

/// The answer to a question about one partition.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The number of the question.
    pub(crate) number: u64,
    pub(crate) partition: Place,
    pub(crate) facts: Result<Facts, Refused>,
}

/// Kafka did not say it. To be tried again.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    pub(crate) error: KafkaError,
    /// The broker of the partition did not answer: better asked without others the next time.
    pub(crate) alone: bool,
}

/// Asks, and collects the answers.
pub(crate) struct Asking {
    consumer: Arc<BaseConsumer<KafkaContext>>,
    topics: TopicSet,
    initial: InitialOffset,
    wakeup: Wakeup,
    sender: mpsc::Sender<Answer>,
    answers: mpsc::Receiver<Answer>,
    threads: Vec<JoinHandle<()>>,
    /// Nobody waits for answers any more.
    ended: Arc<AtomicBool>,
    number: u64,
}

impl Asking {
    pub(crate) fn new(
        consumer: &Arc<BaseConsumer<KafkaContext>>,
        topics: TopicSet,
        initial: InitialOffset,
        wakeup: Wakeup,
    ) -> Asking {
        let (sender, answers) = mpsc::channel();
        let (threads, ended) = (Vec::new(), Arc::default());
        Asking {
            consumer: Arc::clone(consumer),
            topics,
            initial,
            wakeup,
            sender,
            answers,
            threads,
            ended,
            number: 0,
        }
    }

    /// Asks about these partitions of a topic together, or about the topic ([`WHOLE_TOPIC`]) when there are
    /// none. Each is answered under the number that this returns.
    pub(crate) fn ask(&mut self, topic: usize, partitions: &[i32]) -> u64 {
        self.number += 1;
        self.threads.retain(|thread| !thread.is_finished());
        let question = Question {
            number: self.number,
            consumer: Arc::clone(&self.consumer),
            topics: self.topics.clone(),
            number_of_topic: topic,
            topic: Arc::clone(self.topics.name(topic)),
            initial: self.initial,
            sender: self.sender.clone(),
            wakeup: self.wakeup.clone(),
            ended: Arc::clone(&self.ended),
        };
        let asked = partitions.to_vec();
        let thread = std::thread::Builder::new().name("weir-kafka-ask".to_owned());
        match thread.spawn(move || question.run(&asked)) {
            Ok(thread) => self.threads.push(thread),
            Err(_) => {
                for partition in partitions {
                    let facts = Err(Refused { error: NO_THREAD, alone: false });
                    let partition = Place { topic, partition: *partition };
                    let _ = self.sender.send(Answer { number: self.number, partition, facts });
                }
            }
        }
        self.number
    }

    /// The answers that have come.
    pub(crate) fn answers(&self) -> impl Iterator<Item = Answer> {
        self.answers.try_iter()
    }

    /// Asks nothing more, and waits for what is being asked: the consumer can only close when it has no other
    /// user.
    pub(crate) fn end(&mut self) {
        self.ended.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            // A thread that panicked has nothing to say.
            let _ = thread.join();
        }
    }
}

impl Drop for Asking {
    fn drop(&mut self) {
        self.end();
    }
}

struct Question {
    number: u64,
    consumer: Arc<BaseConsumer<KafkaContext>>,
    topics: TopicSet,
    /// The number of the topic that is asked about.
    number_of_topic: usize,
    topic: Arc<str>,
    initial: InitialOffset,
    sender: mpsc::Sender<Answer>,
    wakeup: Wakeup,
    ended: Arc<AtomicBool>,
}

/// The partitions of a question by the broker that leads them.
type Leaders = BTreeMap<i32, Vec<i32>>;
/// Those without a leader, and why.
type Leaderless = Vec<(i32, RDKafkaErrorCode)>;

impl Question {
    fn run(&self, partitions: &[i32]) {
        if let Err(error) = self.all(partitions) {
            let asked: &[i32] = if partitions.is_empty() { &[WHOLE_TOPIC] } else { partitions };
            self.refuse(asked, &error, false);
        }
    }

    /// Asks about all of them; then about each group of partitions with the same broker apart.
    fn all(&self, partitions: &[i32]) -> KafkaResult<()> {
        let cluster = self.go_on(|| {
            let timeout = KafkaError::Global(RDKafkaErrorCode::OperationTimedOut);
            self.consumer.client().fetch_cluster_id(PATIENCE).ok_or(timeout)
        })?;
        let (broker, count, leaders, leaderless) = self.go_on(|| self.leaders(partitions))?;
        let id = self.topic_id(broker)?;
        let counts = self.counts(count);
        if partitions.is_empty() {
            let topic = Arc::new(Topic { cluster, id, count, counts });
            let facts = Facts {
                topic,
                first: 0,
                end: 0,
                at_time: None,
                committed: None,
                first_count: None,
                others: Arc::default(),
            };
            self.answer(WHOLE_TOPIC, Ok(facts));
            return Ok(());
        }
        let all: Vec<i32> = (0..count).collect();
        let committed = self.go_on(|| self.committed(&all))?;
        let first_count = first_count(id.as_deref(), &committed);
        let others = self.others(&counts)?;
        for (partition, code) in leaderless {
            let error = KafkaError::MetadataFetch(code);
            self.answer(partition, Err(Refused { error, alone: false }));
        }
        let topic = Arc::new(Topic { cluster, id, count, counts });
        let (topic, committed, others) = (&topic, &committed, &others);
        std::thread::scope(|scope| {
            for (broker, group) in &leaders {
                let thread = std::thread::Builder::new().name("weir-kafka-ask".to_owned());
                let ask = move || self.group(*broker, group, topic, (committed, first_count, others));
                if thread.spawn_scoped(scope, ask).is_err() {
                    self.refuse(group, &NO_THREAD, false);
                }
            }
        });
        Ok(())
    }

    /// How many partitions each topic has; of this one it is known. A topic that does not exist, or that the
    /// user may not see, has none. An error of one topic does not concern the others.
    fn counts(&self, own: i32) -> Vec<Option<i32>> {
        let count = |(number, topic): (usize, &crate::topics::Topic)| {
            if number == self.number_of_topic {
                return Some(own);
            }
            let metadata = self.go_on(|| self.consumer.fetch_metadata(Some(&topic.name), PATIENCE)).ok()?;
            let found = metadata.topics().iter().find(|found| found.name() == &*topic.name)?;
            match found.error().map(RDKafkaErrorCode::from) {
                None => Some(i32::try_from(found.partitions().len()).unwrap_or(i32::MAX)),
                Some(
                    RDKafkaErrorCode::UnknownTopicOrPartition
                    | RDKafkaErrorCode::UnknownTopic
                    | RDKafkaErrorCode::TopicAuthorizationFailed,
                ) => Some(0),
                Some(_) => None,
            }
        };
        self.topics.iter().enumerate().map(count).collect()
    }

    /// What the group wrote down for the partitions of all topics: the marks of windows that they share. A
    /// topic that may not be read says nothing.
    fn others(&self, counts: &[Option<i32>]) -> KafkaResult<Arc<[Metadata]>> {
        if self.topics.len() < 2 {
            return Ok(Arc::default());
        }
        let mut asked = TopicPartitionList::new();
        for (topic, count) in self.topics.iter().zip(counts) {
            for partition in 0..count.unwrap_or_default() {
                asked.add_partition(&topic.name, partition);
            }
        }
        let found = self.go_on(|| self.consumer.committed_offsets(asked, PATIENCE))?;
        let texts = native::texts(&found);
        Ok(texts.iter().filter_map(|text| Metadata::decode(text).ok().flatten()).collect())
    }

    fn topic_id(&self, broker: i32) -> KafkaResult<Option<String>> {
        self.go_on(|| native::topic_id(&self.consumer, &self.topic, broker, PATIENCE))
    }

    fn go_on<T>(&self, ask: impl FnOnce() -> KafkaResult<T>) -> KafkaResult<T> {
        if self.ended.load(Ordering::Acquire) { Err(KafkaError::Canceled) } else { ask() }
    }

    /// A broker that answers; how many partitions the topic has; who leads those that are asked for; those
    /// without a leader.
    fn leaders(&self, partitions: &[i32]) -> KafkaResult<(i32, i32, Leaders, Leaderless)> {
        let metadata = self.consumer.fetch_metadata(Some(&self.topic), PATIENCE)?;
        let found = metadata.topics().iter().find(|found| found.name() == &*self.topic);
        let found = found.ok_or(KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition))?;
        if let Some(error) = found.error() {
            return Err(KafkaError::MetadataFetch(error.into()));
        }
        let (mut leaders, mut leaderless) = (Leaders::new(), Vec::new());
        for partition in partitions {
            let known = found.partitions().iter().find(|known| known.id() == *partition);
            match known {
                Some(known) if known.leader() >= 0 => {
                    leaders.entry(known.leader()).or_default().push(*partition);
                }
                Some(known) => {
                    let error =
                        known.error().unwrap_or(RDKafkaRespErr::RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE);
                    leaderless.push((*partition, error.into()));
                }
                None => leaderless.push((*partition, RDKafkaErrorCode::UnknownTopicOrPartition)),
            }
        }
        let count = i32::try_from(found.partitions().len()).unwrap_or(i32::MAX);
        let answered = Some(metadata.orig_broker_id()).filter(|broker| *broker >= 0);
        let any = metadata.brokers().first().map(rdkafka::metadata::MetadataBroker::id);
        Ok((answered.or(any).unwrap_or(0), count, leaders, leaderless))
    }

    fn committed(&self, partitions: &[i32]) -> KafkaResult<BTreeMap<i32, Committed>> {
        let mut asked = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            asked.add_partition(&self.topic, *partition);
        }
        let found = self.consumer.committed_offsets(asked, PATIENCE)?;
        let with_texts = found.elements().into_iter().zip(native::texts(&found));
        let each = with_texts.map(|(element, text)| {
            let committed = element.error().map(|()| match element.offset() {
                Offset::Offset(offset) => Some((offset, text)),
                _ => None,
            });
            (element.partition(), committed)
        });
        Ok(each.collect())
    }

    /// Partitions of one broker.
    fn group(
        &self,
        broker: i32,
        group: &[i32],
        topic: &Arc<Topic>,
        (committed, first_count, others): (&BTreeMap<i32, Committed>, Option<i32>, &Arc<[Metadata]>),
    ) {
        let ends = self.ends(group, Offset::Beginning).and_then(|first| {
            let end = self.ends(group, Offset::End)?;
            let at_time = match self.initial {
                InitialOffset::Timestamp(millis) => self.ends(group, Offset::Offset(millis))?,
                InitialOffset::Latest | InitialOffset::Earliest => BTreeMap::new(),
            };
            // The topic may have been created again between the questions.
            let id = self.topic_id(broker)?;
            let changed = KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicId);
            if id == topic.id { Ok((first, end, at_time)) } else { Err(changed) }
        });
        let (first, end, at_time) = match ends {
            Ok(ends) => ends,
            Err(error) => {
                return self.refuse(group, &error, true);
            }
        };
        for partition in group {
            let of = |ends: &BTreeMap<i32, KafkaResult<i64>>| {
                let missing = KafkaError::OffsetFetch(RDKafkaErrorCode::NoOffset);
                ends.get(partition).cloned().unwrap_or(Err(missing))
            };
            let facts = of(&first).and_then(|first| {
                let missing = Err(KafkaError::OffsetFetch(RDKafkaErrorCode::NoOffset));
                let committed = committed.get(partition).cloned().unwrap_or(missing)?;
                let topic = Arc::clone(topic);
                let at_time = at_time.get(partition).and_then(|offset| offset.clone().ok());
                let others = Arc::clone(others);
                Ok(Facts { topic, first, end: of(&end)?, at_time, committed, first_count, others })
            });
            self.answer(*partition, facts.map_err(|error| Refused { error, alone: true }));
        }
    }

    /// The first offset of each partition, or one past its last, or the first of a time. A "time" of
    /// `Beginning` or `End` asks for the former (ListOffsets).
    fn ends(&self, partitions: &[i32], which: Offset) -> KafkaResult<BTreeMap<i32, KafkaResult<i64>>> {
        let mut asked = TopicPartitionList::with_capacity(partitions.len());
        for partition in partitions {
            asked.add_partition_offset(&self.topic, *partition, which)?;
        }
        let found = self.go_on(|| self.consumer.offsets_for_times(asked, PATIENCE))?;
        let elements = found.elements();
        let each = elements.iter().map(|element| {
            let offset = element.error().and_then(|()| match element.offset() {
                Offset::Offset(offset) => Ok(offset),
                _ => Err(KafkaError::OffsetFetch(RDKafkaErrorCode::NoOffset)),
            });
            (element.partition(), offset)
        });
        Ok(each.collect())
    }

    fn refuse(&self, partitions: &[i32], error: &KafkaError, alone: bool) {
        for partition in partitions {
            self.answer(*partition, Err(Refused { error: error.clone(), alone }));
        }
    }

    fn answer(&self, partition: i32, facts: Result<Facts, Refused>) {
        // The receiver may have ended.
        let partition = Place { topic: self.number_of_topic, partition };
        let _ = self.sender.send(Answer { number: self.number, partition, facts });
        self.wakeup.wake();
    }
}

/// The commit of a group for a partition, if there is one: the offset and the text beside it.
type Committed = KafkaResult<Option<(i64, String)>>;

/// How many partitions the topic with this id had when the group began to read it, as it wrote down for any
/// of them.
fn first_count(id: Option<&str>, committed: &BTreeMap<i32, Committed>) -> Option<i32> {
    let texts = committed.values().filter_map(|committed| committed.as_ref().ok()?.as_ref());
    let written = texts.filter_map(|(_, text)| Metadata::decode(text).ok().flatten());
    let of_this = written.filter(|written| match (written.topic.as_deref(), id) {
        (Some(before), Some(now)) => before == now,
        _ => true,
    });
    of_this.filter_map(|written| written.lanes).min()
}
