//! The exporter: one file per hour for what the helper exports together.

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

use arrow::array::RecordBatch;
use arrow::compute::concat_batches;
use async_trait::async_trait;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use weir_component::{Context, ExportError, Exporter, StartError};
use weir_pdata::attributes::without_copies;
use weir_pdata::{Demand, EventBatch, Signal, SignalSet};

use crate::config::Config;
use crate::error::LocalError;
use crate::files::{Directory, UnfinishedFile, publish};
use crate::flatten::Layout;
use crate::hours::{Hour, Hours};

/// Between two looks for hours that are too old.
const SWEEP_MS: i64 = 10 * 60 * 1_000;
/// Smaller batches are joined before they are converted.
const JOIN_ROWS: usize = 8_192;

/// Writes batches of any signal to Parquet files.
pub(crate) struct LocalExporter {
    config: Config,
    context: Context,
    directory: Directory,
    next_sweep_ms: AtomicI64,
    /// The lock on the directory, from the start on.
    lock: OnceLock<Option<File>>,
}

impl LocalExporter {
    /// An exporter with these settings.
    pub(crate) fn new(config: Config, context: Context) -> LocalExporter {
        let directory = Directory::new(&config.directory);
        LocalExporter {
            config,
            context,
            directory,
            next_sweep_ms: AtomicI64::new(i64::MIN),
            lock: OnceLock::new(),
        }
    }

    /// The time before which hours are to be deleted, when it is time to look.
    fn sweep(&self) -> Option<i64> {
        let retention = self.config.retention?;
        let now = self.context.clock.now_ms();
        let next = self.next_sweep_ms.load(Ordering::Relaxed);
        (now >= next).then(|| {
            self.next_sweep_ms.store(now.saturating_add(SWEEP_MS), Ordering::Relaxed);
            now.saturating_sub(retention.as_millis())
        })
    }
}

#[async_trait]
impl Exporter for LocalExporter {
    fn signals(&self) -> SignalSet {
        SignalSet::ALL
    }

    fn demand(&self) -> Demand {
        Demand::everything()
    }

    async fn start(&self) -> Result<(), StartError> {
        let directory = self.directory.clone();
        let failed = |reason: String| {
            StartError(format!(
                "{}: {reason}; set `directory` to a folder that weir may write",
                self.context.id
            ))
        };
        let mine = self.lock.get().is_some();
        let prepared = tokio::task::spawn_blocking(move || {
            // A second start of one exporter has the lock already.
            let lock = if mine { None } else { directory.lock()? };
            Ok::<_, LocalError>((lock, directory.prepare()?))
        });
        let (lock, removed) = match prepared.await {
            Ok(Ok(prepared)) => prepared,
            Ok(Err(error @ LocalError::InUse { .. })) => {
                return Err(StartError(format!("{}: {error}", self.context.id)));
            }
            Ok(Err(error)) => return Err(failed(error.to_string())),
            Err(error) => return Err(failed(error.to_string())),
        };
        if !mine {
            if lock.is_none() {
                let exporter = self.context.id.to_string();
                tracing::warn!(
                    exporter,
                    "the file system knows no locks: make sure that no other program has this directory"
                );
            }
            let _ = self.lock.set(lock);
        }
        if removed > 0 {
            let exporter = self.context.id.to_string();
            tracing::warn!(
                exporter,
                removed,
                "removed unfinished files of a run that was killed; their input is read again"
            );
        }
        Ok(())
    }

    async fn export(&self, batches: &[EventBatch]) -> Result<(), ExportError> {
        let Some(signal) = batches.first().map(|batch| batch.signal) else { return Ok(()) };
        let mut columns = Vec::with_capacity(batches.len());
        for batch in batches {
            let Some(batch) = batch.as_columns() else {
                return Err(ExportError::permanent("the batch is not decoded"));
            };
            if batch.num_rows() > 0 {
                columns.push(without_copies(batch, |_| false).into_owned());
            }
        }
        let export = Export {
            signal,
            batches: columns,
            directory: self.directory.clone(),
            max_columns: self.config.max_columns,
            now_ms: self.context.clock.now_ms(),
        };
        let sweep = self.sweep();
        let task = tokio::task::spawn_blocking(move || {
            if let Some(before) = sweep {
                export.directory.delete_before(before);
            }
            export.write()
        });
        let written = task
            .await
            .map_err(|error| ExportError::permanent(format!("writing a file failed: {error}")))??;
        // From here to the return nothing waits: when the helper gives up on an export before this, dropping
        // the files removes them, and no row is stored twice.
        publish(&written).map_err(ExportError::from)
    }
}

/// The work of one export, on a thread that may block.
struct Export {
    signal: Signal,
    batches: Vec<RecordBatch>,
    directory: Directory,
    max_columns: usize,
    now_ms: i64,
}

impl Export {
    /// Writes the files, complete and on disk, but not yet in place.
    fn write(&self) -> Result<Vec<UnfinishedFile>, LocalError> {
        let batches = join_small(&self.batches);
        let layout = Layout::of(self.signal, &batches, self.max_columns);
        let hours = Hours::of(self.signal, &batches);
        let mut writers: BTreeMap<Hour, (UnfinishedFile, ArrowWriter<File>)> = BTreeMap::new();
        for batch in &batches {
            for (hour, rows) in hours.split(&layout.flatten(batch)?)? {
                let (unfinished, writer) = match writers.entry(hour) {
                    std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
                    std::collections::btree_map::Entry::Vacant(place) => {
                        let (unfinished, file) = self.directory.create(self.signal, hour, self.now_ms)?;
                        let writer = ArrowWriter::try_new(file, layout.schema(), Some(properties()))
                            .map_err(LocalError::write(unfinished.path()))?;
                        place.insert((unfinished, writer))
                    }
                };
                writer.write(&rows).map_err(LocalError::write(unfinished.path()))?;
            }
        }
        let mut written = Vec::with_capacity(writers.len());
        for (unfinished, writer) in writers.into_values() {
            let file = writer.into_inner().map_err(LocalError::write(unfinished.path()))?;
            file.sync_all().map_err(LocalError::file("write", unfinished.path()))?;
            written.push(unfinished);
        }
        Ok(written)
    }
}

fn properties() -> WriterProperties {
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_created_by(concat!("weir ", env!("CARGO_PKG_VERSION")).to_owned())
        .build()
}

/// Joins runs of small batches with the same columns: conversion has a cost per batch and column.
fn join_small(batches: &[RecordBatch]) -> Vec<RecordBatch> {
    let mut joined = Vec::new();
    let mut run: Vec<&RecordBatch> = Vec::new();
    let mut rows = 0;
    for batch in batches {
        let fits = run.first().is_none_or(|first| {
            Arc::ptr_eq(first.schema_ref(), batch.schema_ref()) || first.schema_ref() == batch.schema_ref()
        });
        if !fits || rows + batch.num_rows() > JOIN_ROWS {
            flush(&mut run, &mut joined);
            rows = 0;
        }
        rows += batch.num_rows();
        run.push(batch);
    }
    flush(&mut run, &mut joined);
    joined
}

fn flush(run: &mut Vec<&RecordBatch>, joined: &mut Vec<RecordBatch>) {
    let Some(first) = run.first() else { return };
    match concat_batches(first.schema_ref(), run.iter().copied()) {
        Ok(batch) => joined.push(batch),
        // Dictionaries that do not fit one: the batches stay as they are.
        Err(_) => joined.extend(run.iter().copied().cloned()),
    }
    run.clear();
}
