//! Which way bytes went, seen from a process.

/// Which way bytes went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Direction {
    /// Read by the process.
    In,
    /// Written by the process.
    Out,
}
