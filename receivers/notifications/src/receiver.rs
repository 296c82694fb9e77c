//! The receiver: one lane, with what the exporters tell.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use weir_component::notifications::Notification;
use weir_component::telemetry::{Metric, MetricKind};
use weir_component::{
    Context, Lane, LaneClosed, LaneMessage, LaneSet, LaneSpec, Receiver, ReceiverError, ReceiverHost, Rejects,
};
use weir_pdata::json::JsonLines;
use weir_pdata::{Ack, Encoded, EventBatch, Origin, Projection, Signal};

use crate::row::row;

const LOST: Metric = Metric {
    name: "weir_notifications_lost",
    help: "Notifications that were not stored, because 20,000 waited.",
    kind: MetricKind::Counter,
    labels: &["receiver"],
};

/// The declarations, for the reference.
pub(crate) const METRICS: &[Metric] = &[LOST];

/// Logs in one batch, at most.
const MOST: usize = 1000;
/// How often the lane says that nothing has come.
const IDLE: Duration = Duration::from_secs(1);

/// Makes logs of notifications.
pub(crate) struct NotificationsReceiver {
    context: Context,
}

impl NotificationsReceiver {
    pub(crate) fn new(context: Context) -> NotificationsReceiver {
        NotificationsReceiver { context }
    }
}

#[async_trait]
impl Receiver for NotificationsReceiver {
    fn transport(&self) -> Option<&'static str> {
        Some("internal")
    }

    async fn run(self: Box<Self>, host: ReceiverHost, stop: CancellationToken) -> Result<(), ReceiverError> {
        let id = self.context.id.to_string();
        let lost = self.context.telemetry.counter(&LOST, &[&id]);
        let lane = host.open_lane(LaneSpec {
            name: "notifications".into(),
            rejects: Arc::new(Nothing),
            ledger: None,
            set: LaneSet::default(),
            signal: Some(Signal::Logs),
        });
        let mut logs = Logs { lane, origin: format!("{id}/notifications").into(), sent: 0 };
        host.ready();
        let mut last = Instant::now();
        loop {
            let came = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                came = self.context.notifications.next(MOST) => Some(came),
                () = tokio::time::sleep(IDLE) => None,
            };
            let sent = match came {
                Some((all, missed)) => {
                    lost.inc_by(missed);
                    last = Instant::now();
                    logs.send(&all).await
                }
                None => logs.lane.send(LaneMessage::Idle(last.elapsed())).await,
            };
            if sent.is_err() {
                return Ok(()); // the pipeline has stopped, and takes not even an end
            }
        }
        let (rest, missed) = self.context.notifications.take(usize::MAX);
        lost.inc_by(missed);
        if logs.send(&rest).await.is_ok() {
            let _ = logs.lane.send(LaneMessage::Drain).await;
        }
        Ok(())
    }
}

/// The lane, and how many logs it has taken.
struct Logs {
    lane: Lane,
    origin: Arc<str>,
    sent: i64,
}

impl Logs {
    async fn send(&mut self, all: &[Notification]) -> Result<(), LaneClosed> {
        let lines: Vec<String> = all.iter().map(|one| row(one).to_string()).collect();
        let read = JsonLines::read(lines.iter().map(String::as_bytes), &Projection::everything());
        for rejected in &read.rejected {
            tracing::error!("a notification is no log, which is a mistake in Weir: {}", rejected.reason);
        }
        for (signal, columns) in read.batches {
            let end = self.sent + i64::try_from(columns.num_rows()).unwrap_or_default();
            let origin = Origin::lane(Arc::clone(&self.origin), self.sent..end);
            self.sent = end;
            let batch = EventBatch::columns(signal, columns, origin, Ack::none());
            self.lane.send(LaneMessage::Batch(batch)).await?;
        }
        Ok(())
    }
}

/// Its logs are decoded already.
struct Nothing;

impl Rejects for Nothing {
    fn reject(&self, _encoded: &Encoded, _index: usize, _position: i64, _reason: &str) {}

    fn empty(&self, _count: usize) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_component::testkit::{RecordingLanes, context};
    use weir_pdata::SharedProjection;

    #[tokio::test]
    async fn what_became_of_an_alarm_is_a_log() {
        let folder = tempfile::tempdir().unwrap();
        let context = context("notifications", folder.path());
        context.notifications.listen();
        let lanes = RecordingLanes::default();
        let host = ReceiverHost {
            context: context.clone(),
            projection: SharedProjection::default(),
            lanes: Arc::new(lanes.clone()),
        };
        let stop = CancellationToken::new();
        let receiver = Box::new(NotificationsReceiver::new(context.clone()));
        let running = tokio::spawn(receiver.run(host, stop.clone()));
        context.notifications.tell(Notification {
            time_ms: 1_700_000_000_000,
            target: "webhook/duty".to_owned(),
            outcome: "suppressed",
            reason: "maintenance switch".to_owned(),
            attempts: 0,
            delay_ms: 1500,
            alarm: ["slow", "high", "firing", "pay", "/pay", "f1"].map(str::to_owned),
        });
        let has_batch = |lanes: &[weir_component::testkit::RecordedLane]| {
            lanes.iter().any(|lane| lane.batches().next().is_some())
        };
        lanes.wait_until(Duration::from_secs(30), has_batch).await;
        stop.cancel();
        running.await.unwrap().unwrap();
        lanes.check_contract();
        let batches = lanes.take_batches();
        let mut lines = Vec::new();
        weir_pdata::json::write_rows(batches[0].as_columns().unwrap(), Signal::Logs, &mut lines);
        let log: serde_json::Value = serde_json::from_slice(&lines).unwrap();
        let expected = serde_json::json!({
            "signal": "logs", "time": 1_700_000_000_000_i64, "observed_time": 1_700_000_000_000_i64,
            "severity_number": 9, "severity_text": "INFO", "event_name": "weir.notification",
            "service": "weir",
            "body": "suppressed to webhook/duty: firing slow pay /pay: maintenance switch",
            "attributes": {
                "notification.target": "webhook/duty", "notification.outcome": "suppressed",
                "notification.reason": "maintenance switch", "notification.attempts": "0",
                "notification.delay_ms": "1500", "alarm.rule": "slow", "alarm.severity": "high",
                "alarm.state": "firing", "alarm.service": "pay", "alarm.operation": "/pay",
                "alarm.fingerprint": "f1"
            }
        });
        assert_eq!(log, expected);
    }
}
