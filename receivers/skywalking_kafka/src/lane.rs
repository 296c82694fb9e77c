//! The task of one partition: from its inbox down its lane.

use std::sync::Arc;

use arrow::buffer::Buffer;
use weir_component::delivery::offsets::OffsetTracker;
use weir_component::{Lane, LaneClosed, LaneMessage};
use weir_pdata::{Encoded, EventBatch, Format, MemoryPermit, Origin, Payload, Signal};

use crate::batching::Chunk;
use crate::inbox::{Inbox, Next};
use crate::rejects::PartitionRejects;

/// What the task of a partition works with.
pub(crate) struct LaneTask {
    pub(crate) lane: Lane,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) tracker: OffsetTracker,
    pub(crate) rejects: Arc<PartitionRejects>,
    /// For [`Origin::lane`].
    pub(crate) name: Arc<str>,
    /// Ranges that an earlier owner had begun end here, or before.
    pub(crate) unfinished: i64,
}

impl LaneTask {
    /// Sends until the inbox is closed, then gives the lane back. It is open until it is dropped, so that lanes that end
    /// together end at one moment.
    ///
    /// # Errors
    /// The pipeline has stopped.
    pub(crate) async fn run(mut self) -> Result<Lane, LaneClosed> {
        loop {
            match self.inbox.next().await {
                Next::Chunk(chunk) => {
                    // A lane that is held back is not quiet: this waits with the records in hand.
                    if !chunk.records.is_empty() {
                        tokio::select! {
                            biased;
                            () = self.inbox.closed() => continue,
                            () = self.lane.ready() => {}
                        }
                    }
                    if let Some(batch) = self.batch(chunk) {
                        self.lane.send(LaneMessage::Batch(batch)).await?;
                    }
                    self.inbox.delivered();
                }
                Next::Quiet(quiet) => self.lane.send(LaneMessage::Idle(quiet)).await?,
                Next::Close => return self.lane.send(LaneMessage::Drain).await.map(|()| self.lane),
            }
        }
    }

    /// The batch of a chunk. A chunk of skipped records has none and is done at once, but where an earlier owner had
    /// begun a range: that is repeated when everything up to its end has come, and this may be the last of it.
    fn batch(&self, chunk: Chunk) -> Option<EventBatch> {
        let ack = self.tracker.track(chunk.end);
        if chunk.records.is_empty() && chunk.end > self.unfinished {
            return None;
        }
        let arrivals = (!chunk.arrivals.is_empty()).then(|| chunk.arrivals.into());
        let encoded = Encoded {
            format: Format::SkyWalkingSegment,
            arena: Buffer::from_vec(chunk.arena),
            records: chunk.records.into(),
            positions: Some(chunk.offsets.as_slice().into()),
            arrivals,
        };
        self.rejects.sending(&encoded, chunk.offsets);
        let origin = Origin::lane(self.name.clone(), chunk.start..chunk.end);
        let payload = Payload::Encoded(encoded);
        Some(EventBatch { signal: Signal::Traces, payload, origin, ack, permit: MemoryPermit::default() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batching::Limits;
    use crate::metrics::Metrics;
    use crate::rejects::TopicRejects;
    use async_trait::async_trait;
    use std::time::Duration;
    use tokio::sync::Semaphore;
    use weir_component::testkit::{self, RecordingLanes};
    use weir_component::{LaneId, LaneSet, LaneSink, LaneSpec, Lanes};

    #[tokio::test]
    async fn skipped_records_are_done_in_their_turn() {
        let directory = tempfile::tempdir().unwrap();
        let context = testkit::context("skywalking_kafka", directory.path());
        let metrics = Metrics::new(&context.telemetry, "skywalking_kafka");
        let topic = Arc::new(TopicRejects::new(context, "t".into(), metrics));
        let rejects = Arc::new(PartitionRejects::new(topic, 0, i64::MIN));
        let lanes = RecordingLanes::default();
        let lane = lanes.open(LaneSpec {
            name: "t/0".into(),
            rejects: rejects.clone(),
            ledger: None,
            set: LaneSet::default(),
        });
        let limits = Limits { max_records: 1, max_bytes: 100, timeout: Duration::ZERO };
        let inbox = Arc::new(Inbox::new(limits, Vec::new()));
        let tracker = OffsetTracker::default();
        let name = Arc::from("skywalking_kafka/t/0");
        let (in_task, of_task) = (inbox.clone(), tracker.clone());
        let task = LaneTask { lane, inbox: in_task, tracker: of_task, rejects, name, unfinished: 0 };
        let task = tokio::spawn(task.run());

        inbox.fill().skip(4);
        inbox.fill().push(5, None, b"five");
        lanes.wait_until(Duration::from_secs(10), |lanes| lanes[0].batches().count() == 1).await;
        let batch = lanes.take_batches().remove(0);
        assert_eq!(batch.origin.positions.end, 6);
        inbox.close();
        task.await.unwrap().unwrap();
        drop(batch);
        assert_eq!(tracker.committable(), Some(6));
        assert!(lanes.lanes()[0].closed);
        assert!(matches!(lanes.lanes()[0].messages.last(), Some(LaneMessage::Drain)));
        lanes.check_contract();
    }

    #[tokio::test]
    async fn skipped_records_at_the_end_of_a_range_that_was_begun_are_told() {
        let directory = tempfile::tempdir().unwrap();
        let context = testkit::context("skywalking_kafka", directory.path());
        let metrics = Metrics::new(&context.telemetry, "skywalking_kafka");
        let topic = Arc::new(TopicRejects::new(context, "t".into(), metrics));
        let rejects = Arc::new(PartitionRejects::new(topic, 0, i64::MIN));
        let lanes = RecordingLanes::default();
        let lane = lanes.open(LaneSpec {
            name: "t/0".into(),
            rejects: rejects.clone(),
            ledger: None,
            set: LaneSet::default(),
        });
        let limits = Limits { max_records: 1, max_bytes: 100, timeout: Duration::ZERO };
        // The range 4..6 had been begun; 5 is the marker of a transaction.
        let inbox = Arc::new(Inbox::new(limits, vec![4, 6]));
        let (tracker, name) = (OffsetTracker::default(), Arc::from("skywalking_kafka/t/0"));
        let (in_task, of_task) = (inbox.clone(), tracker.clone());
        let task = LaneTask { lane, inbox: in_task, tracker: of_task, rejects, name, unfinished: 6 };
        let task = tokio::spawn(task.run());
        inbox.fill().push(4, None, b"four");
        inbox.fill().skip(5);
        lanes.wait_until(Duration::from_secs(10), |lanes| lanes[0].batches().count() == 2).await;
        inbox.fill().skip(6);
        inbox.fill().push(7, None, b"seven");
        lanes.wait_until(Duration::from_secs(10), |lanes| lanes[0].batches().count() == 3).await;
        let batches = lanes.take_batches();
        let positions: Vec<_> =
            batches.iter().map(|batch| (batch.origin.positions.end, batch.len())).collect();
        assert_eq!(positions, [(5, 1), (6, 0), (8, 1)]);
        inbox.close();
        task.await.unwrap().unwrap();
        drop(batches);
        assert_eq!(tracker.committable(), Some(8));
        lanes.check_contract();
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
        const LONG: Duration = Duration::from_secs(10);
        let directory = tempfile::tempdir().unwrap();
        let context = testkit::context("skywalking_kafka", directory.path());
        let metrics = Metrics::new(&context.telemetry, "skywalking_kafka");
        let topic = Arc::new(TopicRejects::new(context, "t".into(), metrics));
        let rejects = Arc::new(PartitionRejects::new(topic, 0, i64::MIN));
        let lanes = RecordingLanes::default();
        let lane = lanes.open(LaneSpec {
            name: "t/0".into(),
            rejects: rejects.clone(),
            ledger: None,
            set: LaneSet::default(),
        });
        let (asked, permits) = (Arc::new(Semaphore::new(0)), Arc::new(Semaphore::new(0)));
        let held = Held { lane, asked: asked.clone(), permits: permits.clone() };
        let limits = Limits { max_records: 1, max_bytes: 100, timeout: Duration::ZERO };
        let inbox = Arc::new(Inbox::new(limits, Vec::new()));
        let tracker = OffsetTracker::default();
        let lane = Lane::new(LaneId(0), Box::new(held));
        let name = Arc::from("skywalking_kafka/t/0");
        let (in_task, of_task) = (inbox.clone(), tracker.clone());
        let task = LaneTask { lane, inbox: in_task, tracker: of_task, rejects, name, unfinished: 0 };
        let task = tokio::spawn(task.run());

        inbox.fill().push(4, None, b"four");
        inbox.fill().push(5, None, b"five");
        inbox.end();
        asked.acquire().await.unwrap().forget();
        assert!(lanes.lanes()[0].messages.is_empty(), "it waits");
        permits.add_permits(1);
        lanes.wait_until(LONG, |lanes| lanes[0].batches().count() == 1).await;
        asked.acquire().await.unwrap().forget();

        inbox.close();
        tokio::time::timeout(LONG, task).await.unwrap().unwrap().unwrap();
        drop(lanes.take_batches());
        assert_eq!(tracker.committable(), Some(5), "what was in hand is read again by the next owner");
        let messages = &lanes.lanes()[0].messages;
        assert!(matches!(messages.as_slice(), [LaneMessage::Drain]), "neither quiet nor a second batch");
    }
}
