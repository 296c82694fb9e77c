//! How many different values: exact up to 256 of them, then estimated with a standard error of 1.6 %.
//!
//! Values are known by 64-bit hashes. Up to 256 hashes are kept as they are (2 KiB); beyond that a
//! HyperLogLog of 4,096 one-byte registers (4 KiB) replaces them, read with the improved estimator of O.
//! Ertl, "New cardinality estimation algorithms for HyperLogLog sketches" (2017). Order and split of the
//! values do not matter.

use weir_pdata::Fnv;

use crate::state::codec::{Malformed, Reader, put_u64};

const MOST_EXACT: usize = 256;
/// Bits of a hash that choose the register.
const INDEX_BITS: u32 = 12;
const REGISTERS: usize = 1 << INDEX_BITS;
/// The largest value of a register: zeros among the other bits, and one.
const HIGHEST: u8 = (64 - INDEX_BITS + 1) as u8;

/// A set of hashes, or a sketch of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Distinct {
    /// The hashes, in rising order.
    Exact(Vec<u64>),
    /// The registers.
    Sketch(Box<[u8]>),
}

impl Default for Distinct {
    fn default() -> Distinct {
        Distinct::Exact(Vec::new())
    }
}

/// The hash of a value's text: FNV-1a with the finaliser of MurmurHash3. The same on every machine and in
/// every run.
pub(crate) fn hash(text: &str) -> u64 {
    Fnv::of(text.bytes()).mixed()
}

impl Distinct {
    /// Adds a value by its [`hash`].
    pub(crate) fn add(&mut self, hash: u64) {
        match self {
            Distinct::Exact(hashes) => {
                if let Err(at) = hashes.binary_search(&hash) {
                    hashes.insert(at, hash);
                    if hashes.len() > MOST_EXACT {
                        let mut registers = vec![0; REGISTERS].into_boxed_slice();
                        hashes.iter().for_each(|hash| raise(&mut registers, *hash));
                        *self = Distinct::Sketch(registers);
                    }
                }
            }
            Distinct::Sketch(registers) => raise(registers, hash),
        }
    }

    /// Adds every value that `other` has.
    pub(crate) fn merge(&mut self, other: &Distinct) {
        match (&mut *self, other) {
            (_, Distinct::Exact(hashes)) => hashes.iter().for_each(|hash| self.add(*hash)),
            (Distinct::Sketch(registers), Distinct::Sketch(others)) => {
                for (register, other) in registers.iter_mut().zip(others) {
                    *register = (*register).max(*other);
                }
            }
            (Distinct::Exact(hashes), Distinct::Sketch(others)) => {
                let mut registers = others.clone();
                hashes.iter().for_each(|hash| raise(&mut registers, *hash));
                *self = Distinct::Sketch(registers);
            }
        }
    }

    /// Whether nothing was added.
    pub(crate) fn is_empty(&self) -> bool {
        matches!(self, Distinct::Exact(hashes) if hashes.is_empty())
    }

    /// The number of different values, rounded to a whole one.
    pub(crate) fn value(&self) -> f64 {
        match self {
            Distinct::Exact(hashes) => hashes.len() as f64,
            Distinct::Sketch(registers) => estimate(registers).round(),
        }
    }

    /// Appends the bytes: 0, the number of hashes and the hashes; or 1 and the registers.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        match self {
            Distinct::Exact(hashes) => {
                out.push(0);
                put_u64(out, hashes.len() as u64);
                hashes.iter().for_each(|hash| out.extend_from_slice(&hash.to_le_bytes()));
            }
            Distinct::Sketch(registers) => {
                out.push(1);
                out.extend_from_slice(registers);
            }
        }
    }

    /// Reads the bytes.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Distinct, Malformed> {
        match reader.byte()? {
            0 => {
                let length = reader.length(8)?;
                if length > MOST_EXACT {
                    return Err(Malformed("a set is too large"));
                }
                let mut distinct = Distinct::default();
                for bytes in reader.bytes(length * 8)?.as_chunks::<8>().0 {
                    distinct.add(u64::from_le_bytes(*bytes));
                }
                Ok(distinct)
            }
            1 => {
                let registers = reader.bytes(REGISTERS)?;
                if registers.iter().any(|register| *register > HIGHEST) {
                    return Err(Malformed("a register is too large"));
                }
                Ok(Distinct::Sketch(registers.into()))
            }
            _ => Err(Malformed("a set of an unknown kind")),
        }
    }
}

fn raise(registers: &mut [u8], hash: u64) {
    let index = (hash >> (64 - INDEX_BITS)) as usize;
    let zeros = (hash << INDEX_BITS | 1 << (INDEX_BITS - 1)).leading_zeros() as u8;
    registers[index] = registers[index].max((zeros + 1).min(HIGHEST));
}

fn estimate(registers: &[u8]) -> f64 {
    let mut counts = [0_u32; HIGHEST as usize + 1];
    registers.iter().for_each(|register| counts[usize::from(*register)] += 1);
    let all = REGISTERS as f64;
    let highest = usize::from(HIGHEST);
    let mut sum = all * tau(1.0 - f64::from(counts[highest]) / all);
    for count in counts[1..highest].iter().rev() {
        sum = 0.5 * (sum + f64::from(*count));
    }
    sum += all * sigma(f64::from(counts[0]) / all);
    all * all / (2.0 * std::f64::consts::LN_2 * sum)
}

/// Corrects for registers that saw nothing. `share` is below 1: a sketch is never empty.
fn sigma(share: f64) -> f64 {
    let (mut power, mut weight, mut sum) = (share, 1.0, share);
    for _ in 0..64 {
        power *= power;
        let before = sum;
        sum += power * weight;
        weight += weight;
        if sum == before {
            break;
        }
    }
    sum
}

/// Corrects for registers at their highest value.
fn tau(share: f64) -> f64 {
    if share <= 0.0 || share >= 1.0 {
        return 0.0;
    }
    let (mut root, mut weight, mut sum) = (share, 1.0, 1.0 - share);
    for _ in 0..1024 {
        root = root.sqrt();
        let before = sum;
        weight *= 0.5;
        sum -= (1.0 - root) * (1.0 - root) * weight;
        if sum == before {
            break;
        }
    }
    sum / 3.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(values: impl IntoIterator<Item = u32>) -> Distinct {
        let mut distinct = Distinct::default();
        values.into_iter().for_each(|value| distinct.add(hash(&value.to_string())));
        distinct
    }

    #[test]
    fn few_values_are_counted_exactly() {
        assert_eq!(of([]).value(), 0.0);
        assert_eq!(of([1, 2, 1, 3]).value(), 3.0);
        assert_eq!(of((0..256).chain(0..256)).value(), 256.0);
    }

    #[test]
    fn many_values_are_estimated_within_five_percent() {
        for count in [257_u32, 1_000, 5_000, 20_000, 100_000, 1_000_000] {
            let value = of(0..count).value();
            let error = (value - f64::from(count)).abs() / f64::from(count);
            assert!(error < 0.05, "{count}: {value}");
        }
    }

    proptest! {
        #[test]
        fn order_and_split_do_not_matter(
            (values, shuffled) in prop::collection::vec(0..600_u32, 0..700)
                .prop_flat_map(|values| (Just(values.clone()), Just(values).prop_shuffle())),
            cut in 0..700_usize,
        ) {
            let cut = cut.min(shuffled.len());
            let mut merged = of(shuffled[..cut].iter().copied());
            merged.merge(&of(shuffled[cut..].iter().copied()));
            prop_assert_eq!(&merged, &of(values));
            let mut bytes = Vec::new();
            merged.write(&mut bytes);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(Distinct::read(&mut reader), Ok(merged));
            prop_assert_eq!(reader.end(), Ok(()));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = Distinct::read(&mut Reader::new(&bytes)).map(|distinct| distinct.value());
        }
    }
}
