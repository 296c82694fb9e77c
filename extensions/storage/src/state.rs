//! Small values on disk, each replaced as a whole. See `docs/storage-format.md`.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use prometheus_client::metrics::counter::Counter;
use weir_component::storage::StorageError;

use crate::names::file_name;

const MAGIC: &[u8; 8] = b"WEIRSTA\n";
const VERSION: u16 = 1;
const HEADER: usize = 32;
/// Longest value.
const LONGEST: u64 = 64 << 20;

/// The values of a storage. Its calls block.
#[derive(Debug)]
pub struct State {
    directory: PathBuf,
    corrupt: Counter,
    /// Held while a value is written: two writers of one key would share the new file.
    writing: Mutex<()>,
}

impl State {
    /// Values below `directory`.
    #[must_use]
    pub fn new(directory: PathBuf, corrupt: Counter) -> State {
        State { directory, corrupt, writing: Mutex::new(()) }
    }

    /// Replaces a value; afterwards it survives a power cut.
    ///
    /// # Errors
    /// When it cannot be written. The old one stays.
    pub fn put(&self, name: &str, key: &str, value: &[u8]) -> Result<(), StorageError> {
        let bytes = value.len() as u64;
        if bytes > LONGEST {
            return Err(StorageError::TooLarge { bytes, max: LONGEST });
        }
        let (folder, stem) = self.folder_and_stem(name, key)?;
        let (new, path) = (folder.join(format!("{stem}.new")), folder.join(format!("{stem}.value")));
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let write = || -> io::Result<()> {
            if !folder.exists() {
                std::fs::create_dir_all(&folder)?;
                for parent in [self.directory.parent(), Some(self.directory.as_path())].into_iter().flatten()
                {
                    File::open(parent)?.sync_all()?;
                }
            }
            let mut file = File::create(&new)?;
            file.write_all(&header(value))?;
            file.write_all(value)?;
            file.sync_all()?;
            std::fs::rename(&new, &path)?;
            File::open(&folder)?.sync_all()
        };
        write().map_err(|error| StorageError::Failed(format!("cannot write {}: {error}", path.display())))
    }

    /// The value; `None` when there is none, or it was damaged and has been quarantined.
    ///
    /// # Errors
    /// When it cannot be read, or another version of Weir wrote it.
    pub fn get(&self, name: &str, key: &str) -> Result<Option<Vec<u8>>, StorageError> {
        let (folder, stem) = self.folder_and_stem(name, key)?;
        let path = folder.join(format!("{stem}.value"));
        let failed = |what: &str| StorageError::Failed(format!("cannot read {}: {what}", path.display()));
        let bytes = match read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|error| failed(&error.to_string()))?,
        };
        match check(bytes) {
            Checked::Good(value) => Ok(Some(value)),
            Checked::Version(version) => {
                Err(failed(&format!("it has format version {version}, this program reads {VERSION}")))
            }
            Checked::Damaged => {
                self.corrupt.inc();
                let kept = folder.join(format!("{stem}.corrupt"));
                std::fs::rename(&path, &kept).map_err(|error| failed(&error.to_string()))?;
                tracing::error!(value = %path.display(), quarantined = %kept.display(), "a damaged value was quarantined");
                Ok(None)
            }
        }
    }

    fn folder_and_stem(&self, name: &str, key: &str) -> Result<(PathBuf, String), StorageError> {
        let checked = |text: &str| {
            file_name(text).ok_or_else(|| {
                StorageError::Failed(format!(
                    "`{text}` cannot be a name in a storage: it is empty or too long"
                ))
            })
        };
        Ok((self.directory.join(checked(name)?), checked(key)?))
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // One byte more than allowed fails the check of the length.
    File::open(path)?.take(LONGEST + HEADER as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn header(value: &[u8]) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
    bytes[20..28].copy_from_slice(&(value.len() as u64).to_le_bytes());
    let check = checksum(&bytes[..28], value);
    bytes[28..].copy_from_slice(&check.to_le_bytes());
    bytes
}

fn checksum(head: &[u8], value: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(head);
    hasher.update(value);
    hasher.finalize()
}

enum Checked {
    Good(Vec<u8>),
    Version(u16),
    Damaged,
}

fn check(mut bytes: Vec<u8>) -> Checked {
    if bytes.len() < HEADER {
        return Checked::Damaged;
    }
    let value = bytes.split_off(HEADER);
    let (head, sum) = bytes.split_at(28);
    if sum != checksum(head, &value).to_le_bytes() || !head.starts_with(MAGIC) {
        return Checked::Damaged;
    }
    match head {
        [_, _, _, _, _, _, _, _, low, high, ..] if u16::from_le_bytes([*low, *high]) != VERSION => {
            Checked::Version(u16::from_le_bytes([*low, *high]))
        }
        _ if head.get(20..28) != Some((value.len() as u64).to_le_bytes().as_slice()) => Checked::Damaged,
        _ => Checked::Good(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(directory: &Path) -> (State, Counter) {
        let corrupt = Counter::default();
        (State::new(directory.join("state"), corrupt.clone()), corrupt)
    }

    #[test]
    fn the_last_value_is_read_again_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let (first, _) = state(directory.path());
        assert_eq!(first.get("threshold/main", "alarms").unwrap(), None);
        for value in [b"one".as_slice(), b"", b"three"] {
            first.put("threshold/main", "alarms", value).unwrap();
            let (again, _) = state(directory.path());
            assert_eq!(again.get("threshold/main", "alarms").unwrap().as_deref(), Some(value));
        }
        first.put("threshold/main", "..", b"elsewhere").unwrap();
        assert_eq!(first.get("threshold/main", "alarms").unwrap().unwrap(), b"three");
    }

    #[test]
    fn a_damaged_value_is_quarantined_and_reads_as_absent() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state/a/b.value");
        let (values, corrupt) = state(directory.path());
        values.put("a", "b", b"payload").unwrap();
        let whole = std::fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            std::fs::write(&path, &flipped).unwrap();
            assert_eq!(values.get("a", "b").unwrap(), None, "byte {at}");
            assert_eq!(std::fs::read(path.with_extension("corrupt")).unwrap(), flipped);
            std::fs::write(&path, &whole[..at]).unwrap();
            assert_eq!(values.get("a", "b").unwrap(), None, "cut at {at}");
        }
        assert_eq!(corrupt.get(), 2 * whole.len() as u64);
        values.put("a", "b", b"new").unwrap();
        assert_eq!(values.get("a", "b").unwrap().unwrap(), b"new");
    }

    #[test]
    fn an_interrupted_write_leaves_the_old_value() {
        let directory = tempfile::tempdir().unwrap();
        let (values, _) = state(directory.path());
        values.put("a", "b", b"old").unwrap();
        std::fs::write(directory.path().join("state/a/b.new"), b"half").unwrap();
        assert_eq!(values.get("a", "b").unwrap().unwrap(), b"old");
        values.put("a", "b", b"new").unwrap();
        assert_eq!(values.get("a", "b").unwrap().unwrap(), b"new");
    }
}
