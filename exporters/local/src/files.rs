//! Files that appear complete or not at all, and folders that go when they are old.
//!
//! A file is written in `<directory>/.writing/` and renamed into its folder when it is whole and on disk.
//! Files that a crash left in `.writing` are removed by the next start, so one directory belongs to one
//! running program: it holds a lock on `<directory>/.lock`, which ends with it, however it ends.

use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::UNIX_EPOCH;

use weir_pdata::Signal;

use crate::error::LocalError;
use crate::hours::Hour;

const WRITING: &str = ".writing";
const LOCK: &str = ".lock";

/// The directory of an exporter.
#[derive(Clone, Debug)]
pub(crate) struct Directory(PathBuf);

/// A file that is being written. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct UnfinishedFile {
    writing: PathBuf,
    done: PathBuf,
}

impl Directory {
    /// The directory at `path`. Nothing is touched yet.
    pub(crate) fn new(path: &Path) -> Directory {
        Directory(path.to_owned())
    }

    /// Makes the directory and takes it for this program, for as long as the result lives. `None`: the file
    /// system knows no locks.
    pub(crate) fn lock(&self) -> Result<Option<File>, LocalError> {
        fs::create_dir_all(&self.0).map_err(LocalError::file("make the directory", &self.0))?;
        let path = self.0.join(LOCK);
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(LocalError::file("open", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Err(LocalError::InUse { path: self.0.clone() }),
            Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => Ok(None),
            Err(TryLockError::Error(error)) => Err(LocalError::file("lock", &path)(error)),
        }
    }

    /// Makes the directory and removes what a crash left. Returns how many files that were.
    pub(crate) fn prepare(&self) -> Result<usize, LocalError> {
        let writing = self.0.join(WRITING);
        fs::create_dir_all(&writing).map_err(LocalError::file("make the directory", &writing))?;
        let mut removed = 0;
        for path in entries(&writing) {
            fs::remove_file(&path).map_err(LocalError::file("remove the unfinished file", &path))?;
            removed += 1;
        }
        Ok(removed)
    }

    /// Starts a file. `now_ms` is part of its name, so that names sort by age.
    pub(crate) fn create(
        &self,
        signal: Signal,
        hour: Hour,
        now_ms: i64,
    ) -> Result<(UnfinishedFile, File), LocalError> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let folder = self.0.join(signal.name()).join(hour.folder());
        fs::create_dir_all(&folder).map_err(LocalError::file("make the directory", &folder))?;
        let writing = self.0.join(WRITING);
        fs::create_dir_all(&writing).map_err(LocalError::file("make the directory", &writing))?;
        loop {
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let name = format!("{now_ms:013}-{}-{count}.parquet", std::process::id());
            let (path, done) = (writing.join(&name), folder.join(&name));
            // An earlier program may have had the same process id and clock.
            if !done.exists() {
                let file = File::create_new(&path).map_err(LocalError::file("create", &path))?;
                return Ok((UnfinishedFile { writing: path, done }, file));
            }
        }
    }

    /// Deletes hours that ended before `before_ms`. Returns how many. What cannot be deleted is left for the
    /// next time.
    pub(crate) fn delete_before(&self, before_ms: i64) -> usize {
        let mut deleted = 0;
        for signal in Signal::ALL {
            for day in entries(&self.0.join(signal.name())) {
                for hour in entries(&day) {
                    let end = match name(&day).as_str() {
                        "other" => modified_ms(&hour),
                        day => Hour::end_ms(day, &name(&hour)),
                    };
                    if end.is_some_and(|end| end < before_ms) {
                        let gone =
                            if hour.is_dir() { fs::remove_dir_all(&hour) } else { fs::remove_file(&hour) };
                        deleted += usize::from(gone.is_ok());
                    }
                }
                // Succeeds only when nothing is left in it.
                let _ = fs::remove_dir(&day);
            }
        }
        deleted
    }
}

/// Puts all files in place, or none. The files must be closed and on disk.
pub(crate) fn publish(files: &[UnfinishedFile]) -> Result<(), LocalError> {
    for (count, file) in files.iter().enumerate() {
        if let Err(source) = fs::rename(&file.writing, &file.done) {
            for done in &files[..count] {
                let _ = fs::remove_file(&done.done);
            }
            return Err(LocalError::File {
                what: "move a finished file to",
                path: file.done.clone(),
                source,
            });
        }
    }
    for folder in files.iter().filter_map(|file| file.done.parent()) {
        // Makes the new name durable. Where folders cannot be synced the rename is as durable as it gets.
        if let Ok(folder) = File::open(folder) {
            let _ = folder.sync_all();
        }
    }
    Ok(())
}

impl UnfinishedFile {
    /// Where the file is until it is published.
    pub(crate) fn path(&self) -> &Path {
        &self.writing
    }
}

impl Drop for UnfinishedFile {
    fn drop(&mut self) {
        // Fails when the file has been published: it is no longer there.
        let _ = fs::remove_file(&self.writing);
    }
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten();
    entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect()
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn modified_ms(path: &Path) -> Option<i64> {
    let since = fs::metadata(path).ok()?.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok()
}
