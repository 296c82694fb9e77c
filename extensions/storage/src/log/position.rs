//! The file that says below which number everything is acknowledged. See `docs/storage-format.md`.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::names::HIGHEST;

const MAGIC: &[u8; 8] = b"WEIRPOS\n";
const SLOT: usize = 20;
const SLOTS: [u64; 2] = [0, 4096];

/// The open position file.
#[derive(Debug)]
pub struct PositionFile {
    file: File,
    /// Index of the slot to write next: not the one that counts.
    next: usize,
    synced: bool,
}

impl PositionFile {
    /// Opens the file in `directory`, and reads the position; `None` when there is no valid one.
    ///
    /// # Errors
    /// When the file cannot be made or read.
    pub fn open(directory: &Path) -> io::Result<(PositionFile, Option<u64>)> {
        let path = directory.join("position");
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let mut bytes = Vec::new();
        file.by_ref().take(2 * 4096).read_to_end(&mut bytes)?;
        let [first, second] = SLOTS.map(|at| bytes.get(at as usize..).and_then(read_slot));
        // Higher is later: a position never goes back.
        let next = usize::from(first >= second && first.is_some());
        Ok((PositionFile { file, next, synced: true }, first.max(second)))
    }

    /// Writes a position.
    ///
    /// # Errors
    /// When it cannot be written; the one before still counts.
    pub fn write(&mut self, position: u64) -> io::Result<()> {
        let mut slot = [0; SLOT];
        slot[..8].copy_from_slice(MAGIC);
        slot[8..16].copy_from_slice(&position.to_le_bytes());
        let check = crc32fast::hash(&slot[..16]);
        slot[16..].copy_from_slice(&check.to_le_bytes());
        self.file.write_all_at(&slot, SLOTS[self.next])?;
        self.next ^= 1;
        self.synced = false;
        Ok(())
    }

    /// Waits until the disk has it.
    ///
    /// # Errors
    /// When the disk says so.
    pub fn sync(&mut self) -> io::Result<()> {
        if !self.synced {
            self.file.sync_data()?;
            self.synced = true;
        }
        Ok(())
    }
}

fn read_slot(bytes: &[u8]) -> Option<u64> {
    let slot = bytes.get(..SLOT)?;
    let check = u32::from_le_bytes(slot.get(16..)?.try_into().ok()?);
    if !slot.starts_with(MAGIC) || crc32fast::hash(slot.get(..16)?) != check {
        return None;
    }
    let position = u64::from_le_bytes(slot.get(8..16)?.try_into().ok()?);
    (1..=HIGHEST).contains(&position).then_some(position)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_slot_leaves_the_position_before() {
        let directory = tempfile::tempdir().unwrap();
        let (mut file, none) = PositionFile::open(directory.path()).unwrap();
        assert_eq!(none, None);
        for position in [3, 9, 12] {
            file.write(position).unwrap();
        }
        let path = directory.path().join("position");
        let whole = std::fs::read(&path).unwrap();
        assert_eq!(PositionFile::open(directory.path()).unwrap().1, Some(12));
        for byte in (0..SLOT).chain(4096..4096 + SLOT) {
            let mut flipped = whole.clone();
            flipped[byte] ^= 0x40;
            std::fs::write(&path, flipped).unwrap();
            let (mut file, position) = PositionFile::open(directory.path()).unwrap();
            let left = if byte < SLOT { 9 } else { 12 };
            assert_eq!(position, Some(left), "byte {byte}");
            file.write(20).unwrap();
            assert_eq!(PositionFile::open(directory.path()).unwrap().1, Some(20), "byte {byte}");
        }
    }
}
