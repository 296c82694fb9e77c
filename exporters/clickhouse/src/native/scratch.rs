//! Buffers for encoding, kept between inserts.

use std::sync::{Mutex, PoisonError};

use crate::native::dictionary::Dictionary;
use crate::native::frames::Frames;

/// The buffers that writing needs. They are used again.
pub(crate) struct Scratch {
    pub(crate) frames: Frames,
    pub(crate) dictionary: Dictionary,
}

impl Scratch {
    /// Buffers for frames that are compressed, or plain.
    pub(crate) fn new(compressed: bool) -> Scratch {
        Scratch { frames: Frames::new(compressed), dictionary: Dictionary::default() }
    }
}

/// The scratches that are not in use.
pub(crate) struct ScratchPool {
    compressed: bool,
    unused: Mutex<Vec<Scratch>>,
}

impl ScratchPool {
    /// Buffers for frames that are compressed, or plain.
    pub(crate) fn new(compressed: bool) -> ScratchPool {
        ScratchPool { compressed, unused: Mutex::default() }
    }

    /// Whether frames are compressed.
    pub(crate) fn compresses(&self) -> bool {
        self.compressed
    }

    /// Writes with a scratch that is not in use, or with a new one.
    pub(crate) fn with<T>(&self, write: impl FnOnce(&mut Scratch) -> T) -> T {
        let unused = || self.unused.lock().unwrap_or_else(PoisonError::into_inner);
        let last = unused().pop();
        let mut scratch = last.unwrap_or_else(|| Scratch::new(self.compressed));
        let written = write(&mut scratch);
        unused().push(scratch);
        written
    }
}
