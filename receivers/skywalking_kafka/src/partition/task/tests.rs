use std::time::Duration;

use async_trait::async_trait;
use tempfile::TempDir;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use weir_component::delivery::Position;
use weir_component::testkit::{self, RecordingLanes};
use weir_component::{LaneId, LaneSet, LaneSink, LaneSpec, Lanes};

use super::*;
use crate::metrics::Metrics;
use crate::partition::batching::{Limits, Stamp};
use crate::partition::position::tests::ledger;
use crate::partition::rejects::TopicRejects;

const SEGMENT: Stamp = Stamp { format: Format::SkyWalkingSegment, arrival: None, written: None };
const LONG: Duration = Duration::from_secs(10);

/// The task of partition 0 of the topic `t`, in batches of one record, and what its lane gets.
struct Running {
    inbox: Arc<Inbox>,
    ledger: Ledger,
    lanes: RecordingLanes,
    task: JoinHandle<Result<Lane, LaneClosed>>,
    _directory: TempDir,
}

/// `cuts`: where ranges of an earlier owner end. `begun`: asks for the ownership to be written down. `wrap`:
/// what is put before the lane.
fn start(cuts: Vec<i64>, begun: bool, wrap: impl FnOnce(Lane) -> Lane) -> Running {
    let directory = tempfile::tempdir().unwrap();
    let context = testkit::context("skywalking_kafka", directory.path());
    let metrics = Metrics::new(&context.telemetry, "skywalking_kafka");
    let topic = Arc::new(TopicRejects::new(context, "t".into(), metrics));
    let rejects = Arc::new(PartitionRejects::new(topic, 0, i64::MIN));
    let lanes = RecordingLanes::default();
    let spec = LaneSpec {
        name: "t/0".into(),
        rejects: rejects.clone(),
        ledger: None,
        set: LaneSet::default(),
        signal: None,
    };
    let lane = wrap(lanes.open(spec));
    let unfinished = cuts.last().copied().unwrap_or(0);
    let limits = Limits { max_records: 1, max_bytes: 100, timeout: Duration::ZERO };
    let (inbox, ledger) = (Arc::new(Inbox::new(limits, cuts)), ledger(0));
    let begun = begun.then(|| ledger.request_write());
    let name = Arc::from("skywalking_kafka/t/0");
    let (of_task, of_lane) = (inbox.clone(), ledger.clone());
    let task = LaneTask {
        lane,
        inbox: of_task,
        ledger: of_lane,
        begun,
        rejects,
        name,
        unfinished,
        signal: Signal::Traces,
    };
    let task = tokio::spawn(task.run());
    Running { inbox, ledger, lanes, task, _directory: directory }
}

impl Running {
    async fn until_batches(&self, count: usize) {
        self.lanes.wait_until(LONG, |lanes| lanes[0].batches().count() == count).await;
    }

    /// Ends it in an orderly way, and drops what the lane got.
    async fn finish(&mut self) {
        self.inbox.close();
        tokio::time::timeout(LONG, &mut self.task).await.unwrap().unwrap().unwrap();
        drop(self.lanes.take_batches());
    }

    fn committable(&self) -> Option<i64> {
        self.ledger.tracker().committable()
    }
}

#[tokio::test]
async fn skipped_records_are_done_in_their_turn() {
    let mut running = start(Vec::new(), false, |lane| lane);
    running.inbox.fill().skip(4);
    running.inbox.fill().push(5, SEGMENT, (b"", b"five"));
    running.until_batches(1).await;
    let batch = running.lanes.take_batches().remove(0);
    assert_eq!(batch.origin.positions.end, 6);
    running.finish().await;
    drop(batch);
    assert_eq!(running.committable(), Some(6));
    assert!(running.lanes.lanes()[0].closed);
    assert!(matches!(running.lanes.lanes()[0].messages.last(), Some(LaneMessage::Drain)));
    running.lanes.check_contract();
}

#[tokio::test]
async fn skipped_records_at_the_end_of_a_range_that_was_begun_are_told() {
    // The range 4..6 had been begun; 5 is the marker of a transaction.
    let mut running = start(vec![4, 6], false, |lane| lane);
    running.inbox.fill().push(4, SEGMENT, (b"", b"four"));
    running.inbox.fill().skip(5);
    running.until_batches(2).await;
    running.inbox.fill().skip(6);
    running.inbox.fill().push(7, SEGMENT, (b"", b"seven"));
    running.until_batches(3).await;
    let batches = running.lanes.take_batches();
    let positions: Vec<_> = batches.iter().map(|batch| (batch.origin.positions.end, batch.len())).collect();
    assert_eq!(positions, [(5, 1), (6, 0), (8, 1)]);
    running.finish().await;
    drop(batches);
    assert_eq!(running.committable(), Some(8));
    running.lanes.check_contract();
}

#[tokio::test]
async fn nothing_goes_down_the_lane_before_the_ownership_is_written_down() {
    let mut running = start(Vec::new(), true, |lane| lane);
    running.inbox.fill().push(4, SEGMENT, (b"", b"four"));
    // Long enough for a batch to come, if one did.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(running.lanes.lanes()[0].messages.is_empty());
    let position = running.ledger.resumed().unwrap();
    running.ledger.written(&Position { version: 1, ..position });
    running.until_batches(1).await;
    running.finish().await;

    let mut lost = start(Vec::new(), true, |lane| lane);
    lost.inbox.fill().push(4, SEGMENT, (b"", b"four"));
    lost.ledger.close();
    lost.finish().await;
    let lanes = lost.lanes.lanes();
    assert!(matches!(lanes[0].messages.as_slice(), [LaneMessage::Drain]), "the next owner reads it again");
}

/// A lane that is ready as often as it has permits.
struct Held {
    lane: Lane,
    asked: Arc<Semaphore>,
    permits: Arc<Semaphore>,
}

#[async_trait]
impl LaneSink for Held {
    async fn send(&mut self, message: LaneMessage) -> Result<(), LaneClosed> {
        self.lane.send(message).await
    }

    async fn ready(&mut self) {
        self.asked.add_permits(1);
        self.permits.acquire().await.unwrap().forget();
    }
}

#[tokio::test]
async fn a_lane_that_is_held_back_goes_on_when_it_is_ready_and_ends_when_it_is_closed() {
    let (asked, permits) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
    let held = |lane| Held { lane, asked: asked.clone(), permits: permits.clone() };
    let mut running = start(Vec::new(), false, |lane| Lane::new(LaneId(0), Box::new(held(lane))));

    running.inbox.fill().push(4, SEGMENT, (b"", b"four"));
    running.inbox.fill().push(5, SEGMENT, (b"", b"five"));
    running.inbox.end();
    asked.acquire().await.unwrap().forget();
    assert!(running.lanes.lanes()[0].messages.is_empty(), "it waits");
    permits.add_permits(1);
    running.until_batches(1).await;
    asked.acquire().await.unwrap().forget();

    running.finish().await;
    assert_eq!(running.committable(), Some(5), "what was in hand is read again by the next owner");
    let messages = &running.lanes.lanes()[0].messages;
    assert!(matches!(messages.as_slice(), [LaneMessage::Drain]), "neither idle nor a second batch");
}
