//! A real Apache Kafka broker.

use crate::server::{Announced, Server};
use anyhow::{Context, Result, bail};
use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{ClientConfig, FromClientConfig};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, FutureProducer, FutureRecord, Producer};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(20);

/// One record of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The offset in the partition.
    pub offset: i64,
    /// The record's time, Unix milliseconds.
    pub timestamp_ms: i64,
    /// The key's bytes.
    pub key: Option<Vec<u8>>,
    /// The value's bytes; `None` is a tombstone.
    pub value: Option<Vec<u8>>,
}

/// A second listener of a broker, with TLS and SASL PLAIN.
#[derive(Clone, Debug)]
pub struct Secure {
    /// `host:port`, for `bootstrap.servers`.
    pub bootstrap: String,
    /// The PEM file with the authority to trust.
    pub ca_file: String,
    /// The one user.
    pub username: String,
    /// The user's password.
    pub password: String,
}

/// A broker on a free port; topics are never created by themselves.
#[derive(Debug)]
pub struct Kafka {
    server: Mutex<Option<Server>>,
    bootstrap: String,
    port: u16,
    secure: Option<Secure>,
    /// Set when the data outlive a stop.
    folder: Option<tempfile::TempDir>,
}

impl Kafka {
    /// The broker that all tests of this binary share; the first call starts it (about 3 s).
    pub fn shared() -> Result<&'static Self> {
        static SHARED: OnceLock<Result<Kafka, String>> = OnceLock::new();
        SHARED
            .get_or_init(|| Self::launch(None, false).map_err(|error| format!("{error:#}")))
            .as_ref()
            .map_err(|error| anyhow::anyhow!("{error}"))
    }

    /// A broker of one's own, which can be stopped and started again with its data.
    pub fn start() -> Result<Self> {
        Self::launch(Some(tempfile::tempdir()?), false)
    }

    /// As [`Kafka::start`], with a second listener: see [`Kafka::secure`].
    pub fn start_secure() -> Result<Self> {
        Self::launch(Some(tempfile::tempdir()?), true)
    }

    fn launch(folder: Option<tempfile::TempDir>, secure: bool) -> Result<Self> {
        let (server, announced) = spawn(folder.as_ref().map(tempfile::TempDir::path), secure)?;
        let bootstrap = announced.text("bootstrap")?;
        let text = |name: &str| announced.text(name);
        let secure = if secure {
            let bootstrap = text("secure_bootstrap")?;
            let (username, password) = (text("username")?, text("password")?);
            Some(Secure { bootstrap, ca_file: text("ca_file")?, username, password })
        } else {
            None
        };
        let port = bootstrap.rsplit(':').next().and_then(|port| port.parse().ok()).context("no port")?;
        Ok(Self { server: Mutex::new(Some(server)), bootstrap, port, secure, folder })
    }

    /// Kills the broker, as a crash would. Clients are refused until [`Kafka::start_again`].
    pub fn stop(&self) -> Result<()> {
        if self.folder.is_none() {
            bail!("the shared broker serves other tests: use Kafka::start for one to stop");
        }
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner).take();
        server.map_or(Ok(()), |mut server| server.stop())
    }

    /// Sets a property of a stopped broker, for when it [starts again](Kafka::start_again).
    pub fn set_property(&self, name: &str, value: &str) -> Result<()> {
        let folder = self.folder.as_ref().context("the shared broker is not configured by one test")?;
        let file = folder.path().join("kafka").join("server.properties");
        let text = std::fs::read_to_string(&file)?;
        Ok(std::fs::write(&file, format!("{text}{name}={value}\n"))?)
    }

    /// Starts a stopped broker again, on the same port with the same data.
    pub fn start_again(&self) -> Result<()> {
        let folder = self.folder.as_ref().context("the shared broker cannot be stopped")?;
        let mut running = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        if running.is_none() {
            *running = Some(spawn(Some(folder.path()), self.secure.is_some())?.0);
        }
        Ok(())
    }

    /// `host:port`, for `bootstrap.servers`.
    #[must_use]
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// The listener with TLS and a login. The functions here go on with the plain one.
    ///
    /// # Errors
    /// The broker was not started with [`Kafka::start_secure`].
    pub fn secure(&self) -> Result<&Secure> {
        self.secure.as_ref().context("the broker has no secure listener: use Kafka::start_secure")
    }

    /// The broker's port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Creates a topic. `config` has topic settings, such as `("cleanup.policy", "compact")`. Records are
    /// kept for ever unless it says otherwise: those of the tests are as old as their times.
    pub async fn create_topic(&self, topic: &str, partitions: i32, config: &[(&str, &str)]) -> Result<()> {
        let mut config = config.to_vec();
        if !config.iter().any(|(name, _)| *name == "retention.ms") {
            config.push(("retention.ms", "-1"));
        }
        let wanted = NewTopic {
            name: topic,
            num_partitions: partitions,
            replication: TopicReplication::Fixed(1),
            config,
        };
        let made = self.admin()?.create_topics(&[wanted], &admin_options()).await?;
        for one in made {
            one.map_err(|(name, code)| anyhow::anyhow!("cannot create topic {name}: {code}"))?;
        }
        Ok(())
    }

    /// Grows a topic to `total` partitions.
    pub async fn grow_topic(&self, topic: &str, total: usize) -> Result<()> {
        let grown =
            self.admin()?.create_partitions(&[NewPartitions::new(topic, total)], &admin_options()).await?;
        for one in grown {
            one.map_err(|(name, code)| anyhow::anyhow!("cannot grow topic {name}: {code}"))?;
        }
        Ok(())
    }

    /// Deletes a topic.
    pub async fn delete_topic(&self, topic: &str) -> Result<()> {
        for one in self.admin()?.delete_topics(&[topic], &admin_options()).await? {
            one.map_err(|(name, code)| anyhow::anyhow!("cannot delete topic {name}: {code}"))?;
        }
        Ok(())
    }

    /// Nobody may read this topic from now on, nor commit offsets of it. The broker needs an authorizer that
    /// allows everything else.
    pub fn deny_read(&self, topic: &str) -> Result<()> {
        // A topic with any rule is open to nobody else.
        self.acl(&["--add", "--allow-principal", "User:*", "--operation", "All", "--topic", topic])?;
        self.acl(&["--add", "--deny-principal", "User:*", "--operation", "Read", "--topic", topic])
    }

    /// Takes back [`Kafka::deny_read`].
    pub fn allow_read(&self, topic: &str) -> Result<()> {
        self.acl(&[
            "--remove",
            "--force",
            "--deny-principal",
            "User:*",
            "--operation",
            "Read",
            "--topic",
            topic,
        ])
    }

    fn acl(&self, arguments: &[&str]) -> Result<()> {
        let done = std::process::Command::new("java")
            .args(["-XX:TieredStopAtLevel=1", "-cp", &format!("{}/*", libraries()?.display())])
            .args(["org.apache.kafka.tools.AclCommand", "--bootstrap-server", &self.bootstrap])
            .args(arguments)
            .output()?;
        if !done.status.success() {
            bail!(
                "{arguments:?}: {}{}",
                String::from_utf8_lossy(&done.stdout),
                String::from_utf8_lossy(&done.stderr)
            );
        }
        Ok(())
    }

    /// Deletes a topic and creates it again, with this many empty partitions.
    pub async fn create_again(&self, topic: &str, partitions: i32) -> Result<()> {
        self.delete_topic(topic).await?;
        crate::wait_until("the topic to be created again", TIMEOUT, async || {
            Ok(self.create_topic(topic, partitions, &[]).await.ok())
        })
        .await
    }

    /// Deletes the records of a partition before an offset, as retention does.
    pub async fn delete_records(&self, topic: &str, partition: i32, before: i64) -> Result<()> {
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition, Offset::Offset(before))?;
        let done = self.admin()?.delete_records(&list, &admin_options()).await?;
        for one in done.elements() {
            one.error()?;
        }
        Ok(())
    }

    /// Writes records to a partition in one transaction, which is committed or aborted.
    pub fn produce_transaction(&self, records: &[Record], commit: bool) -> Result<()> {
        let mut config = self.client();
        config.set("transactional.id", crate::unique("transaction"));
        let producer: BaseProducer = config.create()?;
        producer.init_transactions(TIMEOUT)?;
        producer.begin_transaction()?;
        for record in records {
            let mut one = BaseRecord::<[u8], [u8]>::to(&record.topic).partition(record.partition);
            (one.key, one.payload) = (record.key.as_deref(), record.value.as_deref());
            producer.send(one).map_err(|(error, _)| error)?;
        }
        producer.flush(TIMEOUT)?;
        if commit {
            producer.commit_transaction(TIMEOUT)?;
        } else {
            producer.abort_transaction(TIMEOUT)?;
        }
        Ok(())
    }

    /// The file with the records of a partition, when the broker is [one's own](Kafka::start).
    ///
    /// # Errors
    /// There is not exactly one.
    pub fn log_file(&self, topic: &str, partition: i32) -> Result<PathBuf> {
        let folder = self.folder.as_ref().context("the shared broker's data are its own")?.path();
        let name = format!("{topic}-{partition}");
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder)?.collect::<std::io::Result<Vec<_>>>()? {
                if entry.file_name() == name.as_str() {
                    return Ok(entry.path().join("00000000000000000000.log"));
                }
                if entry.file_type()?.is_dir() {
                    folders.push(entry.path());
                }
            }
        }
        bail!("no folder {name}")
    }

    /// Writes one record and waits until the broker has it; returns its offset. Without a partition the key
    /// chooses one. A `None` value is a tombstone.
    pub async fn produce(
        &self,
        topic: &str,
        partition: Option<i32>,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Result<i64> {
        let record = to_produce(topic, partition, key, value);
        let sent = self.producer()?.send(record, TIMEOUT).await;
        let delivery =
            sent.map_err(|(error, _)| error).with_context(|| format!("cannot write to {topic}"))?;
        Ok(delivery.offset)
    }

    /// Writes records as they are (topic, partition, time, key, value), in order within each partition, and
    /// waits until the broker has them all. Their offsets are not kept.
    pub async fn produce_all(&self, records: &[Record]) -> Result<()> {
        let producer = self.producer()?;
        let mut waiting = Vec::with_capacity(records.len());
        for record in records {
            let one = to_produce(
                &record.topic,
                Some(record.partition),
                record.key.as_deref(),
                record.value.as_deref(),
            )
            .timestamp(record.timestamp_ms);
            let queued = producer.send_result(one).map_err(|(error, _)| error);
            waiting.push(queued.with_context(|| format!("cannot queue a record for {}", record.topic))?);
        }
        for delivery in waiting {
            delivery.await?.map_err(|(error, _)| error).context("cannot write a record")?;
        }
        Ok(())
    }

    /// The group's committed offset for each partition of a topic; `None` where it has committed nothing.
    pub fn committed(&self, group: &str, topic: &str) -> Result<Vec<Option<i64>>> {
        let consumer = self.consumer(group)?;
        let mut asked = TopicPartitionList::new();
        for partition in partitions(&consumer, topic)? {
            asked.add_partition(topic, partition);
        }
        let found = consumer.committed_offsets(asked, TIMEOUT)?;
        let offset = |offset: Offset| if let Offset::Offset(at) = offset { Some(at) } else { None };
        Ok(found.elements().iter().map(|element| offset(element.offset())).collect())
    }

    /// The text beside the group's committed offset for each partition of a topic; empty where there is none.
    pub fn committed_texts(&self, group: &str, topic: &str) -> Result<Vec<String>> {
        let consumer = self.consumer(group)?;
        let mut asked = TopicPartitionList::new();
        for partition in partitions(&consumer, topic)? {
            asked.add_partition(topic, partition);
        }
        let found = consumer.committed_offsets(asked, TIMEOUT)?;
        Ok(found.elements().iter().map(|element| element.metadata().to_owned()).collect())
    }

    /// Commits offsets and texts for a group, one for each partition from 0 on, as another program would.
    pub fn commit(&self, group: &str, topic: &str, positions: &[(i64, &str)]) -> Result<()> {
        let mut list = TopicPartitionList::new();
        for (partition, (offset, text)) in (0..).zip(positions) {
            let mut element = list.add_partition(topic, partition);
            element.set_offset(Offset::Offset(*offset))?;
            element.set_metadata(text);
        }
        Ok(self.consumer(group)?.commit(&list, CommitMode::Sync)?)
    }

    /// The next offset of each partition of a topic.
    pub fn end_offsets(&self, topic: &str) -> Result<Vec<i64>> {
        let consumer = self.consumer("weir-tests")?;
        let end = |partition| Ok(consumer.fetch_watermarks(topic, partition, TIMEOUT)?.1);
        partitions(&consumer, topic)?.into_iter().map(end).collect()
    }

    /// Every record that the topic holds now, by partition and offset. Nothing is committed.
    pub fn read_all(&self, topic: &str) -> Result<Vec<Record>> {
        let consumer = self.consumer("weir-tests")?;
        let mut open = TopicPartitionList::new();
        for partition in partitions(&consumer, topic)? {
            let (first, end) = consumer.fetch_watermarks(topic, partition, TIMEOUT)?;
            if first < end {
                open.add_partition_offset(topic, partition, Offset::Offset(first))?;
            }
        }
        let mut left = open.count();
        consumer.assign(&open)?;
        let mut records = Vec::new();
        let deadline = Instant::now() + TIMEOUT;
        while left > 0 {
            if Instant::now() >= deadline {
                bail!("{topic} was not read to its end within {TIMEOUT:?}");
            }
            match consumer.poll(Duration::from_millis(100)) {
                None => {}
                // With `enable.partition.eof` each partition's end is told once, compacted gaps included.
                Some(Err(rdkafka::error::KafkaError::PartitionEOF(_))) => left -= 1,
                Some(message) => {
                    let message = message?;
                    records.push(Record {
                        topic: topic.to_owned(),
                        partition: message.partition(),
                        offset: message.offset(),
                        timestamp_ms: message.timestamp().to_millis().unwrap_or_default(),
                        key: message.key().map(<[u8]>::to_vec),
                        value: message.payload().map(<[u8]>::to_vec),
                    });
                }
            }
        }
        records.sort_by_key(|record| (record.partition, record.offset));
        Ok(records)
    }

    fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap).set("log_level", "2");
        config
    }

    fn admin(&self) -> Result<AdminClient<DefaultClientContext>> {
        Ok(AdminClient::from_config(&self.client())?)
    }

    fn producer(&self) -> Result<FutureProducer> {
        let mut config = self.client();
        config.set("linger.ms", "0").set("message.max.bytes", "67108864").set("enable.idempotence", "true");
        Ok(config.create()?)
    }

    fn consumer(&self, group: &str) -> Result<BaseConsumer> {
        let mut config = self.client();
        config.set("group.id", group).set("enable.auto.commit", "false").set("enable.partition.eof", "true");
        Ok(config.create()?)
    }
}

fn spawn(folder: Option<&Path>, secure: bool) -> Result<(Server, Announced)> {
    let folder: Option<PathBuf> = folder.map(|folder| folder.join("kafka"));
    let mut arguments: Vec<&str> = match &folder {
        Some(folder) => vec!["--dir", folder.to_str().context("the temporary folder's name is not UTF-8")?],
        None => vec![],
    };
    if secure {
        arguments.push("--secure");
    }
    Server::start("kafka_broker.py", &arguments)
}

/// The folder with Kafka's jars.
fn libraries() -> Result<PathBuf> {
    let cache = std::env::var_os("WEIR_CACHE").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/weir")));
    let cache = cache.context("neither WEIR_CACHE nor HOME is set")?;
    let of_kafka = |path: &PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        name.starts_with("kafka-") && path.join("lib").is_dir()
    };
    let found = std::fs::read_dir(cache)?.filter_map(|entry| Some(entry.ok()?.path())).find(of_kafka);
    Ok(found.context("no Kafka: run scripts/setup test")?.join("lib"))
}

fn admin_options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(TIMEOUT)).request_timeout(Some(TIMEOUT))
}

fn to_produce<'a>(
    topic: &'a str,
    partition: Option<i32>,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
) -> FutureRecord<'a, [u8], [u8]> {
    let mut record = FutureRecord::to(topic);
    record.partition = partition;
    record.key = key;
    record.payload = value;
    record
}

fn partitions(consumer: &BaseConsumer, topic: &str) -> Result<Vec<i32>> {
    let metadata = consumer.fetch_metadata(Some(topic), TIMEOUT)?;
    let found = metadata.topics().first().context("the broker did not describe the topic")?;
    if let Some(error) = found.error() {
        bail!("topic {topic}: {error:?}");
    }
    let mut ids: Vec<i32> = found.partitions().iter().map(rdkafka::metadata::MetadataPartition::id).collect();
    ids.sort_unstable();
    Ok(ids)
}
