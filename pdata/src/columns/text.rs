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
