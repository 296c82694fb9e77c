//! The times at which sessions are cut.

/// The places at which sessions that never fall silent are cut: multiples of half the longest session since
/// 1970.
///
/// A session is cut at every such place but the first one that it comes to. So one that is shorter than half
/// the longest is never cut, and every part is shorter than the longest. Because the places do not depend on
/// where a session begins, a fragment that does not cross one needs never be taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cells {
    length: i64,
}

impl Cells {
    /// For sessions of at most this length.
    pub(crate) const fn new(longest: i64) -> Cells {
        let half = longest / 2;
        Cells { length: if half > 0 { half } else { 1 } }
    }

    /// The number of the cell that holds `time`.
    pub(crate) const fn of(self, time: i64) -> i64 {
        time.div_euclid(self.length)
    }

    /// Where a cell begins.
    pub(crate) const fn start_of(self, cell: i64) -> i64 {
        cell.saturating_mul(self.length)
    }
}
