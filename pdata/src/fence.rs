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
    /// Open while one of `of` is, and not only while all are.
    while_any: bool,
}

impl Fence {
    /// One fence for all of these: closed when one of them is.
    #[must_use]
    pub fn all(of: Vec<Fence>) -> Fence {
        Fence(Arc::new(Parts { of, ..Parts::default() }))
    }

    /// One fence for all of these: closed when all of them are. For a result that no other owner has while
    /// one of its inputs still belongs to this process.
    #[must_use]
    pub fn while_any(of: Vec<Fence>) -> Fence {
        Fence(Arc::new(Parts { of, while_any: true, ..Parts::default() }))
    }

    /// Whether both are the same one.
    #[must_use]
    pub fn is_same(&self, other: &Fence) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }

    /// The inputs have another owner now: no further export may start.
    pub fn close(&self) {
        self.0.closed.store(true, Ordering::Release);
    }

    /// Whether it is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        let Parts { closed, of, while_any } = &*self.0;
        let of_these =
            if *while_any { of.iter().all(Fence::is_closed) } else { of.iter().any(Fence::is_closed) };
        closed.load(Ordering::Acquire) || (of_these && !of.is_empty())
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

    #[test]
    fn a_fence_while_any_is_open_is_closed_with_the_last_of_them() {
        let (a, b) = (Fence::default(), Fence::default());
        let any = Fence::while_any(vec![a.clone(), b.clone()]);
        a.close();
        assert!(!any.is_closed());
        b.close();
        assert!(any.is_closed());
    }
}
