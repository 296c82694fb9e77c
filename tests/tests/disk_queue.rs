//! An exporter's queue on disk: a destination that is down, `kill -9`, a torn record, a flipped byte, a
//! bounded disk.
//!
//! `WEIR_SEED=n` chooses the moments of the kills.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use weir_tests::{Metrics, Weir, free_port, wait_until};

const TIMEOUT: Duration = Duration::from_secs(60);
const BATCH: usize = 100;

/// The path of the input, and of a queue of at most `max_bytes`.
fn config(port: u16, input: &str, max_bytes: &str) -> String {
    format!(
        "
receivers:
  file: {{path: {input}, max_batch_rows: {BATCH}}}
exporters:
  file:
    path: out.jsonl
    queue: {{storage: storage}}
    batch: {{max_rows: {BATCH}, timeout: 1ms}}
    retry: {{initial_interval: 10ms, max_interval: 20ms}}
extensions:
  storage: {{directory: disk, max_bytes: {max_bytes}, segment_bytes: 64KiB}}
service:
  extensions: [storage]
  shutdown_timeout: 20s
  telemetry: {{metrics: {{address: '127.0.0.1:{port}'}}}}
  pipelines:
    main: {{receivers: [file], exporters: [file]}}
"
    )
}

fn rows(count: usize) -> String {
    let row = |at: usize| {
        format!(
            "{{\"signal\":\"traces\",\"time\":{},\"service\":\"shop\",\"operation\":\"op-{at}\"}}\n",
            at + 1_000
        )
    };
    (0..count).map(row).collect()
}

/// How often each row is in the output. A kill may leave half a line there, before its row comes again.
fn delivered(folder: &Path, count: usize) -> Result<Vec<usize>> {
    let text = std::fs::read_to_string(folder.join("out.jsonl"))?;
    let mut times = vec![0; count];
    for part in text.split("\"operation\":\"op-").skip(1) {
        let whole = part.split_once('"').filter(|(_, rest)| rest.contains('}'));
        if let Some(at) = whole.and_then(|(number, _)| number.parse::<usize>().ok()) {
            *times.get_mut(at).context("a row that was never sent")? += 1;
        }
    }
    Ok(times)
}

/// The queue's segments, in order.
fn segments(folder: &Path) -> Result<Vec<PathBuf>> {
    let files = std::fs::read_dir(folder.join("disk/queues/file"))?;
    let mut files: Vec<PathBuf> = files.map(|file| Ok(file?.path())).collect::<Result<_>>()?;
    files.retain(|path| path.extension() == Some("log".as_ref()));
    files.sort();
    Ok(files)
}

/// The destination fails as a full disk does.
fn block(folder: &Path) -> Result<()> {
    Ok(symlink("/dev/full", folder.join("out.jsonl"))?)
}

fn unblock(folder: &Path) -> Result<()> {
    Ok(std::fs::remove_file(folder.join("out.jsonl"))?)
}

async fn sum(port: u16, name: &str) -> Result<f64> {
    let page = Metrics::scrape(&format!("127.0.0.1:{port}")).await?;
    Ok(page.sum(name, &[]).unwrap_or_default())
}

/// Waits until this many records are in the queue.
async fn records(port: u16, count: usize) -> Result<()> {
    let what = format!("{count} records in the queue");
    wait_until(&what, TIMEOUT, async || {
        // The page is there a moment after the program has started.
        let found = sum(port, "weir_storage_queue_records").await.unwrap_or(-1.0);
        Ok((found == count as f64).then_some(()))
    })
    .await
}

#[tokio::test]
async fn what_waits_on_disk_survives_kills_and_damage_costs_only_the_records_it_hits() -> Result<()> {
    const ROWS: usize = 20_000;
    let seed = std::env::var("WEIR_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1);
    println!("WEIR_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let folder = std::sync::Arc::new(tempfile::tempdir()?);
    std::fs::write(folder.path().join("input.jsonl"), rows(ROWS))?;
    std::fs::write(folder.path().join("empty.jsonl"), "")?;
    block(folder.path())?;

    // All of it is on disk, nothing is delivered, the program crashes.
    let port = free_port()?;
    let weir = Weir::start_in(folder.clone(), &config(port, "input.jsonl", "64MiB"), &[], &[])?;
    records(port, ROWS / BATCH).await?;
    weir.kill()?;
    unblock(folder.path())?;

    // The last record is torn; a byte in the middle of the first segment is flipped.
    let files = segments(folder.path())?;
    let (first, last) = (&files[0], files.last().context("segments")?);
    assert!(files.len() > 2, "{files:?}");
    let whole = last.metadata()?.len();
    std::fs::OpenOptions::new().write(true).open(last)?.set_len(whole - 5)?;
    let mut bytes = std::fs::read(first)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x01;
    std::fs::write(first, bytes)?;

    // It crashes again and again while it delivers.
    let (mut torn, mut corrupt) = (0.0, 0.0);
    for life in 0..6 {
        let port = free_port()?;
        let mut weir = Weir::start_in(folder.clone(), &config(port, "empty.jsonl", "64MiB"), &[], &[])?;
        weir.wait_for_log("weir is running", TIMEOUT).await?;
        if life == 5 {
            records(port, 0).await?;
        } else {
            let before = delivered(folder.path(), ROWS).map_or(0, |times| times.iter().sum());
            let enough = before + random.random_range(0..2_000);
            wait_until("some progress", TIMEOUT, async || {
                let now: usize = delivered(folder.path(), ROWS).map_or(0, |times| times.iter().sum());
                let left = sum(port, "weir_storage_queue_records").await?;
                Ok((now >= enough || left == 0.0).then_some(()))
            })
            .await?;
        }
        torn += sum(port, "weir_storage_torn_tails_total").await?;
        corrupt += sum(port, "weir_storage_corrupt_records_total").await?;
        if life == 5 {
            assert_eq!(weir.terminate(TIMEOUT).await?.code, Some(0));
        } else {
            weir.kill()?;
        }
    }
    let times = delivered(folder.path(), ROWS)?;
    let lost: Vec<usize> = (0..ROWS).filter(|at| times[*at] == 0).collect();
    let flipped = lost[0];
    let expected: Vec<usize> = (flipped..flipped + BATCH).chain(ROWS - BATCH..ROWS).collect();
    assert_eq!(flipped % BATCH, 0);
    assert_eq!(lost, expected, "exactly the two damaged records");
    assert_eq!(torn, 1.0, "the torn record is reported, once");
    assert!(corrupt >= 1.0, "the flipped byte is reported");
    let again = times.iter().filter(|times| **times > 1).count();
    println!("delivered more than once: {again} of {ROWS} rows");
    let quarantined = std::fs::read_dir(folder.path().join("disk/queues/file"))?
        .filter(|file| file.as_ref().is_ok_and(|file| file.path().extension() == Some("corrupt".as_ref())));
    assert_eq!(quarantined.count(), 1, "the damaged bytes are quarantined");
    Ok(())
}

#[tokio::test]
async fn the_disk_stays_within_its_bound_and_the_input_waits() -> Result<()> {
    const ROWS: usize = 30_000;
    const BOUND: u64 = 512 << 10;
    let folder = std::sync::Arc::new(tempfile::tempdir()?);
    std::fs::write(folder.path().join("input.jsonl"), rows(ROWS))?;
    block(folder.path())?;
    let port = free_port()?;
    let mut weir =
        Weir::start_in(folder.clone(), &config(port, "input.jsonl", "512KiB"), &["--exit-on-end"], &[])?;
    let disk = || -> Result<u64> {
        // A segment may be deleted while its size is asked for.
        Ok(segments(folder.path())?
            .iter()
            .filter_map(|path| path.metadata().ok())
            .map(|file| file.len())
            .sum())
    };
    weir.wait_for_log("the queue is full", TIMEOUT).await?;
    let full = disk()?;
    assert!(full <= BOUND && full > BOUND / 2, "{full} bytes");
    unblock(folder.path())?;
    wait_until("everything to be delivered", TIMEOUT, async || {
        let used = disk()?;
        assert!(used <= BOUND, "{used} bytes");
        Ok(delivered(folder.path(), ROWS)
            .is_ok_and(|times| times.iter().all(|times| *times > 0))
            .then_some(()))
    })
    .await?;
    assert_eq!(weir.wait(TIMEOUT).await?.code, Some(0));
    assert!(delivered(folder.path(), ROWS)?.iter().all(|times| *times == 1), "without a crash: once");
    Ok(())
}
