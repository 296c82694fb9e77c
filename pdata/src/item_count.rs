//! A number of items that is counted at most once.

use std::sync::{Arc, OnceLock};

/// The number of items of records that are not decoded. It is counted when it is first asked for, once for
/// all clones.
#[derive(Clone, Debug, Default)]
pub struct ItemCount(Arc<OnceLock<usize>>);

impl ItemCount {
    /// A number that is known already.
    #[must_use]
    pub fn known(items: usize) -> ItemCount {
        ItemCount(Arc::new(items.into()))
    }

    /// The number, if it is known.
    #[must_use]
    pub fn get(&self) -> Option<usize> {
        self.0.get().copied()
    }

    /// The number. `count` counts, if nobody has.
    pub(crate) fn get_or(&self, count: impl FnOnce() -> usize) -> usize {
        *self.0.get_or_init(count)
    }
}
