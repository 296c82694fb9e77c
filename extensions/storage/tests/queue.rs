//! The queue as components use it: waiting, confirming, ending, owning.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use weir_component::storage::{DiskQueue, Storage, StorageError};
use weir_component::testkit::context;
use weir_component::{Extension, Telemetry};
use weir_extension_storage::{Fsync, Limits, StorageConfig, StorageExtension};

const SMALL: Limits = Limits { max_bytes: 2_000, segment_bytes: 500, fsync: Fsync::Always };

fn extension(directory: &Path, limits: Limits) -> (StorageExtension, Telemetry) {
    let context = context("storage", directory);
    let telemetry = context.telemetry.clone();
    let config = StorageConfig { directory: directory.join("storage"), limits };
    (StorageExtension::new(config, context), telemetry)
}

async fn started(directory: &Path, limits: Limits) -> (StorageExtension, Arc<dyn Storage>, Telemetry) {
    let (extension, telemetry) = extension(directory, limits);
    extension.start().await.unwrap();
    let storage = extension.storage().unwrap();
    (extension, storage, telemetry)
}

/// Fails the test when it takes long.
async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(30), what).await.unwrap()
}

/// The next record, acknowledged.
async fn take(queue: &Arc<dyn DiskQueue>) -> Vec<u8> {
    let record = soon(queue.next()).await.unwrap();
    queue.acknowledge(record.number);
    record.payload
}

#[tokio::test]
async fn what_is_not_acknowledged_comes_again_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    for fsync in [Fsync::Always, Fsync::Interval(Duration::from_millis(5)), Fsync::Never] {
        let limits = Limits { max_bytes: 1 << 20, segment_bytes: 1_000, fsync };
        let (extension, storage, _) = started(directory.path(), limits).await;
        let queue = storage.open_queue("clickhouse/main").await.unwrap();
        for at in 0..100u8 {
            queue.append(vec![at; 30]).await.unwrap();
        }
        assert_eq!(queue.records(), 100);
        for at in 0..60 {
            assert_eq!(take(&queue).await, [at; 30]);
        }
        drop(queue);
        extension.stop().await;
        let (extension, storage, _) = started(directory.path(), limits).await;
        let queue = storage.open_queue("clickhouse/main").await.unwrap();
        assert_eq!(queue.records(), 40, "{fsync:?}");
        for at in 60..100 {
            assert_eq!(take(&queue).await, [at; 30]);
        }
        queue.end();
        assert_eq!(soon(queue.next()).await, None);
        extension.stop().await;
    }
}

#[tokio::test]
async fn appends_wait_while_the_queue_is_full_and_keep_their_order() {
    let directory = tempfile::tempdir().unwrap();
    let (extension, storage, _) = started(directory.path(), SMALL).await;
    let queue = storage.open_queue("q").await.unwrap();
    let writer = Arc::clone(&queue);
    let writing = tokio::spawn(async move {
        for at in 0..100u8 {
            writer.append(vec![at; 100]).await.unwrap();
        }
        writer.end();
    });
    // The queue fills without a reader, and no more.
    soon(async {
        while queue.bytes() < 1_800 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    assert!(!writing.is_finished());
    let mut next = 0;
    while let Some(record) = soon(queue.next()).await {
        assert!(queue.bytes() <= SMALL.max_bytes);
        assert_eq!(record.payload, [next; 100]);
        queue.acknowledge(record.number);
        next += 1;
    }
    assert_eq!(next, 100);
    writing.await.unwrap();
    extension.stop().await;
}

#[tokio::test]
async fn many_writers_share_the_queue_and_every_record_is_confirmed_once() {
    let directory = tempfile::tempdir().unwrap();
    let limits = Limits { max_bytes: 1 << 20, segment_bytes: 4_000, fsync: Fsync::Always };
    let (extension, storage, _) = started(directory.path(), limits).await;
    let queue = storage.open_queue("q").await.unwrap();
    let writers: Vec<_> = (0..50u8)
        .map(|at| {
            let queue = Arc::clone(&queue);
            tokio::spawn(async move { queue.append(vec![at; 40]).await.unwrap() })
        })
        .collect();
    let mut numbers = Vec::new();
    for writer in writers {
        numbers.push(soon(writer).await.unwrap());
    }
    let mut payloads = std::collections::BTreeSet::new();
    for _ in 0..50 {
        payloads.insert(take(&queue).await);
    }
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=50).collect::<Vec<_>>());
    assert_eq!(payloads.len(), 50);
    extension.stop().await;
}

#[tokio::test]
async fn a_dropped_wait_for_a_record_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (extension, storage, _) = started(directory.path(), SMALL).await;
    let queue = storage.open_queue("q").await.unwrap();
    for at in 0..20u8 {
        for _ in 0..3 {
            let _ = tokio::time::timeout(Duration::from_micros(50), queue.next()).await.map(|record| {
                panic!("nothing was appended: {record:?}");
            });
        }
        queue.append(vec![at]).await.unwrap();
        assert_eq!(take(&queue).await, [at]);
    }
    extension.stop().await;
}

#[tokio::test]
async fn a_directory_has_one_owner_and_a_queue_is_open_once() {
    let directory = tempfile::tempdir().unwrap();
    let (first, storage, _) = started(directory.path(), SMALL).await;
    let (second, _) = extension(directory.path(), SMALL);
    let error = second.start().await.unwrap_err().to_string();
    assert!(error.contains("in use"), "{error}");
    let queue = storage.open_queue("q").await.unwrap();
    let Err(again) = storage.open_queue("q").await else { panic!("it is open already") };
    assert!(again.to_string().contains("open already"), "{again}");
    queue.close().await;
    drop(storage.open_queue("q").await.unwrap());
    first.stop().await;
    second.start().await.unwrap();
    second.stop().await;
}

#[tokio::test]
async fn a_storage_that_is_not_started_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let (extension, _) = extension(directory.path(), SMALL);
    let storage = extension.storage().unwrap();
    let error = storage.put("a", "b", Vec::new()).await.unwrap_err();
    assert_eq!(error, StorageError::Closed("the storage `storage`".to_owned()));
    extension.start().await.unwrap();
    let queue = storage.open_queue("q").await.unwrap();
    extension.stop().await;
    assert_eq!(queue.append(b"late".to_vec()).await, Err(StorageError::Closed("the queue `q`".to_owned())));
    assert_eq!(queue.next().await, None);
}

#[tokio::test]
async fn a_record_that_can_never_fit_is_refused_and_the_others_are_not() {
    let directory = tempfile::tempdir().unwrap();
    let (extension, storage, _) = started(directory.path(), SMALL).await;
    let queue = storage.open_queue("q").await.unwrap();
    let max = queue.max_record();
    let error = queue.append(vec![0; 5_000]).await.unwrap_err();
    assert_eq!(error, StorageError::TooLarge { bytes: 5_000, max });
    queue.append(vec![0; usize::try_from(max).unwrap()]).await.unwrap();
    extension.stop().await;
}

#[tokio::test]
async fn a_disk_that_refuses_to_write_makes_appends_wait_and_is_tried_again() {
    let directory = tempfile::tempdir().unwrap();
    let context = context("storage", directory.path());
    let health = context.health.clone();
    let config = StorageConfig { directory: directory.path().join("storage"), limits: SMALL };
    let extension = StorageExtension::new(config, context);
    extension.start().await.unwrap();
    health.started();
    let storage = extension.storage().unwrap();
    let queue = storage.open_queue("q").await.unwrap();
    let folder = directory.path().join("storage/queues/q");
    let away = directory.path().join("away");
    std::fs::rename(&folder, &away).unwrap();
    let writer = Arc::clone(&queue);
    let writing = tokio::spawn(async move { writer.append(b"patient".to_vec()).await });
    let until = async |name: &str| {
        while health.read().status.name() != name {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    soon(until("StatusRecoverableError")).await;
    assert!(health.read().status.error().unwrap().contains("queue q: cannot write"));
    assert!(!writing.is_finished());
    std::fs::rename(&away, &folder).unwrap();
    assert_eq!(soon(writing).await.unwrap(), Ok(1));
    assert_eq!(take(&queue).await, b"patient");
    soon(until("StatusOK")).await;
    extension.stop().await;
}

#[tokio::test]
async fn values_survive_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let (extension, storage, _) = started(directory.path(), SMALL).await;
    assert_eq!(storage.get("threshold", "alarms").await.unwrap(), None);
    storage.put("threshold", "alarms", b"firing".to_vec()).await.unwrap();
    extension.stop().await;
    let (extension, storage, _) = started(directory.path(), SMALL).await;
    assert_eq!(storage.get("threshold", "alarms").await.unwrap().unwrap(), b"firing");
    extension.stop().await;
}

#[tokio::test]
async fn the_state_of_a_queue_is_in_the_metrics() {
    let directory = tempfile::tempdir().unwrap();
    let (extension, storage, telemetry) = started(directory.path(), SMALL).await;
    let queue = storage.open_queue("q").await.unwrap();
    queue.append(vec![7; 10]).await.unwrap();
    queue.append(vec![7; 10]).await.unwrap();
    let text = telemetry.encode();
    assert!(text.contains("weir_storage_queue_bytes{storage=\"storage\",queue=\"q\"} 92"), "{text}");
    assert!(text.contains("weir_storage_queue_records{storage=\"storage\",queue=\"q\"} 2"), "{text}");
    extension.stop().await;
}
