//! Whether a result may still be exported: only while its inputs have this owner.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Open while all of the inputs belong to this process. Cheap to clone; clones share the state.
#[derive(Clone, Debug, Default)]
pub struct Fence(Arc<Parts>);

#[derive(Debug, Default)]
struct Parts {
    closed: AtomicBool,
    of: Vec<Fence>,
}

impl Fence {
    /// One fence for all of these: closed when one of them is.
    #[must_use]
    pub fn all(of: Vec<Fence>) -> Fence {
        Fence(Arc::new(Parts { closed: AtomicBool::new(false), of }))
    }

    /// The inputs have another owner now: no further export may start.
    pub fn close(&self) {
        self.0.closed.store(true, Ordering::Release);
    }

    /// Whether it is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.0.closed.load(Ordering::Acquire) || self.0.of.iter().any(Fence::is_closed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fence_of_several_is_closed_when_one_of_them_is() {
        let (a, b) = (Fence::default(), Fence::default());
        let all = Fence::all(vec![a.clone(), b]);
        assert!(!all.is_closed());
        a.close();
        assert!(all.is_closed());
    }
}
