//! Damaged bytes, kept for people to look at. They are never read again.

use std::fmt::Display;
use std::io;
use std::path::{Path, PathBuf};

/// The quarantined files of one queue, together at most `max` bytes: the oldest go.
#[derive(Debug)]
pub struct Quarantine {
    directory: PathBuf,
    max: u64,
}

impl Quarantine {
    /// Files in `directory`, at most `max` bytes together.
    #[must_use]
    pub fn new(directory: &Path, max: u64) -> Quarantine {
        Quarantine { directory: directory.to_owned(), max }
    }

    /// Most bytes of one file.
    #[must_use]
    pub fn max(&self) -> u64 {
        self.max
    }

    /// Keeps bytes of segment or record `number`, found at `place` there. Returns the file. What does not fit
    /// in the bound is cut off.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep(&self, number: u64, place: impl Display, bytes: &[u8]) -> io::Result<PathBuf> {
        let path = self.directory.join(format!("{number:020}-{place}.corrupt"));
        let fits = usize::try_from(self.max).unwrap_or(usize::MAX).min(bytes.len());
        let bytes = bytes.get(..fits).unwrap_or_default();
        self.make_room(&path, bytes.len() as u64)?;
        std::fs::write(&path, bytes)?;
        Ok(path)
    }

    /// Deletes the oldest files until `bytes` more fit. The file at `path` is about to be overwritten.
    fn make_room(&self, path: &Path, bytes: u64) -> io::Result<()> {
        let mut files = Vec::new();
        for entry in std::fs::read_dir(&self.directory)? {
            let entry = entry?;
            let file = entry.path();
            if file != path && file.extension().is_some_and(|extension| extension == "corrupt") {
                let meta = entry.metadata()?;
                files.push((meta.modified()?, file, meta.len()));
            }
        }
        files.sort();
        let mut total: u64 = files.iter().map(|(_, _, bytes)| bytes).sum();
        for (_, file, len) in files {
            if total + bytes <= self.max {
                break;
            }
            std::fs::remove_file(&file)?;
            tracing::warn!(file = %file.display(), "deleted the oldest quarantined file: there is no room for more");
            total -= len;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_files_go_and_the_bound_holds() {
        let directory = tempfile::tempdir().unwrap();
        let quarantine = Quarantine::new(directory.path(), 100);
        for offset in 0..20 {
            quarantine.keep(1, offset, &[7; 40]).unwrap();
            quarantine.keep(1, offset, &[7; 40]).unwrap();
        }
        quarantine.keep(2, 0, &[7; 1000]).unwrap();
        let sizes: Vec<u64> = std::fs::read_dir(directory.path())
            .unwrap()
            .map(|file| file.unwrap().metadata().unwrap().len())
            .collect();
        assert_eq!(sizes, [100]);
    }
}
