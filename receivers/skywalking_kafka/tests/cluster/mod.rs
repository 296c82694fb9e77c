//! A mock cluster, and a receiver that runs against it.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::mocking::{MockCluster, MockCoordinator};
use rdkafka::producer::{DefaultProducerContext, FutureProducer, FutureRecord, Producer};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use weir_component::testkit;
use weir_component::{Context, Health, Lanes, Receiver, ReceiverError, ReceiverHost, Settings, Telemetry};
use weir_config::{Diagnostics, Document, SourceText, Topology};
use weir_pdata::SharedProjection;
use weir_receiver_skywalking_kafka::FACTORY;

/// How long anything may take. The mock group coordinator waits 3 s before it assigns.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A mock cluster with one topic.
pub struct Cluster {
    mock: MockCluster<'static, DefaultProducerContext>,
    topic: String,
    producer: FutureProducer,
}

impl Cluster {
    /// One broker.
    pub fn new(topic: &str, partitions: i32) -> Cluster {
        Cluster::with_brokers(topic, partitions, 1)
    }

    /// Brokers 1 and up. The group is with the first.
    pub fn with_brokers(topic: &str, partitions: i32, brokers: i32) -> Cluster {
        let mock = MockCluster::new(brokers).unwrap();
        mock.coordinator(MockCoordinator::Group("weir".to_owned()), 1).unwrap();
        mock.create_topic(topic, partitions, 1).unwrap();
        let producer = ClientConfig::new()
            .set("bootstrap.servers", mock.bootstrap_servers())
            .set("message.max.bytes", "100000000")
            .create()
            .unwrap();
        Cluster { mock, topic: topic.to_owned(), producer }
    }

    pub fn create(&self, topic: &str, partitions: i32) {
        self.mock.create_topic(topic, partitions, 1).unwrap();
    }

    /// The broker that leads a partition, if any.
    pub fn leader(&self, partition: i32, broker: Option<i32>) {
        self.mock.partition_leader(&self.topic, partition, broker).unwrap();
    }

    pub fn broker_down(&self, broker: i32) {
        self.mock.broker_down(broker).unwrap();
    }

    pub fn broker_up(&self, broker: i32) {
        self.mock.broker_up(broker).unwrap();
    }

    pub fn down(&self) {
        self.mock.broker_down(-1).unwrap();
    }

    pub fn up(&self) {
        self.mock.broker_up(-1).unwrap();
    }

    /// Refuses the next commits.
    pub fn refuse_commits(&self, count: usize) {
        let errors = vec![RDKafkaRespErr::RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS; count];
        self.mock.request_errors(RDKafkaApiKey::OffsetCommit, &errors);
    }

    pub async fn produce(&self, partition: i32, records: &[Vec<u8>]) {
        self.produce_to(&self.topic, partition, records).await;
    }

    pub async fn produce_to(&self, topic: &str, partition: i32, records: &[Vec<u8>]) {
        let mut sent = Vec::new();
        for record in records {
            let record = FutureRecord::<(), _>::to(topic).partition(partition).payload(record);
            sent.push(self.producer.send_result(record).map_err(|(error, _)| error).unwrap());
        }
        self.producer.flush(PATIENCE).unwrap();
        for sent in sent {
            sent.await.unwrap().map_err(|(error, _)| error).unwrap();
        }
    }

    /// Produces a record under a key, with a time.
    pub async fn produce_under(&self, topic: &str, key: &str, time: i64, record: &[u8]) {
        let record = FutureRecord::to(topic).partition(0).key(key).timestamp(time).payload(record);
        self.producer.send(record, PATIENCE).await.map_err(|(error, _)| error).unwrap();
    }

    /// The offset that the group `weir` has committed.
    pub fn committed(&self, partition: i32) -> Option<i64> {
        self.committed_of(&self.topic, partition)
    }

    /// As [`committed`](Self::committed), of another topic.
    pub fn committed_of(&self, topic: &str, partition: i32) -> Option<i64> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.mock.bootstrap_servers())
            .set("group.id", "weir")
            .create()
            .unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition(topic, partition);
        match consumer.committed_offsets(list, PATIENCE).unwrap().elements()[0].offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }
    }

    /// Commits for the group `weir`, as another program would.
    pub fn commit(&self, partition: i32, offset: i64, text: &str) {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", self.mock.bootstrap_servers())
            .set("group.id", "weir")
            .create()
            .unwrap();
        let mut list = TopicPartitionList::new();
        let mut element = list.add_partition(&self.topic, partition);
        element.set_offset(Offset::Offset(offset)).unwrap();
        element.set_metadata(text);
        consumer.commit(&list, CommitMode::Sync).unwrap();
    }

    /// Waits for a condition that nothing announces.
    pub async fn until(&self, condition: impl Fn() -> bool) {
        until(condition).await;
    }
}

async fn until(condition: impl Fn() -> bool) {
    let holds = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, holds).await.expect("the condition never held");
}

/// The receiver that these settings make.
pub fn settings(brokers: &str, yaml: &str) -> Result<(Box<dyn Receiver>, Context, TempDir), Diagnostics> {
    let directory = tempfile::tempdir().unwrap();
    let context = testkit::context("skywalking_kafka", directory.path());
    let mut yaml = yaml.to_owned();
    if !yaml.contains("properties:") {
        // The mock coordinator waits almost a session timeout for members that could rejoin.
        yaml.push_str("\nproperties: {session.timeout.ms: 4000, heartbeat.interval.ms: 200}");
    }
    let brokers = brokers.split(',').map(|broker| format!("{broker:?}")).collect::<Vec<_>>().join(", ");
    let indented: String = yaml.lines().map(|line| format!("    {line}\n")).collect();
    let text = format!(
        "receivers:\n  skywalking_kafka:\n    brokers: [{brokers}]\n{indented}\
         exporters: {{nop: {{}}}}\nservice: {{pipelines: {{main: {{receivers: [skywalking_kafka], exporters: [nop]}}}}}}\n"
    );
    Ok((create(&text, context.clone())?, context, directory))
}

/// The receiver of a whole configuration.
fn create(text: &str, context: Context) -> Result<Box<dyn Receiver>, Diagnostics> {
    let document = Document::load(vec![SourceText::new("weir.yaml", text)], &[], &|_| None)?;
    let topology = Topology::read(&document)?;
    (FACTORY.create)(Settings::new(&document, &topology.receivers[0]), context)
}

/// A receiver that runs.
pub struct RunningReceiver {
    task: JoinHandle<Result<(), ReceiverError>>,
    stop: CancellationToken,
    telemetry: Telemetry,
    health: Health,
    directory: TempDir,
}

impl RunningReceiver {
    pub fn start(cluster: &Cluster, yaml: &str, lanes: impl Lanes + 'static) -> RunningReceiver {
        let (receiver, context, directory) = settings(&cluster.mock.bootstrap_servers(), yaml).unwrap();
        let (telemetry, health) = (context.telemetry.clone(), context.health.clone());
        let host = ReceiverHost {
            context,
            projection: SharedProjection::default(),
            lanes: std::sync::Arc::new(lanes),
        };
        let stop = CancellationToken::new();
        let task = tokio::spawn(receiver.run(host, stop.clone()));
        RunningReceiver { task, stop, telemetry, health, directory }
    }

    /// Stops it and waits until it has stopped.
    pub async fn stop(self) -> Result<(), ReceiverError> {
        self.stop.cancel();
        self.ended().await
    }

    /// Waits until it ends.
    pub async fn ended(self) -> Result<(), ReceiverError> {
        tokio::time::timeout(PATIENCE, self.task).await.expect("the receiver never ended").unwrap()
    }

    pub fn metric(&self, line: &str) -> bool {
        self.telemetry.encode().lines().any(|found| found == line)
    }

    pub async fn until_metric(&self, line: &str) {
        until(|| self.metric(line)).await;
    }

    pub async fn until(&self, condition: impl Fn(&str) -> bool) {
        until(|| condition(&self.telemetry.encode())).await;
    }

    /// Waits for a status: its name, and a part of its error.
    pub async fn until_status(&self, name: &str, error: &str) {
        until(|| {
            let status = self.health.read().status;
            status.name() == name && status.error().unwrap_or_default().contains(error)
        })
        .await;
    }

    pub fn dead_letters(&self) -> Vec<serde_json::Value> {
        let text = std::fs::read_to_string(self.directory.path().join("skywalking_kafka.jsonl")).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}
