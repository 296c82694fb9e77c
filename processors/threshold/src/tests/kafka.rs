use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::mocking::MockCluster;
use rdkafka::producer::DefaultProducerContext;
use rdkafka::producer::{BaseRecord, Producer, ThreadedProducer};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use weir_component::{Context, Processor};

use super::{Trunk, test_context, window, with_context};

const LIMIT: Duration = Duration::from_secs(60);

struct Kafka {
    cluster: MockCluster<'static, DefaultProducerContext>,
    producer: ThreadedProducer<rdkafka::producer::DefaultProducerContext>,
}

impl Kafka {
    fn new(partitions: i32) -> Kafka {
        let cluster = MockCluster::new(1).unwrap();
        cluster.create_topic("rules", partitions, 1).unwrap();
        let servers = cluster.bootstrap_servers();
        let producer = ClientConfig::new().set("bootstrap.servers", servers).create().unwrap();
        Kafka { cluster, producer }
    }

    fn write(&self, partition: i32, key: &str, value: Option<&str>) {
        let mut record = BaseRecord::to("rules").partition(partition).key(key);
        record.payload = value;
        self.producer.send(record).map_err(|(error, _)| error).unwrap();
        self.producer.flush(LIMIT).unwrap();
    }

    fn write_without_key(&self, partition: i32, value: &str) {
        let record = BaseRecord::<str, str>::to("rules").partition(partition).payload(value);
        self.producer.send(record).map_err(|(error, _)| error).unwrap();
        self.producer.flush(LIMIT).unwrap();
    }

    fn settings(&self) -> String {
        format!("rules: {{kafka: {{brokers: ['{}'], topic: rules}}}}", self.cluster.bootstrap_servers())
    }
}

fn rule(service: &str, high_ms: i64) -> String {
    json!({"service": service, "operatorName": "/pay", "maxThresholdHigh": high_ms.to_string(),
           "alarmTemplate": "${service} ${operatorName}: ${value} ms over ${threshold} ms (${level})"})
    .to_string()
}

async fn started(processor: &dyn Processor) -> CancellationToken {
    let stop = CancellationToken::new();
    tokio::time::timeout(LIMIT, processor.start("main", stop.clone())).await.expect("it starts").unwrap();
    stop
}

/// Waits until a metric has this value: the reader shows the rules when it has published them.
async fn until(context: &Context, line: &str) {
    let reached = async {
        while !context.telemetry.encode().contains(line) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let reached = tokio::time::timeout(LIMIT, reached).await;
    assert!(reached.is_ok(), "{line} was not reached:\n{}", context.telemetry.encode());
}

fn epoch(epoch: i64) -> String {
    format!("weir_threshold_rule_epoch{{processor=\"threshold\"}} {epoch}\n")
}

#[tokio::test]
async fn the_topic_is_read_to_its_end_before_the_first_evaluation() {
    let kafka = Kafka::new(3);
    for n in 0..30 {
        kafka.write(n % 3, &format!("r{n}"), Some(&rule(&format!("s{n}"), 1000)));
    }
    kafka.write(0, "r0", None);
    kafka.write(1, "r1", Some("not a rule"));
    let context = test_context();
    let processor = with_context(&kafka.settings(), context.clone());
    let stop = started(&*processor).await;
    let mut trunk = Trunk::of(&*processor);
    let fired =
        trunk.evaluate(&[window("s0", 7, 2500, 1), window("s1", 7, 2500, 1), window("s29", 7, 2500, 1)]);
    let services: Vec<_> = fired.iter().map(|alarm| alarm["service"].as_str().unwrap()).collect();
    assert_eq!(services, ["s1", "s29"], "r0 was removed; the last good version of r1 stays");
    assert_eq!(fired[0]["message"], "s1 /pay: 2500 ms over 1000 ms (high)");
    assert_eq!(fired[0]["rule"], "r1");
    assert_eq!(fired[0]["rule_epoch"], 1);
    let metrics = context.telemetry.encode();
    assert!(
        metrics.contains("weir_threshold_rules{processor=\"threshold\",source=\"kafka\"} 29"),
        "{metrics}"
    );
    assert!(metrics.contains("weir_threshold_rules_rejected_total{processor=\"threshold\"} 1"), "{metrics}");
    stop.cancel();
}

#[tokio::test]
async fn a_live_change_takes_effect_at_the_next_window_and_other_rules_keep_their_state() {
    let kafka = Kafka::new(1);
    kafka.write(0, "a", Some(&rule("a", 1000)));
    kafka.write(0, "b", Some(&rule("b", 1000)));
    let context = test_context();
    let processor = with_context(&kafka.settings(), context.clone());
    let stop = started(&*processor).await;
    let mut trunk = Trunk::of(&*processor);
    assert_eq!(trunk.short(&[window("a", 7, 2500, 1), window("b", 7, 2500, 1)]).len(), 2);

    kafka.write(0, "c", Some(&rule("c", 1000)));
    kafka.write(0, "b", None);
    until(&context, &epoch(3)).await;
    assert!(
        trunk.short(&[window("c", 7, 2500, 1)]).is_empty(),
        "the window that ends at 7 belongs to epoch 1"
    );
    let next = trunk.evaluate(&[window("a", 14, 2500, 1), window("c", 14, 2500, 1)]);
    assert_eq!(next.iter().map(super::brief).collect::<Vec<_>>(), ["resolved high b 7", "firing high c 14"]);
    assert_eq!(next[0]["message"], "resolved: b: the rule was removed");
    assert_eq!((&next[0]["rule_epoch"], &next[1]["rule_epoch"]), (&json!(3), &json!(3)));

    kafka.write(0, "a", Some(&rule("elsewhere", 1000)));
    until(&context, &epoch(4)).await;
    let moved = weir_component::Watermark(14_000);
    let moved =
        trunk.send(weir_component::TrunkMessage::Derived(weir_component::LaneMessage::Watermark(moved)));
    let moved = super::rows(&moved);
    assert_eq!(moved.iter().map(super::brief).collect::<Vec<_>>(), ["resolved high a 14"]);
    assert_eq!(moved[0]["message"], "resolved: a: the rule does not cover this any more");

    kafka.write(0, "c", Some(&rule("c", 9000)));
    until(&context, &epoch(5)).await;
    assert_eq!(
        trunk.short(&[window("c", 21, 2500, 1)]),
        ["resolved high c 21"],
        "evaluated by the new threshold"
    );
    stop.cancel();
}

#[tokio::test]
async fn records_of_the_site_are_rules_and_those_that_would_hurt_are_not() {
    let kafka = Kafka::new(1);
    let site = |operation: &str, template: &str| {
        json!({"service": "pay", "operator_name": operation, "maxThresholdHigh": 1000, "alarmTemplate": template,
               "maxThresholdHihg": 1}).to_string()
    };
    kafka.write(0, "pay|/pay", Some(&site("/pay", "${operator_name} ${operatorName}")));
    // Each of these would have been a rule for every operation of the service, or the end of the program.
    kafka.write(0, "pay|/pay", Some(&site("/pay", "{{ service | indent(9000000000) }}")));
    kafka.write(0, "pay|/pay", Some(&site("/pay", "{{ 'x' * 9000000000 }}")));
    kafka.write(0, "a", Some(r#"{"service": "pay", "operationName": "/other", "maxThresholdHigh": 1}"#));
    kafka.write(
        0,
        "b",
        Some(r#"{"service": "pay", "operator_name": "/a", "operatorName": "/b", "maxThresholdHigh": 1}"#),
    );
    kafka.write(0, "pay|/else", Some(&site("/else", "")));
    let context = test_context();
    let processor = with_context(&kafka.settings(), context.clone());
    let stop = started(&*processor).await;
    let mut trunk = Trunk::of(&*processor);
    let fired = trunk.evaluate(&[window("pay", 7, 1001, 1)]);
    assert_eq!(fired.len(), 1);
    assert_eq!((&fired[0]["rule"], &fired[0]["message"]), (&json!("pay|/pay"), &json!("/pay /pay")));
    let metrics = context.telemetry.encode();
    for line in [
        "weir_threshold_rules{processor=\"threshold\",source=\"kafka\"} 2",
        "weir_threshold_rules_rejected_total{processor=\"threshold\"} 4",
        "weir_threshold_rules_unknown_keys{processor=\"threshold\"} 1",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
    stop.cancel();
}

#[tokio::test]
async fn a_record_without_a_key_is_the_rule_of_its_endpoint() {
    let kafka = Kafka::new(1);
    let rule =
        |ms: i64| json!({"service": "pay", "operator_name": "/pay", "maxThresholdHigh": ms}).to_string();
    kafka.write(0, "pay|/pay", Some(&rule(9000)));
    kafka.write_without_key(0, &rule(1000));
    let context = test_context();
    let processor = with_context(&kafka.settings(), context.clone());
    let stop = started(&*processor).await;
    let mut trunk = Trunk::of(&*processor);
    let fired = trunk.evaluate(&[window("pay", 7, 1001, 1)]);
    assert_eq!((fired.len(), &fired[0]["rule"]), (1, &json!("pay|/pay")));
    kafka.write(0, "pay|/pay", None);
    until(&context, "weir_threshold_rules{processor=\"threshold\",source=\"kafka\"} 0\n").await;
    assert_eq!(trunk.short(&[window("pay", 14, 1001, 1)]), ["resolved high pay 7"]);
    stop.cancel();
}

#[tokio::test]
async fn an_empty_topic_is_read_to_its_end() {
    let kafka = Kafka::new(2);
    let processor = with_context(&kafka.settings(), test_context());
    started(&*processor).await.cancel();
}

#[tokio::test]
async fn without_kafka_the_start_waits_and_a_stop_ends_it() {
    let processor = with_context("rules: {kafka: {brokers: ['127.0.0.1:1']}}", test_context());
    let stop = CancellationToken::new();
    let start = processor.start("main", stop.clone());
    tokio::pin!(start);
    let early = tokio::time::timeout(Duration::from_millis(300), &mut start).await;
    assert!(early.is_err(), "it must not start without its rules: {early:?}");
    stop.cancel();
    tokio::time::timeout(LIMIT, start).await.expect("it ends").unwrap();
}

#[tokio::test]
async fn kafka_that_comes_back_is_read() {
    let kafka = Kafka::new(1);
    kafka.write(0, "a", Some(&rule("a", 1000)));
    kafka.cluster.broker_down(1).unwrap();
    let processor = with_context(&kafka.settings(), test_context());
    let stop = CancellationToken::new();
    let start = processor.start("main", stop.clone());
    tokio::pin!(start);
    let early = tokio::time::timeout(Duration::from_millis(300), &mut start).await;
    assert!(early.is_err(), "{early:?}");
    kafka.cluster.broker_up(1).unwrap();
    tokio::time::timeout(LIMIT, start).await.expect("it starts").unwrap();
    assert_eq!(Trunk::of(&*processor).short(&[window("a", 7, 2500, 1)]), ["firing high a 7"]);
    stop.cancel();
}
