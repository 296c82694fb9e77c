//! The task of one lane: from its mailbox down the lane.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weir_component::{Lane, LaneClosed, LaneMessage};
use weir_pdata::{Ack, EventBatch, Format, MemoryPermit, Origin, Payload};

use super::batch::Group;
use super::offer::{Letterhead, Mailbox, Waiting};
use super::rejects::LaneRejects;
use crate::config::AnswerWhen;
use crate::metrics::LaneMetrics;

/// How long a lane is idle before it says so, and how often it says so again.
const IDLE_REPORT: Duration = Duration::from_secs(1);
/// Bytes and requests that are taken out of the mailbox together: what is taken cannot be taken back.
const MOST_BYTES: usize = 4 << 20;
const MOST_REQUESTS: usize = 1024;

/// What the task of a lane works with.
pub(crate) struct LaneTask {
    pub(crate) lane: Lane,
    pub(crate) mailbox: Mailbox,
    pub(crate) rejects: Arc<LaneRejects>,
    /// For [`Origin::lane`].
    pub(crate) name: Arc<str>,
    pub(crate) when: AnswerWhen,
    pub(crate) metrics: LaneMetrics,
    /// Cancelled when the program ends: the lane no longer waits for others.
    pub(crate) stop: CancellationToken,
}

impl LaneTask {
    /// Sends until nobody can offer a request any more, then drains the lane and gives it back. It is open
    /// until it is dropped, so that lanes that end together end at one moment. `None`: the pipeline has
    /// stopped.
    pub(crate) async fn run(mut self) -> Option<Lane> {
        match self.send_all().await {
            Ok(()) => Some(self.lane),
            Err(LaneClosed) => None,
        }
    }

    async fn send_all(&mut self) -> Result<(), LaneClosed> {
        let mut position = 0;
        let mut since = Instant::now();
        let mut said = Duration::ZERO;
        loop {
            let next = tokio::select! {
                biased;
                next = self.mailbox.next() => next,
                () = tokio::time::sleep_until(since + said + IDLE_REPORT) => {
                    said = since.elapsed();
                    self.lane.send(LaneMessage::Idle(said)).await?;
                    continue;
                }
            };
            let Some(first) = next else { return self.lane.send(LaneMessage::Drain).await };
            // A lane that is held back takes nothing: requests can then be taken back.
            tokio::select! {
                () = self.stop.cancelled() => {}
                () = self.lane.ready() => {}
            }
            for (format, group) in self.gather(first) {
                position = self.send(format, group, position).await?;
            }
            (since, said) = (Instant::now(), Duration::ZERO);
        }
    }

    /// What waits, in groups that become a batch each.
    fn gather(&mut self, first: Letterhead) -> Vec<(Format, Group)> {
        let mut groups: Vec<(Format, Group)> = Vec::new();
        let (mut next, mut bytes, mut requests) = (Some(first), 0, 0);
        while let Some(head) = next {
            if let Some(waiting) = head.take() {
                bytes += waiting.request.bytes.len();
                requests += 1;
                put(&mut groups, waiting);
            }
            let more = bytes < MOST_BYTES && requests < MOST_REQUESTS;
            next = if more { self.mailbox.try_next() } else { None };
        }
        groups
    }

    async fn send(&mut self, format: Format, group: Group, position: i64) -> Result<i64, LaneClosed> {
        self.metrics.of_records.records.inc_by(group.len() as u64);
        self.metrics.of_records.bytes.inc_by(group.bytes as u64);
        let end = position.saturating_add_unsigned(group.len() as u64);
        let (encoded, answers, rooms) = group.encode(format, self.when);
        let answers = Arc::new(answers);
        self.rejects.sending(Some(Arc::clone(&answers)));
        let batch = EventBatch {
            signal: format.signal(),
            payload: Payload::Encoded(encoded),
            origin: Origin::lane(Arc::clone(&self.name), position..end),
            ack: Ack::new(answers.clone(), 0),
            permit: MemoryPermit::default(),
        };
        let sent = self.lane.send(LaneMessage::Batch(batch)).await;
        self.rejects.sending(None);
        // From here on `service.memory.limit` counts its bytes.
        drop(rooms);
        sent?;
        answers.queued();
        Ok(end)
    }
}

fn put(groups: &mut Vec<(Format, Group)>, waiting: Waiting) {
    let (format, bytes) = (waiting.request.format, waiting.request.message().len());
    let open = groups.iter_mut().rev().find(|(of, _)| *of == format);
    match open.filter(|(_, group)| group.takes(bytes)) {
        Some((_, group)) => group.add(waiting),
        None => {
            let mut group = Group::default();
            group.add(waiting);
            groups.push((format, group));
        }
    }
}
