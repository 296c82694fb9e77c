//! Texts at their place in the received bytes.

use super::views::{ViewBuffer, view};

/// A text within the arena. The decoder that made it has checked that it is UTF-8.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Text {
    pub(crate) start: u32,
    pub(crate) len: u32,
}

impl Text {
    /// Its bytes.
    #[inline]
    pub(crate) fn bytes(self, arena: &[u8]) -> &[u8] {
        let start = self.start as usize;
        arena.get(start..start + self.len as usize).unwrap_or_default()
    }

    /// A view of it.
    #[inline]
    pub(crate) fn view(self, arena: &[u8]) -> u128 {
        view(arena, ViewBuffer::Arena, self.start as usize, self.len as usize)
    }

    /// A view of it; `None` when empty. proto3 does not tell an empty text from an absent one.
    #[inline]
    pub(crate) fn present(self, arena: &[u8]) -> Option<u128> {
        (self.len > 0).then(|| self.view(arena))
    }

    /// Its length in bytes.
    pub(crate) fn len(self) -> usize {
        self.len as usize
    }
}

/// Whether all bytes are ASCII, which most texts are. Short ones, which most texts are too, take a few
/// instructions.
#[inline]
pub(crate) fn is_ascii(bytes: &[u8]) -> bool {
    const HIGH: u128 = 0x8080_8080_8080_8080_8080_8080_8080_8080;
    if bytes.len() > 32 {
        return bytes.is_ascii();
    }
    // The first and the last bytes, which may be the same ones.
    let both = if let (Some(first), Some(last)) = (bytes.first_chunk::<16>(), bytes.last_chunk::<16>()) {
        u128::from_le_bytes(*first) | u128::from_le_bytes(*last)
    } else if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        u128::from(u64::from_le_bytes(*first) | u64::from_le_bytes(*last))
    } else if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        u128::from(u32::from_le_bytes(*first) | u32::from_le_bytes(*last))
    } else {
        bytes.iter().fold(0, |all, byte| all | u128::from(*byte))
    };
    both & HIGH == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_byte_that_is_not_ascii_is_found_wherever_it_is() {
        for len in 0..70 {
            let mut bytes = vec![b'a'; len];
            assert!(is_ascii(&bytes), "{len}");
            for at in 0..len {
                bytes[at] = 0x80;
                assert!(!is_ascii(&bytes), "{at} of {len}");
                bytes[at] = 0x7f;
            }
        }
    }
}
