//! The log against a model: random operations, crashes, torn tails, flipped bytes, bounded disk.
//!
//! `WEIR_SEED=n` runs one seed.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use weir_component::Telemetry;
use weir_extension_storage::log::{AppendError, Log};
use weir_extension_storage::{Fsync, Limits, QueueMetrics};

fn limits(max_bytes: u64, segment_bytes: u64) -> Limits {
    Limits { max_bytes, segment_bytes, fsync: Fsync::Never }
}

fn metrics() -> QueueMetrics {
    QueueMetrics::new(&Telemetry::default(), "storage", "q")
}

fn open(directory: &Path, limits: Limits) -> (Log, QueueMetrics) {
    let metrics = metrics();
    (Log::open(directory, limits, metrics.clone()).unwrap(), metrics)
}

/// Everything that is not acknowledged, in the order it is read.
fn read_all(log: &mut Log) -> Vec<(u64, Vec<u8>)> {
    std::iter::from_fn(|| log.read().unwrap()).map(|record| (record.number, record.payload)).collect()
}

/// The segments, in order.
fn segments(directory: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension() == Some("log".as_ref()))
        .collect();
    files.sort();
    files
}

fn disk(directory: &Path) -> u64 {
    segments(directory).iter().map(|path| path.metadata().unwrap().len()).sum()
}

fn seeds(count: u64) -> std::ops::Range<u64> {
    match std::env::var("WEIR_SEED").ok().and_then(|seed| seed.parse::<u64>().ok()) {
        Some(seed) => seed..seed + 1,
        None => 0..count,
    }
}

/// A queue as it must behave.
#[derive(Default)]
struct Model {
    appended: BTreeMap<u64, Vec<u8>>,
    acknowledged: BTreeSet<u64>,
    /// Read since the last start.
    read: u64,
}

impl Model {
    /// Records that must come, from the one after the last that was read.
    fn unread(&self) -> impl Iterator<Item = (&u64, &Vec<u8>)> {
        self.appended.range(self.read + 1..).filter(|(number, _)| !self.acknowledged.contains(number))
    }

    fn left(&self) -> u64 {
        (self.appended.len() - self.acknowledged.len()) as u64
    }

    /// Records that were acknowledged out of order come again.
    fn restart(&mut self) {
        self.read = (1..).take_while(|number| self.acknowledged.contains(number)).last().unwrap_or(0);
        self.acknowledged.retain(|number| *number <= self.read);
    }
}

#[test]
fn random_operations_and_crashes_lose_nothing_and_repeat_nothing_within_a_run() {
    for seed in seeds(150) {
        println!("WEIR_SEED={seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let directory = tempfile::tempdir().unwrap();
        let limits = limits(random.random_range(2_000..6_000), random.random_range(100..1_200));
        let (mut log, _) = open(directory.path(), limits);
        let mut model = Model::default();
        let mut out = Vec::new();
        for _ in 0..300 {
            match random.random_range(0..100) {
                0..45 => {
                    let length = random.random_range(0..300);
                    let payload: Vec<u8> = (0..length).map(|_| random.random()).collect();
                    match log.append(&payload) {
                        Ok(number) => {
                            assert_eq!(number, model.appended.len() as u64 + 1);
                            model.appended.insert(number, payload);
                        }
                        Err(AppendError::Full) => assert!(model.left() > 0, "an empty queue has room"),
                        Err(error) => panic!("{error}"),
                    }
                }
                45..70 => {
                    let record = log.read().unwrap().map(|record| (record.number, record.payload));
                    let expected = model.unread().next().map(|(number, payload)| (*number, payload.clone()));
                    assert_eq!(record, expected);
                    if let Some((number, _)) = record {
                        model.read = number;
                        out.push(number);
                    }
                }
                70..92 if !out.is_empty() => {
                    let number = out.swap_remove(random.random_range(0..out.len()));
                    log.acknowledge(number);
                    model.acknowledged.insert(number);
                }
                92..96 => {
                    if random.random() {
                        log.close().unwrap();
                    } else {
                        drop(log); // a crash
                    }
                    // Half of the time in the middle of an append.
                    let half: Vec<u8> = (0..random.random_range(1..19)).map(|_| random.random()).collect();
                    let last = segments(directory.path()).pop().filter(|_| random.random());
                    if let Some(last) = &last {
                        let mut bytes = std::fs::read(last).unwrap();
                        bytes.extend(half);
                        std::fs::write(last, bytes).unwrap();
                    }
                    let metrics;
                    (log, metrics) = open(directory.path(), limits);
                    assert_eq!(metrics.corrupt_records.get(), 0);
                    assert_eq!(metrics.torn_tails.get(), u64::from(last.is_some()));
                    model.restart();
                    out.clear();
                }
                _ => {}
            }
            assert_eq!(log.records(), model.left());
            assert!(disk(directory.path()) <= limits.max_bytes, "{} bytes", disk(directory.path()));
            assert_eq!(disk(directory.path()), log.bytes());
        }
        let expected: Vec<_> = model.unread().map(|(number, payload)| (*number, payload.clone())).collect();
        assert_eq!(read_all(&mut log), expected);
    }
}

/// A queue of `count` records of different lengths in several segments; `acknowledged` are acknowledged.
fn filled(directory: &Path, limits: Limits, count: u64, acknowledged: u64) -> Vec<(u64, Vec<u8>)> {
    let (mut log, _) = open(directory, limits);
    let mut records = Vec::new();
    for at in 0..count {
        let payload = vec![at as u8 + 1; (at as usize * 13) % 50];
        records.push((log.append(&payload).unwrap(), payload));
    }
    for _ in 0..acknowledged {
        let record = log.read().unwrap().unwrap();
        log.acknowledge(record.number);
    }
    log.close().unwrap();
    records.split_off(usize::try_from(acknowledged).unwrap())
}

fn copy(from: &Path, to: &Path) {
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

#[test]
fn a_last_record_cut_at_any_byte_is_cut_off_and_reported_once() {
    let limits = limits(10_000, 200);
    let original = tempfile::tempdir().unwrap();
    let records = filled(original.path(), limits, 12, 0);
    let span = 20 + records.last().unwrap().1.len() as u64;
    let last = segments(original.path()).pop().unwrap().file_name().unwrap().to_owned();
    for cut in 1..span {
        let directory = tempfile::tempdir().unwrap();
        copy(original.path(), directory.path());
        let path = directory.path().join(&last);
        let whole = path.metadata().unwrap().len();
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(whole - cut).unwrap();
        let (mut log, metrics) = open(directory.path(), limits);
        assert_eq!(metrics.torn_tails.get(), 1, "cut {cut}");
        assert_eq!(log.append(b"new").unwrap(), 12, "cut {cut}");
        let read = read_all(&mut log);
        assert_eq!(read[..11], records[..11], "cut {cut}");
        assert_eq!(read[11..], [(12, b"new".to_vec())], "cut {cut}");
        drop(log);
        let (_, metrics) = open(directory.path(), limits);
        assert_eq!((metrics.torn_tails.get(), metrics.corrupt_records.get()), (0, 0), "cut {cut}");
    }
}

#[test]
fn a_tail_of_zeros_is_an_interrupted_write() {
    let limits = limits(10_000, 5_000);
    let directory = tempfile::tempdir().unwrap();
    let records = filled(directory.path(), limits, 5, 0);
    let last = segments(directory.path()).pop().unwrap();
    let mut bytes = std::fs::read(&last).unwrap();
    bytes.resize(bytes.len() + 4096, 0);
    std::fs::write(&last, bytes).unwrap();
    let (mut log, metrics) = open(directory.path(), limits);
    assert_eq!((metrics.torn_tails.get(), metrics.corrupt_records.get()), (1, 0));
    assert_eq!(read_all(&mut log), records);
}

#[test]
fn a_flipped_byte_anywhere_costs_at_most_the_record_it_hits() {
    let limits = limits(10_000, 200);
    for acknowledged in [0, 2] {
        let original = tempfile::tempdir().unwrap();
        let records = filled(original.path(), limits, 12, acknowledged);
        let files = segments(original.path());
        assert!(files.len() > 2, "several segments");
        for file in &files {
            for byte in 0..file.metadata().unwrap().len() as usize {
                let at = format!("{} byte {byte}", file.display());
                let directory = tempfile::tempdir().unwrap();
                copy(original.path(), directory.path());
                let path = directory.path().join(file.file_name().unwrap());
                let mut bytes = std::fs::read(&path).unwrap();
                bytes[byte] ^= 0x10;
                std::fs::write(&path, bytes).unwrap();
                let (mut log, metrics) = open(directory.path(), limits);
                let mut read = read_all(&mut log);
                let lost = metrics.corrupt_records.get();
                assert!(lost <= 1, "{at}: {lost} lost");
                assert_eq!(read.len() as u64 + lost, records.len() as u64, "{at}");
                read.retain(|record| !records.contains(record));
                assert_eq!(read, [], "{at}: only what was appended");
                assert_eq!(metrics.torn_tails.get(), 0, "{at}");
                // The header of a segment costs no record. Of a record that was acknowledged before, nothing
                // is told.
                let quarantined = std::fs::read_dir(directory.path())
                    .unwrap()
                    .filter(|file| file.as_ref().unwrap().path().extension() == Some("corrupt".as_ref()))
                    .count();
                assert!(quarantined > 0 || lost == 0, "{at}: lost without a trace");
                assert!(lost == 0 || metrics.corrupt_segments.get() == 1, "{at}");
                if acknowledged == 0 {
                    assert!(quarantined == 1 && metrics.corrupt_segments.get() == 1, "{at}: seen");
                }
            }
        }
    }
}

#[test]
fn random_damage_never_stops_a_queue_and_what_is_returned_was_appended() {
    for seed in seeds(300) {
        println!("WEIR_SEED={seed}");
        let mut random = StdRng::seed_from_u64(seed);
        let directory = tempfile::tempdir().unwrap();
        let limits = limits(10_000, 300);
        let records = filled(directory.path(), limits, 20, 0);
        for _ in 0..random.random_range(1..5) {
            let mut files = segments(directory.path());
            if files.is_empty() {
                break;
            }
            let path = files.swap_remove(random.random_range(0..files.len()));
            let mut bytes = std::fs::read(&path).unwrap();
            let at = random.random_range(0..=bytes.len());
            match random.random_range(0..5) {
                0 => bytes.truncate(at),
                1 => bytes.extend((0..random.random_range(0..100)).map(|_| random.random::<u8>())),
                2 => bytes[at..].fill(0),
                3 => bytes[at..].iter_mut().for_each(|byte| *byte = random.random()),
                _ => {
                    std::fs::remove_file(&path).unwrap();
                    continue;
                }
            }
            std::fs::write(&path, bytes).unwrap();
        }
        let (mut log, _) = open(directory.path(), limits);
        let new = log.append(b"after the damage").unwrap();
        let read = read_all(&mut log);
        assert_eq!(read.last().unwrap().0, new);
        assert!(read.windows(2).all(|pair| pair[0].0 < pair[1].0), "in order");
        assert!(read[..read.len() - 1].iter().all(|record| records.contains(record)));
        read.iter().for_each(|(number, _)| log.acknowledge(*number));
        assert_eq!(log.records(), 0);
        log.close().unwrap();
        let (mut log, metrics) = open(directory.path(), limits);
        assert_eq!(read_all(&mut log), []);
        assert_eq!(metrics.corrupt_records.get(), 0, "what is done with is not counted again");
    }
}

#[test]
fn without_a_position_file_everything_left_is_delivered_again() {
    let limits = limits(10_000, 200);
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), limits, 12, 2);
    std::fs::remove_file(directory.path().join("position")).unwrap();
    let (mut log, metrics) = open(directory.path(), limits);
    let read = read_all(&mut log);
    assert_eq!(read.last().unwrap().0, 12);
    assert!(read.len() >= 10);
    assert_eq!(metrics.corrupt_records.get(), 0);
}

#[test]
fn a_full_queue_refuses_until_a_segment_is_acknowledged() {
    let limits = limits(1_000, 250);
    let directory = tempfile::tempdir().unwrap();
    let (mut log, _) = open(directory.path(), limits);
    let mut appended = 0;
    while log.append(&[7; 50]).is_ok() {
        appended += 1;
    }
    assert!(matches!(log.append(&[7; 50]), Err(AppendError::Full)));
    assert!(disk(directory.path()) <= 1_000);
    let first = log.read().unwrap().unwrap();
    log.acknowledge(first.number);
    assert!(matches!(log.append(&[7; 50]), Err(AppendError::Full)), "the segment has more records");
    for _ in 1..appended {
        let record = log.read().unwrap().unwrap();
        log.acknowledge(record.number);
    }
    // The largest record needs the whole bound.
    let largest = usize::try_from(log.max_record()).unwrap();
    log.append(&vec![1; largest]).unwrap();
    assert_eq!(disk(directory.path()), 1_000);
    let record = log.read().unwrap().unwrap();
    assert_eq!(record.payload.len(), largest);
    assert!(matches!(log.append(&vec![1; largest + 1]), Err(AppendError::TooLarge(_))));
}

#[test]
fn a_record_that_cannot_be_used_is_quarantined_and_done_with() {
    let limits = limits(100_000, 10_000);
    let directory = tempfile::tempdir().unwrap();
    let (mut log, metrics) = open(directory.path(), limits);
    log.append(b"nonsense").unwrap();
    let record = log.read().unwrap().unwrap();
    log.quarantine(&record, "not a batch");
    assert_eq!((log.records(), metrics.corrupt_records.get()), (0, 1));
    let kept = directory.path().join("00000000000000000001-record.corrupt");
    assert_eq!(std::fs::read(kept).unwrap(), b"nonsense");
}

#[test]
fn a_segment_of_another_version_is_refused_with_a_reason() {
    let limits = limits(10_000, 200);
    let directory = tempfile::tempdir().unwrap();
    filled(directory.path(), limits, 12, 0);
    let path = segments(directory.path()).remove(1);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[8] = 9;
    let check = crc32fast::hash(&bytes[..28]);
    bytes[28..32].copy_from_slice(&check.to_le_bytes());
    std::fs::write(&path, bytes).unwrap();
    let error = Log::open(directory.path(), limits, metrics()).unwrap_err().to_string();
    assert!(error.contains("format version 9"), "{error}");
}

#[test]
fn what_a_failed_sync_takes_back_can_be_appended_again() {
    for synced in [0, 3] {
        let limits = Limits { fsync: Fsync::Always, ..limits(10_000, 1_000) };
        let directory = tempfile::tempdir().unwrap();
        let (mut log, _) = open(directory.path(), limits);
        let mut records: Vec<_> = (0..synced).map(|at| (log.append(&[at]).unwrap(), vec![at])).collect();
        log.sync().unwrap();
        assert_eq!(read_all(&mut log), records);
        log.append(b"lost").unwrap();
        log.append(b"lost too").unwrap();
        assert_eq!(log.withdraw_unsynced(), 2);
        assert_eq!((log.records(), log.bytes()), (u64::from(synced), disk(directory.path())));
        records.push((log.append(b"again").unwrap(), b"again".to_vec()));
        log.sync().unwrap();
        assert_eq!(read_all(&mut log), records[usize::from(synced)..]);
        drop(log);
        let (mut log, metrics) = open(directory.path(), limits);
        assert_eq!(read_all(&mut log), records);
        assert_eq!(metrics.corrupt_records.get(), 0);
    }
}
