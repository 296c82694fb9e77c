//! The numbers of firings.
//!
//! Of each group the row with the highest number is right. So a number must be above all numbers that earlier
//! owners of the lanes have used for the same window, even where these are not known. It is `owners × 32,768
//! + counter`, where `owners` is the number of earlier owners. The first owner counts 0, 1, 2, …
//!
//! The counter never reaches the numbers of the next owner. The first 16,384 firings follow the late events.
//! After those a window waits until the watermark has moved by an 8,192nd of `allowed_lateness`, and fires
//! once more when it closes.

use weir_component::Watermark;

/// Numbers of one owner.
const NUMBERS: u64 = 1 << 15;
/// Firings that do not wait.
const FREE: u32 = 1 << 14;
/// Into how many parts `allowed_lateness` is cut for those that do.
const PARTS: i64 = 1 << 13;

/// One firing of a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Firing {
    /// How many owners there were before.
    owners: u32,
    /// How often this owner has let it fire before.
    count: u32,
    /// The watermark at which it fired last.
    at: Option<Watermark>,
}

impl Firing {
    /// The first one, after this number of owners.
    pub(crate) fn first(owners: u32) -> Firing {
        Firing { owners, ..Firing::default() }
    }

    /// The one that follows this one, which happens at `watermark`.
    pub(crate) fn next(self, watermark: Watermark) -> Firing {
        Firing { count: self.count.saturating_add(1), at: Some(watermark), ..self }
    }

    /// Whether it may be at this watermark, when its window does not close yet.
    pub(crate) fn may_be(self, watermark: Watermark, lateness: i64) -> bool {
        let since = self.at.map_or(i64::MAX, |at| watermark.0.saturating_sub(at.0));
        self.count < FREE || since > lateness / PARTS
    }

    /// The higher of two.
    pub(crate) fn max(self, other: Firing) -> Firing {
        if other.number() > self.number() { other } else { self }
    }

    /// Its number.
    pub(crate) fn number(self) -> u64 {
        u64::from(self.owners) * NUMBERS + u64::from(self.count).min(NUMBERS - 1)
    }

    /// The number in the column `firing`. After 65,536 owners it stays the highest there is.
    pub(crate) fn column(self) -> i32 {
        i32::try_from(self.number()).unwrap_or(i32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_an_owner_are_above_those_of_all_before_it() {
        let mut firing = Firing::first(0);
        assert_eq!((firing.number(), firing.next(Watermark(1)).number()), (0, 1));
        for _ in 0..100_000 {
            firing = firing.next(Watermark(1));
        }
        assert!(firing.number() < Firing::first(1).number());
        assert!(Firing::first(7).next(Watermark(1)).number() < Firing::first(8).number());
        assert_eq!(Firing::first(1_000_000).column(), i32::MAX);
        assert!(Firing::first(65_535).column() < i32::MAX);
    }

    #[test]
    fn a_window_that_fires_very_often_waits_and_has_a_number_left_for_its_end() {
        const LATENESS: i64 = 3_600_000;
        let mut firing = Firing::first(3);
        let mut fired = 0;
        // Something late in every millisecond, and ten times in it.
        for tenth in 0..LATENESS * 10 {
            let watermark = Watermark(tenth / 10);
            if firing.may_be(watermark, LATENESS) {
                firing = firing.next(watermark);
                fired += 1;
            }
        }
        assert!((16_384..32_767).contains(&fired), "{fired}");
        assert_eq!(firing.number(), 3 * 32_768 + fired, "each has a number of its own");
        assert!(firing.next(Watermark::MAX).number() < Firing::first(4).number());
    }
}
