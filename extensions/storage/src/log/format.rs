//! The bytes of a segment: its header and the headers of its records. See `docs/storage-format.md`.

/// Length of a segment's header.
pub const SEGMENT_HEADER: u64 = 32;
/// Length of a record's header.
pub const RECORD_HEADER: u64 = 20;
/// The format that this code writes, and the only one it reads.
pub const VERSION: u16 = 1;

const MAGIC: &[u8; 8] = b"WEIRLOG\n";

/// The header of a segment whose first record has this number.
#[must_use]
pub fn segment_header(first: u64) -> [u8; SEGMENT_HEADER as usize] {
    let mut bytes = [0; SEGMENT_HEADER as usize];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..20].copy_from_slice(&first.to_le_bytes());
    let check = crc32fast::hash(&bytes[..28]);
    bytes[28..].copy_from_slice(&check.to_le_bytes());
    bytes
}

/// The header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SegmentHeader {
    /// It is one of ours for this first record.
    Good,
    /// It is intact, and of another version.
    Version(u16),
    /// It is none.
    Damaged,
}

/// Reads the header of the segment that should begin with record `first`.
#[must_use]
pub fn read_segment_header(bytes: &[u8], first: u64) -> SegmentHeader {
    let (Some(head), Some(check)) = (bytes.get(..28), number32(bytes, 28)) else {
        return SegmentHeader::Damaged;
    };
    if !head.starts_with(MAGIC) || crc32fast::hash(head) != check {
        return SegmentHeader::Damaged;
    }
    match head.get(8..10) {
        Some(&[low, high]) if u16::from_le_bytes([low, high]) != VERSION => {
            SegmentHeader::Version(u16::from_le_bytes([low, high]))
        }
        _ if number64(bytes, 12) != Some(first) => SegmentHeader::Damaged,
        _ => SegmentHeader::Good,
    }
}

/// The header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordHeader {
    /// Length of the payload.
    pub length: u32,
    /// The record's number.
    pub number: u64,
    /// Checksum of the payload.
    pub check: u32,
}

impl RecordHeader {
    /// The header of a record with this payload, which is at most `u32::MAX` bytes long.
    #[must_use]
    pub fn of(number: u64, payload: &[u8]) -> RecordHeader {
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        RecordHeader { length, number, check: crc32fast::hash(payload) }
    }

    /// Its bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; RECORD_HEADER as usize] {
        let mut bytes = [0; RECORD_HEADER as usize];
        bytes[..4].copy_from_slice(&self.length.to_le_bytes());
        bytes[4..12].copy_from_slice(&self.number.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.check.to_le_bytes());
        let check = crc32fast::hash(&bytes[..16]);
        bytes[16..].copy_from_slice(&check.to_le_bytes());
        bytes
    }

    /// Reads a header; `None` when its checksum is wrong or bytes are missing.
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<RecordHeader> {
        let head = bytes.get(..16)?;
        if crc32fast::hash(head) != number32(bytes, 16)? {
            return None;
        }
        Some(RecordHeader {
            length: number32(bytes, 0)?,
            number: number64(bytes, 4)?,
            check: number32(bytes, 12)?,
        })
    }

    /// The record's whole length in the file.
    #[must_use]
    pub fn span(self) -> u64 {
        RECORD_HEADER + u64::from(self.length)
    }
}

fn number32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn number64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_in_a_header_is_seen() {
        let record = RecordHeader::of(7, b"payload").to_bytes();
        assert_eq!(RecordHeader::read(&record), Some(RecordHeader::of(7, b"payload")));
        for bit in 0..record.len() * 8 {
            let mut flipped = record;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(RecordHeader::read(&flipped), None, "bit {bit}");
        }
        let segment = segment_header(7);
        assert_eq!(read_segment_header(&segment, 7), SegmentHeader::Good);
        assert_eq!(read_segment_header(&segment, 8), SegmentHeader::Damaged);
        for bit in 0..segment.len() * 8 {
            let mut flipped = segment;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(read_segment_header(&flipped, 7), SegmentHeader::Damaged, "bit {bit}");
        }
    }

    #[test]
    fn an_intact_header_of_another_version_is_not_damage() {
        let mut bytes = segment_header(7);
        bytes[8] = 2;
        let check = crc32fast::hash(&bytes[..28]);
        bytes[28..].copy_from_slice(&check.to_le_bytes());
        assert_eq!(read_segment_header(&bytes, 7), SegmentHeader::Version(2));
    }
}
