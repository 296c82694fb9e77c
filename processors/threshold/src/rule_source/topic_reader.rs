//! Reads rules from a compacted Kafka topic, on a thread of its own.
//!
//! * Every start reads every partition from its beginning. No group is joined and nothing is committed.
//! * The rules are complete when each partition has been read to its end at the start. Until then the
//!   pipeline waits, without a limit, and logs the reason every 10 seconds. It also waits for a topic that
//!   does not exist: without the rules windows would be evaluated wrongly.
//! * After that, changes are used as they come. Partitions that are added are read from their beginning.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;
use weir_component::{Clock, Context, LogLimit};

use super::client::Logging;
use super::rule_book::{Applied, RuleBook};
use crate::metrics::RuleMetrics;

/// Longest wait in one call, so that a stop is noticed.
const TICK: Duration = Duration::from_millis(200);
/// Longest wait for an answer of a broker.
const ANSWER: Duration = Duration::from_secs(2);
/// How often the topic is asked for new partitions.
const REFRESH: Duration = Duration::from_secs(30);
/// Records taken before the rules are published again.
const BURST: usize = 1000;
/// Rejected records that are logged one by one; later ones at most once in 10 seconds.
const LOGGED_REJECTS: u64 = 100;

/// Reads the rules' topic into a [`RuleBook`].
pub(crate) struct Reader {
    consumer: BaseConsumer<Logging>,
    topic: String,
    book: Arc<Mutex<RuleBook>>,
    /// The next offset of every partition known.
    next: BTreeMap<i32, Offset>,
    metrics: RuleMetrics,
    id: String,
    clock: Arc<dyn Clock>,
    waits: LogLimit,
    rejects: LogLimit,
    idle: LogLimit,
}

impl Reader {
    /// A reader of `topic`. Does not connect yet.
    ///
    /// # Errors
    /// Settings that librdkafka does not accept, files that it cannot read.
    pub(crate) fn new(
        client: &ClientConfig,
        topic: &str,
        book: Arc<Mutex<RuleBook>>,
        context: &Context,
    ) -> Result<Reader, KafkaError> {
        Ok(Reader {
            consumer: client.create_with_context(Logging::new(context))?,
            topic: topic.to_owned(),
            book,
            next: BTreeMap::new(),
            metrics: RuleMetrics::new(context),
            id: context.id.to_string(),
            clock: context.clock.clone(),
            waits: LogLimit::every_ms(10_000),
            rejects: LogLimit::every_ms(10_000),
            idle: LogLimit::every_ms(10_000),
        })
    }

    /// Reads until `stop`. Tells `ready` when the topic has been read to its end. Blocks.
    pub(crate) fn run(mut self, stop: &CancellationToken, ready: oneshot::Sender<()>) {
        let Some(ends) = self.assign_all(stop) else { return };
        if !self.read_to(ends, stop) {
            return;
        }
        self.book().publish_first();
        self.update_gauges();
        tracing::info!("{}: {} rules read from topic `{}`", self.id, self.book().counts().2, self.topic);
        // Who waited may have been stopped meanwhile.
        let _ = ready.send(());
        self.follow(stop);
    }

    /// Assigns all partitions from their beginning. Gives where each of them ends now; `None` when stopped.
    fn assign_all(&mut self, stop: &CancellationToken) -> Option<BTreeMap<i32, i64>> {
        while !stop.is_cancelled() {
            let start = self.partitions().and_then(|partitions| {
                let ends = partitions.iter().map(|partition| Ok((*partition, self.end(*partition)?)));
                let ends: BTreeMap<i32, i64> = ends.collect::<Result<_, String>>()?;
                self.next = partitions.into_iter().map(|partition| (partition, Offset::Beginning)).collect();
                self.assign()?;
                Ok(ends)
            });
            match start {
                Ok(ends) => return Some(ends),
                Err(why) => self.log_waiting(&why),
            }
            // Serves the client's events, and is the pause before the next try.
            if let Some(Err(error)) = self.consumer.poll(TICK) {
                tracing::debug!("{}: {error}", self.id);
            }
        }
        None
    }

    fn book(&self) -> MutexGuard<'_, RuleBook> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn partitions(&self) -> Result<Vec<i32>, String> {
        let metadata = self.consumer.fetch_metadata(Some(&self.topic), ANSWER);
        let metadata = metadata.map_err(|error| format!("Kafka does not answer: {error}"))?;
        let topic = metadata.topics().iter().find(|topic| topic.name() == self.topic);
        let missing = || format!("topic `{}` does not exist; create it (cleanup.policy=compact)", self.topic);
        let topic = topic.ok_or_else(missing)?;
        if let Some(error) = topic.error() {
            let error: rdkafka::types::RDKafkaErrorCode = error.into();
            return Err(match error {
                rdkafka::types::RDKafkaErrorCode::UnknownTopicOrPartition => missing(),
                other => format!("topic `{}` cannot be read: {other}", self.topic),
            });
        }
        let partitions: Vec<i32> =
            topic.partitions().iter().map(rdkafka::metadata::MetadataPartition::id).collect();
        if partitions.is_empty() { Err(missing()) } else { Ok(partitions) }
    }

    fn end(&self, partition: i32) -> Result<i64, String> {
        let watermarks = self.consumer.fetch_watermarks(&self.topic, partition, ANSWER);
        let ends = watermarks.map(|(low, high)| if low < high { high } else { 0 });
        ends.map_err(|error| {
            format!("partition {partition} of topic `{}` does not answer: {error}", self.topic)
        })
    }

    fn assign(&self) -> Result<(), String> {
        let mut all = TopicPartitionList::new();
        for (partition, offset) in &self.next {
            let added = all.add_partition_offset(&self.topic, *partition, *offset);
            added.map_err(|error| format!("partition {partition} cannot be assigned: {error}"))?;
        }
        let assigned = self.consumer.assign(&all);
        assigned
            .map_err(|error| format!("the partitions of topic `{}` cannot be assigned: {error}", self.topic))
    }

    /// Reads until every partition has come to its end. False when stopped.
    fn read_to(&mut self, mut ends: BTreeMap<i32, i64>, stop: &CancellationToken) -> bool {
        ends.retain(|_, end| *end > 0);
        while !ends.is_empty() {
            if stop.is_cancelled() {
                return false;
            }
            match self.poll_once(TICK) {
                Polled::Record { partition, offset, .. } => {
                    if ends.get(&partition).is_some_and(|end| offset.saturating_add(1) >= *end) {
                        ends.remove(&partition);
                    }
                }
                // Compaction may have removed the last records before the end.
                Polled::End(partition) => drop(ends.remove(&partition)),
                Polled::Nothing => self.log_waiting("the rules are still being read"),
                Polled::Problem(why) => self.log_waiting(&why),
            }
        }
        true
    }

    /// Takes changes as they come, until stopped.
    fn follow(&mut self, stop: &CancellationToken) {
        let mut refreshed = Instant::now();
        while !stop.is_cancelled() {
            let mut changed = false;
            let mut wait = TICK;
            for _ in 0..BURST {
                match self.poll_once(wait) {
                    Polled::Record { changed: one, .. } => changed |= one,
                    Polled::End(_) => {}
                    Polled::Nothing => break,
                    Polled::Problem(why) => {
                        self.log_waiting(&why);
                        break;
                    }
                }
                wait = Duration::ZERO;
            }
            if changed {
                self.book().publish();
                self.update_gauges();
                tracing::info!("{}: the rules changed, epoch {}", self.id, self.book().epoch());
            }
            if refreshed.elapsed() >= REFRESH {
                self.add_partitions();
                refreshed = Instant::now();
            }
        }
    }

    fn add_partitions(&mut self) {
        let found = match self.partitions() {
            Ok(found) => found,
            Err(why) => return self.log_waiting(&why),
        };
        let known = self.next.len();
        for partition in found {
            self.next.entry(partition).or_insert(Offset::Beginning);
        }
        if self.next.len() > known
            && let Err(why) = self.assign()
        {
            self.log_waiting(&why);
        }
    }

    fn poll_once(&mut self, wait: Duration) -> Polled {
        let message = match self.consumer.poll(wait) {
            None => return Polled::Nothing,
            Some(Err(KafkaError::PartitionEOF(partition))) => return Polled::End(partition),
            Some(Err(error)) => return Polled::Problem(error.to_string()),
            Some(Ok(message)) => message,
        };
        let (partition, offset) = (message.partition(), message.offset());
        let applied = self.book().apply(message.key(), message.payload());
        drop(message);
        self.next.insert(partition, Offset::Offset(offset.saturating_add(1)));
        self.report_unknown(partition, offset);
        self.report_idle(partition, offset);
        if let Err(reason) = &applied {
            let before = self.metrics.rejected.inc();
            let suppressed =
                if before < LOGGED_REJECTS { Some(0) } else { self.rejects.allow(self.clock.now_ms()) };
            if let Some(suppressed) = suppressed {
                let (id, topic) = (&self.id, &self.topic);
                tracing::warn!(
                    suppressed,
                    "{id}: record {topic}/{partition}/{offset} is rejected, the rule stays as it was: {reason}"
                );
            }
        }
        Polled::Record { partition, offset, changed: applied == Ok(Applied::Changed) }
    }

    /// Each key that means nothing, once: it may be a slip (`maxThresholdHihg`), or another program's.
    fn report_unknown(&mut self, partition: i32, offset: i64) {
        let (id, topic) = (&self.id, &self.topic);
        let unknown = self.book().take_unknown();
        for (key, rule) in unknown {
            self.metrics.unknown_keys.inc();
            tracing::warn!(
                "{id}: record {topic}/{partition}/{offset}, rule `{rule}`: the key `{key}` means nothing and is ignored, in all \
                 records; check its spelling if it is not another program's"
            );
        }
    }

    /// Rules that can never hold.
    fn report_idle(&mut self, partition: i32, offset: i64) {
        let (id, topic) = (&self.id, &self.topic);
        let idle = self.book().take_idle();
        for (rule, why) in idle {
            if let Some(suppressed) = self.idle.allow(self.clock.now_ms()) {
                tracing::warn!(
                    suppressed,
                    "{id}: record {topic}/{partition}/{offset}: the rule `{rule}` is taken, and can never raise an alarm: {why}"
                );
            }
        }
    }

    fn log_waiting(&self, why: &str) {
        if self.waits.allow(self.clock.now_ms()).is_some() {
            tracing::warn!("{}: waiting for the rules' topic `{}`: {why}", self.id, self.topic);
        }
    }

    fn update_gauges(&self) {
        let book = self.book();
        self.metrics.set_rules(book.epoch(), book.counts());
    }
}

enum Polled {
    Record { partition: i32, offset: i64, changed: bool },
    End(i32),
    Nothing,
    Problem(String),
}
