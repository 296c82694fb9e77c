//! Copying records into one arena.

use arrow::buffer::Buffer;
use thiserror::Error;

use crate::{Encoded, Format, ItemCount};

/// The largest arena, in bytes: Arrow's views reach no further.
pub const MAX_ARENA: usize = i32::MAX as usize;

/// Records do not fit in one arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "{bytes} bytes of records do not fit in one batch of at most {MAX_ARENA}: send fewer records at a time"
)]
pub struct ArenaTooLarge {
    /// The size of the records together.
    pub bytes: usize,
}

impl Encoded {
    /// The bytes of record `index`. `None`: there is no such record.
    #[must_use]
    pub fn record(&self, index: usize) -> Option<&[u8]> {
        let range = self.records.get(index)?;
        let (start, end) = (usize::try_from(range.start).ok()?, usize::try_from(range.end).ok()?);
        self.arena.get(start..end)
    }

    /// Copies the records end to end into one arena.
    ///
    /// # Errors
    /// Together they are larger than [`MAX_ARENA`].
    pub fn concat<'a>(
        format: Format,
        records: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Encoded, ArenaTooLarge> {
        let records: Vec<&[u8]> = records.into_iter().collect();
        let bytes = records.iter().fold(0usize, |sum, record| sum.saturating_add(record.len()));
        let too_large = ArenaTooLarge { bytes };
        if bytes > MAX_ARENA {
            return Err(too_large);
        }
        let mut arena = Vec::with_capacity(bytes);
        let mut ranges = Vec::with_capacity(records.len());
        for record in records {
            let start = u32::try_from(arena.len()).map_err(|_| too_large)?;
            arena.extend_from_slice(record);
            let end = u32::try_from(arena.len()).map_err(|_| too_large)?;
            ranges.push(start..end);
        }
        Ok(Encoded {
            format,
            arena: Buffer::from_vec(arena),
            records: ranges.into(),
            positions: None,
            arrivals: None,
            written: None,
            items: ItemCount::default(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_lie_end_to_end_in_order() {
        let encoded = Encoded::concat(Format::SkyWalkingSegment, [&b"one"[..], b"", b"three"]).unwrap();
        assert_eq!(encoded.arena.as_slice(), b"onethree");
        assert_eq!(*encoded.records, [0..3, 3..3, 3..8]);
    }

    #[test]
    fn more_than_views_can_reach_is_refused() {
        let quarter = vec![0; 1 << 29];
        let records = [&*quarter; 4];
        let error = Encoded::concat(Format::SkyWalkingSegment, records).unwrap_err();
        assert_eq!(error, ArenaTooLarge { bytes: 1 << 31 });
    }
}
