//! The receiver against librdkafka's mock cluster: real protocol, no broker.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs, reason = "tests")]

mod cluster;
mod pipelines;

use std::time::Duration;

use cluster::{Cluster, PATIENCE, RunningReceiver, settings};
use pipelines::GatedLanes;
use weir_component::LaneMessage;
use weir_component::testkit::{RecordedLane, RecordingLanes};
use weir_pdata::{EventBatch, Format, Payload, Signal};

const TOPIC: &str = "skywalking-segments";

/// The records of a batch.
fn records(batch: &EventBatch) -> Vec<Vec<u8>> {
    let Payload::Encoded(encoded) = &batch.payload else { panic!("wire bytes") };
    let range = |range: &std::ops::Range<u32>| range.start as usize..range.end as usize;
    encoded.records.iter().map(|record| encoded.arena[range(record)].to_vec()).collect()
}

/// The records of a lane, in order.
fn all(lane: &RecordedLane) -> Vec<Vec<u8>> {
    lane.batches().flat_map(records).collect()
}

fn numbered(range: std::ops::Range<usize>) -> Vec<Vec<u8>> {
    range.map(|number| format!("record {number}").into_bytes()).collect()
}

fn count(lanes: &[RecordedLane]) -> usize {
    lanes.iter().map(|lane| all(lane).len()).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_partition_is_a_lane_and_comes_in_order() {
    let cluster = Cluster::new(TOPIC, 2);
    cluster.produce(0, &numbered(0..700)).await;
    cluster.produce(1, &numbered(1000..1003)).await;
    let lanes = RecordingLanes::default();
    let receiver = RunningReceiver::start(&cluster, "initial_offset: earliest", lanes.clone());
    lanes.wait_until(PATIENCE, |lanes| count(lanes) == 703).await;
    let seen = lanes.lanes();
    assert_eq!(seen.len(), 2);
    for lane in &seen {
        let expected = match &*lane.name {
            "skywalking-segments/0" => numbered(0..700),
            "skywalking-segments/1" => numbered(1000..1003),
            other => panic!("{other}"),
        };
        assert_eq!(all(lane), expected);
        let mut next = 0;
        for batch in lane.batches() {
            assert_eq!(batch.origin.positions.start, next, "no offset is left out");
            assert_eq!(*batch.origin.lane, *format!("skywalking_kafka/{}", lane.name));
            assert!(batch.len() <= 512);
            next = batch.origin.positions.end;
        }
    }
    drop((seen, lanes.take_batches()));
    receiver.stop().await.unwrap();
    assert_eq!(cluster.committed(0), Some(700));
    assert_eq!(cluster.committed(1), Some(3));
    for lane in lanes.lanes() {
        assert!(lane.closed);
        assert!(matches!(lane.messages.last(), Some(LaneMessage::Drain)), "a lane ends with Drain");
    }
    lanes.check_contract();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_acknowledged_records_are_committed_and_a_restart_goes_on_there() {
    let cluster = Cluster::new(TOPIC, 1);
    cluster.produce(0, &numbered(0..10)).await;
    let yaml = "initial_offset: earliest\nbatch: {max_records: 1}\ndrain_timeout: 100ms";
    let lanes = RecordingLanes::default();
    let receiver = RunningReceiver::start(&cluster, yaml, lanes.clone());
    lanes.wait_until(PATIENCE, |lanes| count(lanes) == 10).await;
    let mut batches = lanes.take_batches();
    let open = batches.split_off(4);
    drop(batches);
    receiver.stop().await.unwrap();
    assert_eq!(cluster.committed(0), Some(4));
    drop(open);

    let lanes = RecordingLanes::default();
    let receiver = RunningReceiver::start(&cluster, yaml, lanes.clone());
    lanes.wait_until(PATIENCE, |lanes| count(lanes) == 6).await;
    assert_eq!(all(&lanes.lanes()[0]), numbered(4..10));
    drop(lanes.take_batches());
    receiver.stop().await.unwrap();
    assert_eq!(cluster.committed(0), Some(10));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_batch_is_never_passed() {
    let cluster = Cluster::new(TOPIC, 1);
    cluster.produce(0, &numbered(0..5)).await;
    let lanes = RecordingLanes::default();
    let yaml = "initial_offset: earliest\nbatch: {max_records: 1}";
    let receiver = RunningReceiver::start(&cluster, yaml, lanes.clone());
    lanes.wait_until(PATIENCE, |lanes| count(lanes) == 5).await;
    let batches = lanes.take_batches();
    batches[2].ack.fail();
    drop(batches);
    cluster.until(|| cluster.committed(0) == Some(2)).await;
    receiver.stop().await.unwrap();
    assert_eq!(cluster.committed(0), Some(2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_commit_is_counted_and_tried_again() {
    let cluster = Cluster::new(TOPIC, 1);
    cluster.produce(0, &numbered(0..5)).await;
    let lanes = RecordingLanes::default();
    let yaml = "initial_offset: earliest\ncommit_interval: 50ms";
    let receiver = RunningReceiver::start(&cluster, yaml, lanes.clone());
    lanes.wait_until(PATIENCE, |lanes| count(lanes) == 5).await;
    cluster.refuse_commits(2);
    drop(lanes.take_batches());
    receiver.until_metric("weir_kafka_commit_failures_total{receiver=\"skywalking_kafka\"} 2").await;
    cluster.until(|| cluster.committed(0) == Some(5)).await;
    receiver.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn latest_begins_at_the_end_and_keeps_that_place() {
    let cluster = Cluster::new(TOPIC, 1);
    cluster.produce(0, &numbered(0..5)).await;
    let lanes = RecordingLanes::default();
    let receiver = RunningReceiver::start(&cluster, "", lanes.clone());
    cluster.until(|| cluster.committed(0) == Some(5)).await;
    receiver.stop().await.unwrap();
    assert_eq!(count(&lanes.lanes()), 0);

    cluster.produce(0, &numbered(5..8)).await;
    let receiver = RunningReceiver::start(&cluster, "", lanes.clone());
    lanes.wait_until(PATIENCE, |lanes| count(lanes) == 3).await;
    assert_eq!(
        all(lanes.lanes().last().unwrap()),
        numbered(5..8),
        "nothing is missed while the receiver is away"
    );
    receiver.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_was_added_while_nobody_read_is_read_from_its_beginning_with_latest_too() {
    let cluster = Cluster::new(TOPIC, 3);
    for partition in 0..3 {
        cluster.produce(partition, &numbered(0..2)).await;
    }
    // The topic had two partitions when the group began, and one of them has never been read.
    cluster.commit(0, 0, r#"{"v":1,"g":1,"i":0,"x":{},"p":{},"w":{},"n":2}"#);
    let lanes = RecordingLanes::default();
    let receiver = RunningReceiver::start(&cluster, "initial_offset: latest", lanes.clone());
    lanes.wait_until(PATIENCE, |lanes| count(lanes) == 4).await;
    let read: std::collections::BTreeMap<_, _> =
        lanes.lanes().iter().map(|lane| (lane.name.to_string(), all(lane).len())).collect();
    assert_eq!(read.into_values().collect::<Vec<_>>(), [2, 0, 2]);
    drop(lanes.take_batches());
    receiver.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_cannot_be_used_are_counted_kept_and_passed() {
    let cluster = Cluster::new(TOPIC, 1);
    let large = vec![b'x'; 2000];
    cluster.produce(0, &[b"good".to_vec(), Vec::new(), large.clone(), b"bad".to_vec(), Vec::new()]).await;
    let lanes = RecordingLanes::default();
    let yaml = "initial_offset: earliest\nmax_record_bytes: 1000";
    let receiver = RunningReceiver::start(&cluster, yaml, lanes.clone());
    lanes.wait_until(PATIENCE, |lanes| count(lanes) == 2).await;
    receiver.until_metric("weir_receiver_empty_records_total{receiver=\"skywalking_kafka\"} 2").await;
    let lane = lanes.lanes().remove(0);
    let batch = lane.batches().last().unwrap();
    let Payload::Encoded(encoded) = &batch.payload else { panic!("wire bytes") };
    lane.reject(encoded, batch.len() - 1, batch.origin.positions.end, "not a segment");
    let letters = receiver.dead_letters();
    assert_eq!(letters.len(), 2);
    assert_eq!(letters[0]["offset"], 2);
    assert_eq!(letters[0]["reason"], "the record has 2000 bytes; max_record_bytes is 1000B");
    assert_eq!(letters[1]["topic"], TOPIC);
    assert_eq!(letters[1]["partition"], 0);
    assert_eq!(letters[1]["offset"], 3, "the record's own offset, although others before it were left out");
    assert_eq!(letters[1]["data"], "YmFk");
    receiver.until_metric("weir_receiver_rejected_records_total{receiver=\"skywalking_kafka\"} 2").await;
    drop(lane);
    drop(lanes.take_batches());
    cluster.until(|| cluster.committed(0) == Some(5)).await;
    receiver.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_earlier_owner_has_rejected_is_not_in_the_dead_letters_again() {
    let cluster = Cluster::new(TOPIC, 1);
    let large = vec![b'x'; 2000];
    let records = [b"good".to_vec(), large.clone(), b"bad".to_vec(), large, b"bad".to_vec()];
    cluster.produce(0, &records).await;
    // A window needs what was exported before it.
    cluster.commit(0, 0, r#"{"v":1,"g":1,"i":0,"x":{"main/clickhouse":2},"p":{"main/clickhouse":3},"w":{}}"#);
    let lanes = RecordingLanes::default();
    let receiver = RunningReceiver::start(&cluster, "max_record_bytes: 1000", lanes.clone());
    lanes.wait_until(PATIENCE, |lanes| count(lanes) == 3).await;
    let lane = lanes.lanes().remove(0);
    for batch in lane.batches() {
        let Payload::Encoded(encoded) = &batch.payload else { panic!("wire bytes") };
        lane.reject(encoded, batch.len() - 1, batch.origin.positions.start, "not a segment");
    }
    let offsets: Vec<_> = receiver.dead_letters().iter().map(|letter| letter["offset"].clone()).collect();
    assert_eq!(offsets, [3, 4]);
    drop((lane, lanes.take_batches()));
    receiver.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_of_50_megabytes_comes_through() {
    let cluster = Cluster::new(TOPIC, 1);
    let large: Vec<u8> = (0..50_000_000u32).map(|i| (i % 251) as u8).collect();
    // Alone: the mock broker keeps 5 MB of a partition, and always the last record.
    cluster.produce(0, std::slice::from_ref(&large)).await;
    let lanes = RecordingLanes::default();
    let receiver = RunningReceiver::start(&cluster, "initial_offset: earliest", lanes.clone());
    lanes.wait_until(PATIENCE, |lanes| lanes.iter().any(|lane| lane.batches().count() > 0)).await;
    assert!(all(&lanes.lanes()[0]) == [large], "the bytes are the same");
    receiver.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_pipeline_pauses_its_partition_and_loses_nothing() {
    let cluster = Cluster::new(TOPIC, 2);
    let gate = GatedLanes::default();
    let yaml = "initial_offset: earliest\nqueue: {max_bytes: 20KB}\nbatch: {max_bytes: 1KB, max_records: 10}";
    gate.shut("skywalking-segments/0");
    let receiver = RunningReceiver::start(&cluster, yaml, gate.clone());
    cluster.produce(0, &numbered(0..2000)).await;
    receiver.until_metric("weir_kafka_paused{receiver=\"skywalking_kafka\",topic=\"skywalking-segments\",partition=\"0\"} 1").await;
    // The other partition goes on, and the group membership lives.
    cluster.produce(1, &numbered(0..50)).await;
    gate.recorded().wait_until(PATIENCE, |lanes| count(lanes) == 50).await;
    assert!(receiver.metric(
        "weir_kafka_paused{receiver=\"skywalking_kafka\",topic=\"skywalking-segments\",partition=\"0\"} 1"
    ));
    let lag = "weir_kafka_lag{receiver=\"skywalking_kafka\",topic=\"skywalking-segments\",partition=\"0\"} ";
    let behind =
        |line: &str| line.strip_prefix(lag).is_some_and(|lag| lag.parse::<i64>().is_ok_and(|lag| lag > 1000));
    receiver.until(|metrics| metrics.lines().any(behind)).await;
    gate.open();
    gate.recorded().wait_until(PATIENCE, |lanes| count(lanes) == 2050).await;
    let lanes = gate.recorded().lanes();
    let slow = lanes.iter().find(|lane| &*lane.name == "skywalking-segments/0").unwrap();
    assert_eq!(all(slow), numbered(0..2000), "in order, once");
    receiver.until_metric("weir_kafka_paused{receiver=\"skywalking_kafka\",topic=\"skywalking-segments\",partition=\"0\"} 0").await;
    drop((lanes, gate.recorded().take_batches()));
    receiver.stop().await.unwrap();
    assert_eq!(cluster.committed(0), Some(2000));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_partition_says_so_and_a_held_up_one_does_not() {
    let cluster = Cluster::new(TOPIC, 2);
    let gate = GatedLanes::default();
    gate.shut("skywalking-segments/0");
    let receiver = RunningReceiver::start(&cluster, "initial_offset: earliest", gate.clone());
    cluster.produce(0, &numbered(0..1)).await;
    let idle = |lane: &RecordedLane| {
        let idle = lane.messages.iter().filter_map(|message| match message {
            LaneMessage::Idle(idle) => Some(*idle),
            _ => None,
        });
        idle.collect::<Vec<_>>()
    };
    let named = |lanes: &[RecordedLane], name: &str| {
        lanes.iter().find(|lane| &*lane.name == name).map(idle).unwrap_or_default()
    };
    gate.recorded().wait_until(PATIENCE, |lanes| named(lanes, "skywalking-segments/1").len() >= 3).await;
    let lanes = gate.recorded().lanes();
    let idle = named(&lanes, "skywalking-segments/1");
    assert!(idle.is_sorted() && idle[2] >= Duration::from_secs(2), "{idle:?}");
    assert_eq!(named(&lanes, "skywalking-segments/0").len(), 0, "it waits for its pipeline");
    gate.open();
    gate.recorded().wait_until(PATIENCE, |lanes| !named(lanes, "skywalking-segments/0").is_empty()).await;
    let idle = named(&gate.recorded().lanes(), "skywalking-segments/0");
    assert!(idle[0] < Duration::from_secs(3), "the time of waiting does not count: {idle:?}");
    receiver.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_gateway_takes_over_partitions_without_loss() {
    let cluster = Cluster::new(TOPIC, 2);
    cluster.produce(0, &numbered(0..20)).await;
    cluster.produce(1, &numbered(100..120)).await;
    let (one, two) = (RecordingLanes::default(), RecordingLanes::default());
    let yaml = "initial_offset: earliest\nwindows: partition";
    let first = RunningReceiver::start(&cluster, yaml, one.clone());
    one.wait_until(PATIENCE, |lanes| count(lanes) == 40).await;
    drop(one.take_batches());
    // A commit that meets the new generation of the group halfway loses every partition: nothing is lost by
    // it, but this test is about partitions that move.
    cluster.until(|| (cluster.committed(0), cluster.committed(1)) == (Some(20), Some(20))).await;
    let second = RunningReceiver::start(&cluster, yaml, two.clone());
    two.wait_until(PATIENCE, |lanes| !lanes.is_empty()).await;
    one.wait_until(PATIENCE, |lanes| lanes.iter().filter(|lane| lane.closed).count() == 1).await;
    let moved = one.lanes().iter().find(|lane| lane.closed).unwrap().name.clone();
    assert_eq!(two.lanes()[0].name, moved, "only the moved partition changes hands");
    cluster.produce(0, &numbered(20..30)).await;
    cluster.produce(1, &numbered(120..130)).await;
    one.wait_until(PATIENCE, |lanes| count(lanes) == 10).await;
    two.wait_until(PATIENCE, |lanes| count(lanes) == 10).await;
    let expected = if &*moved == "skywalking-segments/0" { numbered(20..30) } else { numbered(120..130) };
    assert_eq!(all(&two.lanes()[0]), expected, "what the first one committed is not read again");
    drop(one.take_batches());
    drop(two.take_batches());
    first.stop().await.unwrap();
    second.stop().await.unwrap();
    assert_eq!((cluster.committed(0), cluster.committed(1)), (Some(30), Some(30)));
    one.check_contract();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn windows_are_whole_only_while_one_gateway_has_every_partition() {
    let cluster = Cluster::new(TOPIC, 2);
    let (one, two) = (RecordingLanes::default(), RecordingLanes::default());
    let shards = |lanes: &[RecordedLane]| {
        let open = lanes.iter().filter(|lane| !lane.closed);
        open.map(|lane| lane.shard.unwrap_or_default().0 & 0xffff).collect::<Vec<_>>()
    };
    let first = RunningReceiver::start(&cluster, "initial_offset: earliest", one.clone());
    one.wait_until(PATIENCE, |lanes| shards(lanes) == [0, 0]).await;
    let second = RunningReceiver::start(&cluster, "initial_offset: earliest", two.clone());
    two.wait_until(PATIENCE, |lanes| shards(lanes).len() == 1).await;
    one.wait_until(PATIENCE, |lanes| shards(lanes).len() == 1 && lanes.len() == 3).await;
    let both = [shards(&one.lanes()), shards(&two.lanes())].concat();
    assert!(both == [1, 2] || both == [2, 1], "{both:?}");
    first.until_metric("weir_kafka_partial_windows{receiver=\"skywalking_kafka\"} 1").await;
    second.stop().await.unwrap();
    one.wait_until(PATIENCE, |lanes| shards(lanes) == [0, 0]).await;
    first.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unreachable_kafka_is_waited_for() {
    let cluster = Cluster::new(TOPIC, 1);
    cluster.produce(0, &numbered(0..3)).await;
    cluster.down();
    let lanes = RecordingLanes::default();
    let receiver = RunningReceiver::start(&cluster, "initial_offset: earliest", lanes.clone());
    receiver
        .until(|metrics| {
            metrics.contains("weir_kafka_errors_total")
                && !metrics.contains("weir_kafka_errors_total{receiver=\"skywalking_kafka\"} 0")
        })
        .await;
    cluster.up();
    lanes.wait_until(PATIENCE, |lanes| count(lanes) == 3).await;
    receiver.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receiver_whose_kafka_never_comes_stops_when_told() {
    let cluster = Cluster::new(TOPIC, 1);
    cluster.down();
    let receiver = RunningReceiver::start(&cluster, "", RecordingLanes::default());
    receiver
        .until(|metrics| metrics.contains("weir_kafka_errors_total{receiver=\"skywalking_kafka\"} 1"))
        .await;
    receiver.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_does_not_exist_is_waited_for() {
    let cluster = Cluster::new("something-else", 1);
    let lanes = RecordingLanes::default();
    let yaml = "initial_offset: earliest\nnamespace: site\nmetadata_refresh: 100ms";
    let receiver = RunningReceiver::start(&cluster, yaml, lanes.clone());
    receiver
        .until(|metrics| metrics.contains("weir_kafka_errors_total{receiver=\"skywalking_kafka\"} 1"))
        .await;
    cluster.create("site-skywalking-segments", 1);
    cluster.produce_to("site-skywalking-segments", 0, &numbered(0..3)).await;
    lanes.wait_until(PATIENCE, |lanes| count(lanes) == 3).await;
    receiver.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_comes_before_a_new_topic_is_discovered_is_read_with_latest_too() {
    let cluster = Cluster::new("something-else", 1);
    let lanes = RecordingLanes::default();
    let yaml = "namespace: site\nmetadata_refresh: 100ms";
    let receiver = RunningReceiver::start(&cluster, yaml, lanes.clone());
    receiver
        .until(|metrics| metrics.contains("weir_kafka_errors_total{receiver=\"skywalking_kafka\"} 1"))
        .await;
    cluster.create("site-skywalking-segments", 1);
    cluster.produce_to("site-skywalking-segments", 0, &numbered(0..3)).await;
    lanes.wait_until(PATIENCE, |lanes| count(lanes) == 3).await;
    receiver.stop().await.unwrap();
}

/// How many lanes of this partition are open, and how many records have come down all that it had.
fn of_partition(lanes: &[RecordedLane], partition: i32) -> (usize, usize) {
    let name = format!("{TOPIC}/{partition}");
    let its = lanes.iter().filter(|lane| *lane.name == *name);
    (its.clone().filter(|lane| !lane.closed).count(), its.map(|lane| all(lane).len()).sum())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_without_a_leader_does_not_keep_the_others_and_windows_wait_for_it() {
    let cluster = Cluster::new(TOPIC, 3);
    for partition in 0..3 {
        cluster.produce(partition, &numbered(0..5)).await;
    }
    cluster.leader(1, None);
    let lanes = RecordingLanes::default();
    let receiver = RunningReceiver::start(&cluster, "initial_offset: earliest", lanes.clone());
    lanes.wait_until(PATIENCE, |lanes| count(lanes) == 10).await;
    let seen = lanes.lanes();
    assert_eq!((of_partition(&seen, 0), of_partition(&seen, 2)), ((1, 5), (1, 5)));
    assert_eq!(of_partition(&seen, 1), (1, 0), "its place is kept by a lane that says nothing");
    let holding = seen.iter().position(|lane| &*lane.name == "skywalking-segments/1").unwrap();
    assert!(seen[holding].messages.is_empty(), "it holds the watermark of all");
    assert!(seen.iter().all(|lane| lane.shard.unwrap_or_default().0 == 0), "windows are whole");
    drop((seen, lanes.take_batches()));
    cluster.until(|| cluster.committed(0) == Some(5) && cluster.committed(2) == Some(5)).await;
    assert_eq!(cluster.committed(1), None, "nothing is committed for what is not read");

    cluster.leader(1, Some(1));
    lanes.wait_until(PATIENCE, |lanes| count(lanes) == 5).await;
    let seen = lanes.lanes();
    assert!(seen[holding].closed, "its own lane keeps its place now");
    assert_eq!(of_partition(&seen, 1), (1, 5));
    assert_eq!((of_partition(&seen, 0).0, of_partition(&seen, 2).0), (1, 1), "the others were not disturbed");
    drop((seen, lanes.take_batches()));
    receiver.stop().await.unwrap();
    assert_eq!(cluster.committed(1), Some(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_status_tells_what_cannot_be_read() {
    let cluster = Cluster::new(TOPIC, 2);
    // The mock cluster crashes when a partition that is read loses its leader.
    cluster.leader(1, None);
    let receiver = RunningReceiver::start(&cluster, "metadata_refresh: 1s", RecordingLanes::default());
    receiver
        .until_status(
            "StatusRecoverableError",
            "that leads these partitions answers: skywalking-segments: [1]",
        )
        .await;
    cluster.leader(1, Some(1));
    receiver.until_status("StatusOK", "").await;
    cluster.down();
    receiver.until_status("StatusRecoverableError", "no broker of").await;
    cluster.up();
    receiver.until_status("StatusOK", "").await;
    receiver.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_whose_broker_is_away_does_not_keep_the_others() {
    let cluster = Cluster::with_brokers(TOPIC, 2, 2);
    for partition in 0..2 {
        cluster.leader(partition, Some(partition + 1));
        cluster.produce(partition, &numbered(0..5)).await;
    }
    // Kafka still says that it leads.
    cluster.broker_down(2);
    let lanes = RecordingLanes::default();
    let receiver = RunningReceiver::start(&cluster, "initial_offset: earliest", lanes.clone());
    lanes.wait_until(PATIENCE, |lanes| count(lanes) == 5).await;
    assert_eq!((of_partition(&lanes.lanes(), 0), of_partition(&lanes.lanes(), 1)), ((1, 5), (1, 0)));
    cluster.produce(0, &numbered(5..10)).await;
    lanes.wait_until(PATIENCE, |lanes| count(lanes) == 10).await;
    cluster.broker_up(2);
    lanes.wait_until(PATIENCE, |lanes| count(lanes) == 15).await;
    drop(lanes.take_batches());
    receiver.stop().await.unwrap();
    assert_eq!((cluster.committed(0), cluster.committed(1)), (Some(10), Some(5)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_text_of_another_program_beside_the_offset_is_passed() {
    let cluster = Cluster::new(TOPIC, 1);
    cluster.produce(0, &numbered(0..5)).await;
    cluster.commit(0, 2, "consumer-1");
    let lanes = RecordingLanes::default();
    let receiver = RunningReceiver::start(&cluster, "", lanes.clone());
    lanes.wait_until(PATIENCE, |lanes| count(lanes) == 3).await;
    assert_eq!(all(&lanes.lanes()[0]), numbered(2..5));
    drop(lanes.take_batches());
    receiver.stop().await.unwrap();
    assert_eq!(cluster.committed(0), Some(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_pipeline_stops_the_receiver() {
    let cluster = Cluster::new(TOPIC, 1);
    cluster.produce(0, &numbered(0..3)).await;
    let gate = GatedLanes::default();
    gate.stop_pipeline();
    let receiver = RunningReceiver::start(&cluster, "initial_offset: earliest\ndrain_timeout: 100ms", gate);
    receiver.ended().await.unwrap();
    assert_eq!(cluster.committed(0).unwrap_or(0), 0, "what was not delivered is not committed");
}

#[test]
fn wrong_settings_are_all_reported() {
    let yaml = "group_id: ''\nbatch: {max_records: 0}\nproperties: {enable.auto.commit: true, no.such: 1}";
    let Err(found) = settings("localhost:1", yaml) else { panic!("errors") };
    let text = found.to_string();
    for part in [
        "group_id",
        "batch.max_records",
        "`enable.auto.commit` is set by Weir",
        "No such configuration property",
    ] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_partition_of_each_topic_is_a_lane_with_its_signal() {
    let cluster = Cluster::new(TOPIC, 2);
    cluster.create("skywalking-logs", 1);
    cluster.create("skywalking-managements", 1);
    cluster.produce(0, &numbered(0..30)).await;
    cluster.produce(1, &numbered(30..50)).await;
    cluster.produce_to("skywalking-logs", 0, &numbered(50..60)).await;
    for (key, record) in [("i", "ping"), ("register-i", "properties"), ("i", "ping"), ("j", "ping")] {
        cluster.produce_under("skywalking-managements", key, 1_700_000_000_000, record.as_bytes()).await;
    }
    let lanes = RecordingLanes::default();
    let yaml = "initial_offset: earliest\ntopics: {segments: true, logs: true, managements: true}";
    let receiver = RunningReceiver::start(&cluster, yaml, lanes.clone());
    lanes.wait_until(PATIENCE, |lanes| count(lanes) == 64).await;
    assert!(receiver.metric("weir_kafka_partial_windows{receiver=\"skywalking_kafka\"} 0"));
    let seen = lanes.lanes();
    let of = |name: &str| seen.iter().find(|lane| *lane.name == *name).unwrap();
    assert_eq!(seen.len(), 4);
    assert_eq!(all(of("skywalking-segments/1")), numbered(30..50));
    assert_eq!(all(of("skywalking-logs/0")), numbered(50..60));
    let batches = |name: &str| {
        let format = |batch: &EventBatch| match &batch.payload {
            Payload::Encoded(encoded) => {
                (batch.signal, encoded.format, encoded.written.is_some(), batch.len())
            }
            Payload::Columns(_) => panic!("wire bytes"),
        };
        of(name).batches().map(format).collect::<Vec<_>>()
    };
    assert_eq!(batches("skywalking-segments/0")[0].0, Signal::Traces);
    assert_eq!(batches("skywalking-logs/0")[0].1, Format::SkyWalkingLog);
    let expected =
        [(Format::SkyWalkingPing, 1), (Format::SkyWalkingInstance, 1), (Format::SkyWalkingPing, 2)];
    let expected = expected.map(|(format, len)| (Signal::Logs, format, true, len));
    assert_eq!(batches("skywalking-managements/0"), expected);
    drop((seen, lanes.take_batches()));
    receiver.stop().await.unwrap();
    let topics =
        [(TOPIC, 0, 30), (TOPIC, 1, 20), ("skywalking-logs", 0, 10), ("skywalking-managements", 0, 4)];
    for (topic, partition, end) in topics {
        assert_eq!(cluster.committed_of(topic, partition), Some(end), "{topic}/{partition}");
    }
    lanes.check_contract();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_does_not_exist_delays_no_other_and_is_read_when_it_comes() {
    let cluster = Cluster::new(TOPIC, 1);
    cluster.produce(0, &numbered(0..5)).await;
    let lanes = RecordingLanes::default();
    let yaml = "initial_offset: earliest\nmetadata_refresh: 100ms\ntopics: {segments: true, meters: true}";
    let receiver = RunningReceiver::start(&cluster, yaml, lanes.clone());
    lanes.wait_until(PATIENCE, |lanes| count(lanes) == 5).await;
    receiver.until_status("StatusRecoverableError", "the topic `skywalking-meters` does not exist").await;
    cluster.create("skywalking-meters", 1);
    cluster.produce_to("skywalking-meters", 0, &numbered(5..9)).await;
    lanes.wait_until(PATIENCE, |lanes| count(lanes) == 9).await;
    receiver.until_status("StatusOK", "").await;
    drop(lanes.take_batches());
    receiver.stop().await.unwrap();
    assert_eq!(cluster.committed_of("skywalking-meters", 0), Some(4));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_with_all_partitions_of_one_topic_but_not_of_the_other_has_windows_apart() {
    let cluster = Cluster::new(TOPIC, 1);
    cluster.create("skywalking-logs", 1);
    let yaml = "initial_offset: earliest\ntopics: {segments: true, logs: true}";
    let (first, second) = (RecordingLanes::default(), RecordingLanes::default());
    let one = RunningReceiver::start(&cluster, yaml, first.clone());
    first.wait_until(PATIENCE, |lanes| lanes.len() == 2).await;
    let two = RunningReceiver::start(&cluster, yaml, second.clone());
    second.wait_until(PATIENCE, |lanes| !lanes.is_empty()).await;
    for receiver in [&one, &two] {
        receiver.until_metric("weir_kafka_partial_windows{receiver=\"skywalking_kafka\"} 1").await;
        receiver.until_metric("weir_kafka_assigned_partitions{receiver=\"skywalking_kafka\"} 1").await;
    }
    two.stop().await.unwrap();
    one.until_metric("weir_kafka_partial_windows{receiver=\"skywalking_kafka\"} 0").await;
    one.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_notices_that_another_one_got_a_topic_that_appeared() {
    let cluster = Cluster::new(TOPIC, 1);
    let yaml = "initial_offset: earliest\nmetadata_refresh: 500ms\ntopics: {segments: true, logs: true}";
    let (first, second) = (RecordingLanes::default(), RecordingLanes::default());
    let one = RunningReceiver::start(&cluster, yaml, first.clone());
    first.wait_until(PATIENCE, |lanes| lanes.len() == 1).await;
    assert_eq!(first.lanes()[0].shard.unwrap_or_default().0, 0, "windows are whole");
    let two = RunningReceiver::start(&cluster, yaml, second.clone());
    cluster.create("skywalking-logs", 1);
    second.wait_until(PATIENCE, |lanes| !lanes.is_empty()).await;
    // The lane of the first gateway goes on meanwhile: nothing is taken from it, and nothing given to it.
    first.wait_until(PATIENCE, |lanes| lanes.len() == 2).await;
    let shards: Vec<u32> = first.lanes().iter().map(|lane| lane.shard.unwrap_or_default().0).collect();
    assert!(shards[0] == 0 && shards[1] != 0, "{shards:?}");
    one.until_metric("weir_kafka_partial_windows{receiver=\"skywalking_kafka\"} 1").await;
    two.stop().await.unwrap();
    one.until_metric("weir_kafka_partial_windows{receiver=\"skywalking_kafka\"} 0").await;
    one.stop().await.unwrap();
}
