//! The log of changes: a crash at any place of it, and its length.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use weir_alarms::Compared;
use weir_component::Context;
use weir_component::storage::{Appending, DiskQueue, Record, Storage, StorageError};
use weir_component::testkit::Probe;

use super::disk::{Disk, copy};
use super::test_context;
use crate::evaluation::alarm_state::AlarmState;
use crate::evaluation::series::{Earlier, Series};
use crate::evaluation::told::Told;
use crate::evaluation::windows::WindowStream;
use crate::state::journal::Journal;
use crate::state::journal::store::JournalStore;
use crate::state::remembered::{LogEntry, RememberedSeries};

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

fn stream(shard: u32) -> WindowStream {
    WindowStream { operator: "aggregate".into(), shard }
}

fn series(service: usize, shard: u32, last_end: i64) -> Series {
    Series {
        name: "slow".into(),
        rule: None,
        stream: stream(shard),
        labels: [("service".into(), format!("service-{service}"))].into(),
        state: AlarmState::default(),
        told: Told::default(),
        silent: None,
        is_over: false,
        own: Arc::default(),
        last_end,
        size: 7,
        starts_at: last_end,
        compared: Compared::default(),
        earlier: Earlier::default(),
        values: Arc::default(),
        past: None,
    }
}

async fn open(storage: Arc<dyn Storage>, shortest: u64) -> (Journal, RememberedSeries) {
    open_in(test_context(), storage, shortest).await
}

async fn open_in(context: Context, storage: Arc<dyn Storage>, shortest: u64) -> (Journal, RememberedSeries) {
    let store = JournalStore { storage, context, pipeline: "main".to_owned(), shortest };
    store.open(CancellationToken::new()).await.unwrap()
}

/// The memory of both streams after each of their first windows.
fn view(known: &RememberedSeries) -> Vec<String> {
    let all = (0..2).flat_map(|shard| (0..60).map(move |end| (shard, end)));
    let at = |(shard, end)| {
        let mut series = known.at(&stream(shard), end).map(|(_, series)| series).unwrap_or_default();
        series.sort_by_key(Series::key);
        format!("{shard} {end} {}", serde_json::to_string(&series).unwrap())
    };
    all.map(at).collect()
}

/// Copies the folder of a storage before and after each thing that is done with its queue.
struct Watched {
    inner: Arc<dyn Storage>,
    images: Arc<Images>,
}

struct WatchedQueue {
    inner: Arc<dyn DiskQueue>,
    images: Arc<Images>,
}

struct Images {
    folder: std::path::PathBuf,
    taken: Mutex<Vec<tempfile::TempDir>>,
}

impl Images {
    fn take(&self) {
        self.taken.lock().unwrap().push(copy(&self.folder));
    }
}

#[async_trait]
impl Storage for Watched {
    async fn open_queue(&self, name: &str) -> Result<Arc<dyn DiskQueue>, StorageError> {
        let inner = self.inner.open_queue(name).await?;
        Ok(Arc::new(WatchedQueue { inner, images: Arc::clone(&self.images) }))
    }

    async fn put(&self, name: &str, key: &str, value: Vec<u8>) -> Result<(), StorageError> {
        self.inner.put(name, key, value).await
    }

    async fn get(&self, name: &str, key: &str) -> Result<Option<Vec<u8>>, StorageError> {
        self.inner.get(name, key).await
    }
}

#[async_trait]
impl DiskQueue for WatchedQueue {
    fn append(&self, record: Vec<u8>) -> Appending {
        self.images.take();
        self.inner.append(record)
    }

    fn max_record(&self) -> u64 {
        self.inner.max_record()
    }

    async fn next(&self) -> Option<Record> {
        self.images.take();
        self.inner.next().await
    }

    fn acknowledge(&self, number: u64) {
        self.inner.acknowledge(number);
        self.images.take();
    }

    fn quarantine(&self, record: Record, reason: &str) {
        self.inner.quarantine(record, reason);
    }

    fn end(&self) {
        self.inner.end();
    }

    fn bytes(&self) -> u64 {
        self.inner.bytes()
    }

    fn records(&self) -> u64 {
        self.inner.records()
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

async fn settle(probe: &Probe) {
    while probe.open() > 0 {
        tokio::task::yield_now().await;
    }
}

#[test]
fn a_crash_between_any_two_writes_loses_nothing_that_was_let_go() {
    run(async {
        let disk = Disk::new().await;
        let images = Arc::new(Images { folder: disk.path().to_owned(), taken: Mutex::default() });
        let storage = Watched { inner: disk.storage(), images: Arc::clone(&images) };
        // Short enough that it is replaced many times.
        let (mut journal, mut known) = open(Arc::new(storage), 600).await;
        let (probe, mut views) = (Probe::default(), vec![view(&known)]);
        for at in 0..18 {
            let (shard, end) = ((at % 2) as u32, at as i64);
            let mut entries = vec![LogEntry::Changed {
                stream: stream(shard),
                end,
                set: vec![series(at % 5, shard, end), series(7, shard, end)],
                gone: vec![series((at + 2) % 5, shard, 0).key()],
            }];
            if at % 7 == 6 {
                entries.insert(0, LogEntry::Back { stream: stream(shard), limit: Some(end - 4) });
            }
            let before = views.len() - 1;
            for entry in &entries {
                known.apply(entry.clone());
                views.push(view(&known));
            }
            journal.write(&entries, [(stream(shard), end)].into(), probe.ack(), &mut known);
            settle(&probe).await;
            let let_go = views.len() - 1;
            let taken = std::mem::take(&mut *images.taken.lock().unwrap());
            for image in taken {
                let (_, found) = open(Disk::of(image).await.storage(), 600).await;
                let found = view(&found);
                // A crash before this change was let go may leave part of it, but never less than what came
                // before.
                assert!(views[before..].contains(&found), "after {at}: {found:#?}\nbut {:#?}", views[let_go]);
            }
            let (_, found) = open(disk.after_a_crash().await.storage(), 600).await;
            assert_eq!(view(&found), views[let_go], "after {at}");
        }
        let (_, found) = open(disk.after_a_crash().await.storage(), 600).await;
        assert_eq!(view(&found), *views.last().unwrap());
    });
}

#[test]
fn the_log_stays_short_however_much_changes() {
    run(async {
        let disk = Disk::new().await;
        let (mut journal, mut known) = open(disk.storage(), 20_000).await;
        let probe = Probe::default();
        // Four times what the storage has room for.
        for at in 0..3000_i64 {
            let set: Vec<Series> = (0..8).map(|service| series(service, 0, at)).collect();
            let entry = LogEntry::Changed { stream: stream(0), end: at, set, gone: Vec::new() };
            known.apply(entry.clone());
            known.trim(&stream(0), at - 3);
            journal.write(&[entry], [(stream(0), at)].into(), probe.ack(), &mut known);
            if at % 50 == 0 {
                settle(&probe).await;
            }
        }
        tokio::time::timeout(std::time::Duration::from_secs(60), settle(&probe))
            .await
            .expect("there is room");
        let (_, found) = open(disk.after_a_crash().await.storage(), 20_000).await;
        let (end, found) = found.at(&stream(0), i64::MAX).unwrap();
        assert_eq!((end, found.len()), (2999, 8));
    });
}

async fn within_a_minute(probe: &Probe) {
    tokio::time::timeout(std::time::Duration::from_secs(60), settle(probe)).await.expect("there is room");
}

#[test]
fn a_series_that_is_too_long_is_not_kept_and_keeps_nothing_else_waiting() {
    run(async {
        let (disk, context) = (Disk::small().await, test_context());
        let (mut journal, mut known) = open_in(context.clone(), disk.storage(), 20_000).await;
        let probe = Probe::default();
        let long = Series { labels: [("service".into(), "x".repeat(300 << 10))].into(), ..series(0, 0, 1) };
        for (end, set) in [(1, vec![long.clone(), series(1, 0, 1)]), (2, vec![series(1, 0, 2), long])] {
            let entry = LogEntry::Changed { stream: stream(0), end, set, gone: Vec::new() };
            known.apply(entry.clone());
            journal.write(&[entry], [(stream(0), end)].into(), probe.ack(), &mut known);
        }
        within_a_minute(&probe).await;
        assert_eq!(probe.count(weir_pdata::Outcome::Done), 2);
        let (_, found) = open(disk.after_a_crash().await.storage(), 20_000).await;
        assert_eq!(found.at(&stream(0), 1).unwrap(), (1, vec![series(1, 0, 1)]));
        assert_eq!(found.at(&stream(0), 2).unwrap(), (2, vec![series(1, 0, 2)]));
        let counted = context.telemetry.encode();
        assert!(
            counted.contains("weir_threshold_series_not_kept_total{processor=\"threshold\"} 2"),
            "{counted}"
        );
    });
}

#[test]
fn more_series_than_there_is_room_for_keep_nothing_waiting() {
    run(async {
        let disk = Disk::small().await;
        let (mut journal, mut known) = open(disk.storage(), 20_000).await;
        let probe = Probe::default();
        // Some 300 bytes each: four times what the storage has room for.
        for end in 0..10_i64 {
            let set: Vec<Series> = (0..3000).map(|service| series(service, 0, end)).collect();
            let entry = LogEntry::Changed { stream: stream(0), end, set, gone: Vec::new() };
            known.apply(entry.clone());
            known.trim(&stream(0), end - 1);
            journal.write(&[entry], [(stream(0), end)].into(), probe.ack(), &mut known);
            within_a_minute(&probe).await;
        }
        let (_, found) = open(disk.after_a_crash().await.storage(), 20_000).await;
        let (end, found) = found.at(&stream(0), i64::MAX).unwrap();
        assert!(end == 9 && found.len() > 50, "{end}: {} series", found.len());
        assert!(found.iter().all(|series| series.last_end == 9), "none of them is older than the others");
    });
}

#[test]
fn what_waits_for_the_storage_is_bounded_and_all_of_it_is_let_go_when_it_is_written() {
    run(async {
        let disk = Disk::new().await;
        let gate = super::disk::Gate::before(disk.storage());
        let (mut journal, mut known) = open(Arc::new(gate.clone()), 2_000).await;
        let (probe, mut exported) = (Probe::default(), std::collections::VecDeque::new());
        gate.close();
        let mut most = (0, 0);
        for end in 0..4000_i64 {
            let set = vec![series(end as usize % 5, 0, end), series(7, 0, end)];
            let entry = LogEntry::Changed { stream: stream(0), end, set, gone: Vec::new() };
            known.apply(entry.clone());
            let ack = probe.ack();
            exported.push_back(ack.clone());
            journal.write(&[entry], [(stream(0), end)].into(), ack, &mut known);
            tokio::task::yield_now().await;
            // The exporters have all but the last three windows.
            exported.drain(..exported.len().saturating_sub(3));
            most = (most.0.max(journal.waiting_bytes()), most.1.max(known.whole().len()));
        }
        // Six series of 300 bytes, the changes of the last windows, and as much again until it is replaced.
        assert!(most.0 < 20_000 && most.1 < 40, "{most:?}");
        assert_eq!(probe.count(weir_pdata::Outcome::Done), 0, "nothing is written");
        gate.open();
        while probe.open() > 3 {
            tokio::task::yield_now().await;
        }
        let (_, found) = open(disk.after_a_crash().await.storage(), 2_000).await;
        for end in 3990..4000 {
            assert_eq!(
                found.at(&stream(0), end).map(|(end, _)| end),
                known.at(&stream(0), end).map(|(end, _)| end)
            );
        }
        let (end, found) = found.at(&stream(0), 3999).unwrap();
        assert_eq!((end, found.len()), (3999, 6));
        drop(exported);
        settle(&probe).await;
    });
}

/// As versions before 2026-11-30 wrote them: `ends` of an earlier line may come later, for windows that were
/// evaluated again.
const OLD: &str = r#"{"v":1,"ends":[[["aggregate",0],7000000000]],"series":[{"rule":"slow","source":["aggregate",0],"labels":[["operation","/pay"],["service","pay"]],"progress":{"firing":"high","run":0},"last_end":7000000000,"size":7000000000,"starts_at":7000000000,"measure":"max_duration_ns","threshold":2000000000.0},{"rule":"slow","source":["aggregate",0],"labels":[["service","ship"]],"progress":{"firing":null,"run":1},"last_end":7000000000,"size":7000000000,"starts_at":7000000000,"measure":null,"threshold":null}]}
{"v":1,"ends":[[["aggregate",0],14000000000]],"series":[{"rule":"slow","source":["aggregate",0],"labels":[["operation","/pay"],["service","pay"]],"progress":{"firing":"high","run":0},"last_end":14000000000,"size":7000000000,"starts_at":7000000000,"measure":"max_duration_ns","threshold":2000000000.0}]}"#;

#[test]
fn alarms_of_an_earlier_version_are_taken_over_once() {
    run(async {
        let disk = Disk::new().await;
        disk.storage().put("threshold", "main", OLD.as_bytes().to_vec()).await.unwrap();
        let services = |known: &RememberedSeries, end: i64| {
            let (end, series) = known.at(&stream(0), end * 1_000_000_000)?;
            let mut names: Vec<String> =
                series.iter().map(|series| series.labels.last().unwrap().1.clone()).collect();
            names.sort();
            Some((end / 1_000_000_000, names.join(" ")))
        };
        let (journal, known) = open(disk.storage(), 20_000).await;
        assert_eq!(services(&known, 6), None);
        assert_eq!(services(&known, 7), Some((7, "pay ship".to_owned())));
        assert_eq!(services(&known, 14), Some((14, "pay".to_owned())));
        drop(journal);
        assert_eq!(disk.storage().get("threshold", "main").await.unwrap(), Some(Vec::new()));
        // They are in the new place now.
        let (mut journal, mut known) = open(disk.after_a_crash().await.storage(), 20_000).await;
        assert_eq!(services(&known, 7), Some((7, "pay ship".to_owned())));
        let probe = Probe::default();
        let later =
            LogEntry::Changed { stream: stream(0), end: 21_000_000_000, set: Vec::new(), gone: Vec::new() };
        known.apply(later.clone());
        journal.write(&[later], [(stream(0), 21_000_000_000)].into(), probe.ack(), &mut known);
        within_a_minute(&probe).await;
    });
}

#[test]
fn a_value_that_is_not_of_an_earlier_version_is_reported_and_nothing_of_it_is_believed() {
    run(async {
        let disk = Disk::new().await;
        disk.storage().put("threshold", "main", b"{\"v\":2}".to_vec()).await.unwrap();
        let (_, known) = open(disk.storage(), 20_000).await;
        assert!(known.is_empty());
    });
}
