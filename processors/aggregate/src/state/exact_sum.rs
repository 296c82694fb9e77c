//! Sums of floats that do not depend on the order of their terms.
//!
//! The sum is kept without any rounding, as a list of floats that do not overlap (Shewchuk, "Adaptive
//! precision floating-point arithmetic", 1997), and rounded once when it is read. Merging adds the list of
//! the other sum, so any split of the same terms over lanes and batches gives the same bits. The list has one
//! or two entries for ordinary values, at most about 40.
//!
//! Terms beyond ±2^960 (about 1e289) count as ±2^960: then no sum of fewer than 2^63 terms overflows.

use crate::state::codec::{Malformed, Reader, put_f64, put_u64};

/// The largest magnitude of a term: 2^960.
const LARGEST: f64 = f64::from_bits((1023 + 960) << 52);
/// More entries than a list can have: 2,098 bits of a float's range, 53 bits each, and some.
const MAX_PARTS: usize = 64;

/// An exact sum of finite floats.
#[derive(Clone, Debug, Default)]
pub(crate) struct ExactSum {
    /// Not overlapping, in rising order of magnitude, no zero.
    parts: Vec<f64>,
}

impl ExactSum {
    /// Adds a finite term.
    pub(crate) fn add(&mut self, term: f64) {
        self.add_part(term.clamp(-LARGEST, LARGEST));
    }

    /// Adds everything that `other` added.
    pub(crate) fn merge(&mut self, other: &ExactSum) {
        other.parts.iter().for_each(|part| self.add_part(*part));
    }

    /// Takes out everything that `other` added, as exactly.
    pub(crate) fn subtract(&mut self, other: &ExactSum) {
        other.parts.iter().for_each(|part| self.add_part(-*part));
    }

    fn add_part(&mut self, mut carry: f64) {
        let mut kept = 0;
        for at in 0..self.parts.len() {
            let (sum, rest) = two_sum(carry, self.parts[at]);
            if rest != 0.0 {
                self.parts[kept] = rest;
                kept += 1;
            }
            carry = sum;
        }
        self.parts.truncate(kept);
        if carry != 0.0 {
            self.parts.push(carry);
        }
    }

    /// The sum, rounded once to the nearest float.
    pub(crate) fn value(&self) -> f64 {
        let mut parts = self.parts.iter().rev().copied();
        let Some(mut high) = parts.next() else { return 0.0 };
        let mut low = 0.0;
        for part in parts.by_ref() {
            (high, low) = two_sum(high, part);
            if low != 0.0 {
                break;
            }
        }
        // `high` is the nearest float unless `low` is exactly half a step and what follows tips the scale.
        let next = parts.next().unwrap_or(0.0);
        if (low < 0.0 && next < 0.0) || (low > 0.0 && next > 0.0) {
            let twice = low * 2.0;
            let other = high + twice;
            if other - high == twice {
                return other;
            }
        }
        high
    }

    /// Appends the bytes: the number of entries, then the entries.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        put_u64(out, self.parts.len() as u64);
        self.parts.iter().for_each(|part| put_f64(out, *part));
    }

    /// Reads the bytes.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<ExactSum, Malformed> {
        let length = reader.length(8)?;
        if length > MAX_PARTS {
            return Err(Malformed("a sum has too many parts"));
        }
        let mut sum = ExactSum::default();
        for _ in 0..length {
            // Adding again restores the invariant whatever the bytes were.
            sum.add_part(reader.f64()?);
        }
        Ok(sum)
    }
}

/// `a + b` rounded, and what rounding took away. Exact for all finite floats whose sum is finite (Knuth).
fn two_sum(a: f64, b: f64) -> (f64, f64) {
    let sum = a + b;
    let b_seen = sum - a;
    let a_seen = sum - b_seen;
    (sum, (a - a_seen) + (b - b_seen))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(terms: &[f64]) -> ExactSum {
        let mut sum = ExactSum::default();
        terms.iter().for_each(|term| sum.add(*term));
        sum
    }

    #[test]
    fn nothing_is_lost_between_large_and_small_terms() {
        assert_eq!(of(&[1e100, 1.0, -1e100]).value(), 1.0);
        assert_eq!(of(&[0.1; 10]).value(), 1.0);
        assert_eq!(of(&[]).value(), 0.0);
        assert_eq!(of(&[1.0, -1.0]).value().to_bits(), 0);
        assert_eq!(of(&[f64::MAX, f64::MAX, -f64::MAX, -f64::MAX, 3.0]).value(), 3.0);
        // Half a step above 1, tipped up by the tiniest float.
        let half = f64::EPSILON / 2.0;
        assert_eq!(of(&[1.0, half]).value(), 1.0);
        assert_eq!(of(&[1.0, half, f64::from_bits(1)]).value(), 1.0 + f64::EPSILON);
    }

    /// Any finite float.
    fn term() -> impl Strategy<Value = f64> {
        prop_oneof![
            -1e6..1e6_f64,
            any::<u64>().prop_map(f64::from_bits).prop_filter("finite", |value| value.is_finite())
        ]
    }

    proptest! {
        #[test]
        fn order_and_split_do_not_matter(
            (terms, shuffled) in prop::collection::vec(term(), 0..60)
                .prop_flat_map(|terms| (Just(terms.clone()), Just(terms).prop_shuffle())),
            cut in 0..60_usize,
        ) {
            let whole = of(&terms).value();
            let cut = cut.min(shuffled.len());
            let mut merged = of(&shuffled[cut..]);
            merged.merge(&of(&shuffled[..cut]));
            prop_assert_eq!(merged.value().to_bits(), whole.to_bits());
            let mut bytes = Vec::new();
            merged.write(&mut bytes);
            let read = ExactSum::read(&mut Reader::new(&bytes)).unwrap();
            prop_assert_eq!(read.value().to_bits(), whole.to_bits());
        }

        #[test]
        fn sums_of_integers_are_exact(terms in prop::collection::vec(-(1_i64 << 52)..(1 << 52), 0..50)) {
            let floats: Vec<f64> = terms.iter().map(|term| *term as f64).collect();
            let sum: i128 = terms.iter().map(|term| i128::from(*term)).sum();
            prop_assert_eq!(of(&floats).value(), sum as f64);
        }
    }
}
