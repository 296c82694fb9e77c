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
use crate::journal::{Journal, Place};
use crate::known::{Entry, Known};
use crate::metrics::storage_errors;
use crate::progress::Progress;
use crate::series::{Earlier, Series, Source};

fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

fn source(shard: u32) -> Source {
    Source { operator: "aggregate".into(), shard }
}

fn series(service: usize, shard: u32, last_end: i64) -> Series {
    Series {
        name: "slow".into(),
        rule: None,
        source: source(shard),
        labels: [("service".into(), format!("service-{service}"))].into(),
        progress: Progress::default(),
        last_end,
        size: 7,
        starts_at: last_end,
        compared: Compared::default(),
        earlier: Earlier::default(),
    }
}

async fn open(storage: Arc<dyn Storage>, shortest: u64) -> (Journal, Known) {
    let context: Context = test_context();
    let errors = storage_errors(&context);
    let place = Place { storage, context, pipeline: "main".to_owned(), errors, shortest };
    place.open(CancellationToken::new()).await.unwrap()
}

/// What is remembered of both sources after each of their first windows.
fn view(known: &Known) -> Vec<String> {
    let all = (0..2).flat_map(|shard| (0..60).map(move |end| (shard, end)));
    let at = |(shard, end)| {
        let mut series = known.at(&source(shard), end).map(|(_, series)| series).unwrap_or_default();
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

    fn set_aside(&self, record: Record, reason: &str) {
        self.inner.set_aside(record, reason);
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
        let (journal, mut known) = open(Arc::new(storage), 600).await;
        let (probe, mut views, mut replaced) = (Probe::default(), vec![view(&known)], 0);
        for at in 0..18 {
            let (shard, end) = ((at % 2) as u32, at as i64);
            let mut entries = vec![Entry::Changed {
                source: source(shard),
                end,
                set: vec![series(at % 5, shard, end), series(7, shard, end)],
                gone: vec![series((at + 2) % 5, shard, 0).key()],
            }];
            if at % 7 == 6 {
                entries.insert(0, Entry::Back { source: source(shard), limit: Some(end - 4) });
            }
            let before = views.len() - 1;
            for entry in &entries {
                known.apply(entry.clone());
                views.push(view(&known));
            }
            journal.write(&entries, probe.ack());
            if journal.is_long() {
                journal.replace(&known.whole());
                replaced += 1;
            }
            settle(&probe).await;
            let let_go = views.len() - 1;
            let taken = std::mem::take(&mut *images.taken.lock().unwrap());
            for image in taken {
                let (_, found) = open(Disk::of(image).await.storage(), 600).await;
                let found = view(&found);
                // A crash before this change was let go may leave part of it, but never less than what came before.
                assert!(views[before..].contains(&found), "after {at}: {found:#?}\nbut {:#?}", views[let_go]);
            }
            let (_, found) = open(disk.after_a_crash().await.storage(), 600).await;
            assert_eq!(view(&found), views[let_go], "after {at}");
        }
        assert!(replaced > 3, "replaced {replaced} times");
    });
}

#[test]
fn the_log_stays_short_however_much_changes() {
    run(async {
        let disk = Disk::new().await;
        let (journal, mut known) = open(disk.storage(), 20_000).await;
        let probe = Probe::default();
        // Four times what the storage has room for.
        for at in 0..3000_i64 {
            let set: Vec<Series> = (0..8).map(|service| series(service, 0, at)).collect();
            let entry = Entry::Changed { source: source(0), end: at, set, gone: Vec::new() };
            known.apply(entry.clone());
            known.trim(&source(0), at - 3);
            journal.write(&[entry], probe.ack());
            if journal.is_long() {
                journal.replace(&known.whole());
            }
            if at % 50 == 0 {
                settle(&probe).await;
            }
        }
        tokio::time::timeout(std::time::Duration::from_secs(60), settle(&probe))
            .await
            .expect("there is room");
        let (_, found) = open(disk.after_a_crash().await.storage(), 20_000).await;
        let (end, found) = found.at(&source(0), i64::MAX).unwrap();
        assert_eq!((end, found.len()), (2999, 8));
    });
}
