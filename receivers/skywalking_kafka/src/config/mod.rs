//! The settings of the receiver.

mod initial_offset;
mod topics;

use serde::Deserialize;
use weir_config::{ByteSize, Duration, Tls};
use weir_kafka::{Properties, Sasl, Security};

use crate::topics::{Topic, TopicSet};
pub(crate) use initial_offset::InitialOffset;
pub(crate) use topics::{CreateTopics, MirrorMaker, NewTopics, Topics};

/// The settings of a `skywalking_kafka` receiver, as written in YAML.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// `host:port` of some brokers.
    pub(crate) brokers: Vec<String>,
    /// The topics to read.
    #[serde(default)]
    pub(crate) topics: Topics,
    /// Put before the topics' names, with a `-` between, when not empty.
    #[serde(default)]
    pub(crate) namespace: String,
    /// Put before the namespace, when MirrorMaker 2 has copied the topics.
    pub(crate) mirrormaker: Option<MirrorMaker>,
    /// Makes topics that are missing.
    #[serde(default)]
    pub(crate) create_topics: CreateTopics,
    /// The consumer group.
    #[serde(default = "weir")]
    pub(crate) group_id: String,
    /// The name under which brokers log this client.
    #[serde(default = "weir")]
    pub(crate) client_id: String,
    /// Where the group begins when it has no committed offset.
    #[serde(default)]
    pub(crate) initial_offset: InitialOffset,
    /// Encrypts the connections when present.
    pub(crate) tls: Option<Tls>,
    /// Logs in when present.
    pub(crate) sasl: Option<Sasl>,
    /// Further librdkafka properties.
    #[serde(default)]
    pub(crate) properties: Properties,
    /// The size of a batch.
    #[serde(default)]
    pub(crate) batch: Batch,
    /// The records that wait for the pipeline.
    #[serde(default)]
    pub(crate) queue: Queue,
    /// A larger record is rejected.
    #[serde(default = "max_record_bytes")]
    pub(crate) max_record_bytes: ByteSize,
    /// How often acknowledged offsets are committed.
    #[serde(default = "one_second")]
    pub(crate) commit_interval: Duration,
    /// Over which partitions windows are added up.
    #[serde(default)]
    pub(crate) windows: WindowsOver,
    /// How often new partitions are looked for.
    #[serde(default = "thirty_seconds")]
    pub(crate) metadata_refresh: Duration,
    /// How long lanes may take to finish when their partition is taken away, and at the end.
    #[serde(default = "five_seconds")]
    pub(crate) drain_timeout: Duration,
}

/// `windows`: over which partitions windows are added up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum WindowsOver {
    /// Over all partitions, as long as this gateway has all of them.
    #[default]
    All,
    /// Each partition's apart: several gateways then share the topic, and the sums over `shard` are exact.
    Partition,
}

/// `batch`: records of one partition that go down its lane together.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Batch {
    /// Records after which a batch is complete.
    pub(crate) max_records: usize,
    /// Bytes that a batch does not exceed, unless one record does.
    pub(crate) max_bytes: ByteSize,
    /// The longest that a record waits for others.
    pub(crate) timeout: Duration,
}

impl Default for Batch {
    fn default() -> Batch {
        Batch { max_records: 192, max_bytes: ByteSize::mib(2), timeout: Duration::from_millis(50) }
    }
}

/// `queue`: records that wait for the pipeline.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Queue {
    /// Bytes that may wait, all partitions together. Each partition has an equal share.
    pub(crate) max_bytes: ByteSize,
}

impl Default for Queue {
    fn default() -> Queue {
        Queue { max_bytes: ByteSize::mib(8) }
    }
}

fn weir() -> String {
    "weir".to_owned()
}

fn max_record_bytes() -> ByteSize {
    ByteSize::mib(64)
}

fn one_second() -> Duration {
    Duration::from_secs(1)
}

fn five_seconds() -> Duration {
    Duration::from_secs(5)
}

fn thirty_seconds() -> Duration {
    Duration::from_secs(30)
}

/// The largest `batch.max_bytes` and `max_record_bytes`: both together fit in one arena.
const MAX_BATCH: ByteSize = ByteSize::mib(512);

/// Kafka's longest topic name.
const MAX_TOPIC_NAME: usize = 249;

/// librdkafka's properties that the receiver sets, and what to do instead.
pub(crate) const OWNED: &[(&str, &str)] = &[
    ("group.id", "use `group_id`"),
    ("client.id", "use `client_id`"),
    ("auto.offset.reset", "use `initial_offset`"),
    ("topic.metadata.refresh.interval.ms", "use `metadata_refresh`"),
    ("enable.auto.commit", "Weir commits an offset when its records are safe"),
    ("auto.commit.enable", "Weir commits an offset when its records are safe"),
    ("auto.commit.interval.ms", "use `commit_interval`"),
    ("enable.auto.offset.store", "Weir commits an offset when its records are safe"),
    ("enable.partition.eof", "Weir needs it to know when a partition is idle"),
    ("partition.assignment.strategy", "Weir needs `cooperative-sticky`"),
    ("group.protocol", "Weir needs the `classic` protocol"),
    ("statistics.interval.ms", "Weir reads the statistics for lag and idle partitions"),
];

impl Config {
    /// The topics to read, as they are named in Kafka.
    pub(crate) fn topic_set(&self) -> TopicSet {
        let mirror = self.mirrormaker.as_ref().map(MirrorMaker::prefix).unwrap_or_default();
        let named = self.topics.listed();
        TopicSet::new(
            named.map(|(_, content, name)| Topic { name: self.prefixed(&mirror, name).into(), content }),
        )
    }

    /// The topics that [`create_topics`](Self::create_topics) makes: those that are read, and those that an
    /// agent insists on.
    pub(crate) fn topics_to_create(&self) -> Vec<String> {
        self.topics.with_defaults().into_iter().map(|name| self.prefixed("", name)).collect()
    }

    fn prefixed(&self, mirror: &str, name: &str) -> String {
        let separator = if self.namespace.is_empty() { "" } else { "-" };
        format!("{mirror}{}{separator}{name}", self.namespace)
    }

    /// Encryption and login.
    pub(crate) fn security(&self) -> Security<'_> {
        Security { tls: self.tls.as_ref(), sasl: self.sasl.as_ref() }
    }

    /// The faults of these settings: the key within the receiver's section, and why. `now_ms`: the time by
    /// the clock.
    pub(crate) fn problems(&self, now_ms: i64) -> Vec<(String, String)> {
        let mut problems = weir_kafka::broker_problems(&self.brokers);
        let mut wrong = |key: &str, why: &str| problems.push((key.to_owned(), why.to_owned()));
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let topics = self.topic_set();
        for (at, ((key, _, own), topic)) in self.topics.listed().zip(topics.iter()).enumerate() {
            let name = &*topic.name;
            if own.is_empty() || name.len() > MAX_TOPIC_NAME || !name.chars().all(legal) {
                let why = format!(
                    "`{name}` is not the name of a Kafka topic: 1 to {MAX_TOPIC_NAME} letters, digits, `.`, `_` and `-`"
                );
                wrong(&format!("topics.{key}"), &why);
            } else if topics.iter().take(at).any(|before| before.name == topic.name) {
                wrong(&format!("topics.{key}"), &format!("`{name}` is named twice"));
            }
        }
        if topics.len() == 0 {
            wrong("topics", "names no topic to read: name one, or leave `topics` out to read segments");
        }
        if self.mirrormaker.as_ref().is_some_and(|mirror| mirror.alias.is_empty()) {
            wrong("mirrormaker.alias", "must not be empty: it is the alias of the source cluster");
        }
        if self.create_topics.wanted().is_some() && self.mirrormaker.is_some() {
            let why = "topics that MirrorMaker copies are made by it: leave one of `create_topics` and `mirrormaker` out";
            wrong("create_topics", why);
        }
        if let Some(create) = self.create_topics.wanted() {
            if create.partitions < 1 {
                wrong("create_topics.partitions", "must be at least 1");
            }
            if create.replication.is_some_and(|replicas| replicas < 1) {
                wrong(
                    "create_topics.replication",
                    "must be at least 1, or be left out for the brokers' default",
                );
            }
        }
        if let InitialOffset::Timestamp(millis) = self.initial_offset
            && millis > now_ms
        {
            let why = "is in the future: no record is as late, so that reading would begin at the end; write `initial_offset: latest` for that";
            wrong("initial_offset", why);
        }
        if self.group_id.is_empty() {
            wrong("group_id", "must not be empty: Kafka keeps the offsets under this name");
        }
        if self.batch.max_records == 0 {
            wrong("batch.max_records", "must be at least 1");
        }
        for (key, size) in
            [("batch.max_bytes", self.batch.max_bytes), ("max_record_bytes", self.max_record_bytes)]
        {
            if size.get() == 0 || size > MAX_BATCH {
                wrong(key, &format!("must be more than 0 and at most {MAX_BATCH}"));
            }
        }
        if self.queue.max_bytes.get() == 0 {
            wrong("queue.max_bytes", "must be more than 0");
        }
        for (key, time) in
            [("commit_interval", self.commit_interval), ("metadata_refresh", self.metadata_refresh)]
        {
            if !(10..=3_600_000).contains(&time.as_millis()) {
                wrong(key, "must be from 10ms to 1h");
            }
        }
        problems.extend(self.security().problems());
        problems.extend(self.properties.problems(OWNED));
        problems
    }
}
