//! Results whose inputs have another owner must not begin to leave.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use weir_component::exporter_helper::{self, HelperConfig, RetryConfig};
use weir_component::factory::BuiltExporter;
use weir_component::testkit::{FlakyExporter, Probe, Regime, context};
use weir_pdata::{EventBatch, Fence, Origin, Outcome, Signal};

#[tokio::test]
async fn a_window_whose_inputs_have_another_owner_does_not_begin_to_leave() {
    let directory = tempfile::tempdir().unwrap();
    let (exporter, taken) = FlakyExporter::flaky(Regime::AlwaysOk, 1);
    let built = BuiltExporter { exporter: Box::new(exporter), helper: HelperConfig::default() };
    let (queue, task) = exporter_helper::spawn(built, context("flaky", directory.path())).await.unwrap();
    let probe = Probe::default();
    let (lost, kept) = (Fence::default(), Fence::default());
    for (number, fence) in [(1, &lost), (2, &kept)] {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![number]));
        let columns = RecordBatch::try_from_iter([("duration_ns", numbers)]).unwrap();
        let origin = Origin::derived("aggregate".into(), None).behind(Some(fence.clone()));
        if number == 1 {
            lost.close();
        }
        queue.send(EventBatch::columns(Signal::Traces, columns, origin, probe.ack())).await.unwrap();
    }
    drop(queue);
    task.finish(std::time::Duration::from_secs(10)).await;
    let taken: Vec<String> = taken.lock().unwrap().keys().cloned().collect();
    assert_eq!(taken.len(), 1, "{taken:?}");
    assert!(taken[0].contains(":2"), "{taken:?}");
    assert_eq!((probe.outcome(0), probe.outcome(1)), (Some(Outcome::Failed), Some(Outcome::Done)));
}

#[tokio::test]
async fn a_window_whose_inputs_go_to_another_owner_is_not_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let (exporter, taken) = FlakyExporter::flaky(Regime::Transient(1.0), 1);
    let helper = HelperConfig {
        retry: RetryConfig {
            initial_interval: weir_config::Duration::from_millis(1),
            max_interval: weir_config::Duration::from_millis(1),
            ..RetryConfig::default()
        },
        ..HelperConfig::default()
    };
    let context = context("flaky", directory.path());
    let built = BuiltExporter { exporter: Box::new(exporter), helper };
    let (queue, task) = exporter_helper::spawn(built, context.clone()).await.unwrap();
    let (probe, fence) = (Probe::default(), Fence::default());
    let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1]));
    let columns = RecordBatch::try_from_iter([("duration_ns", numbers)]).unwrap();
    let origin = Origin::derived("aggregate".into(), None).behind(Some(fence.clone()));
    queue.send(EventBatch::columns(Signal::Traces, columns, origin, probe.ack())).await.unwrap();
    let retried = || context.telemetry.encode().contains("weir_exporter_retries_total{exporter=\"flaky\"} 1");
    let until = async |what: &str, condition: &dyn Fn() -> bool| {
        let wait = async {
            while !condition() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(60), wait).await.expect(what);
    };
    until("a try", &retried).await;
    fence.close();
    until("it is given up", &|| probe.outcome(0) == Some(Outcome::Failed)).await;
    drop(queue);
    task.finish(std::time::Duration::from_secs(10)).await;
    assert!(taken.lock().unwrap().is_empty());
}
