//! Thresholds and randomness of OpenTelemetry's probability sampling: numbers of 56 bits.
//!
//! A trace stays when its randomness is at least the threshold. So the threshold 0 keeps all of them, and
//! `T` keeps the share (2^56 - T) / 2^56.

use weir_pdata::Fnv;

/// Hexadecimal digits of 56 bits.
pub(crate) const DIGITS: u32 = 14;
const ALL: u64 = 1 << 56;

/// How much randomness a trace needs to stay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Threshold(u64);

impl Threshold {
    /// The threshold that keeps this share of traces, with so many significant digits; those at the front
    /// that are all 0 do not count. `None`: the share is not above 0 and at most 1, or the digits say that
    /// nothing stays.
    pub(crate) fn of_probability(share: f64, precision: u32) -> Option<Threshold> {
        if !(1.0 / ALL as f64..=1.0).contains(&share) {
            return None;
        }
        let threshold = ALL - (share * ALL as f64).round() as u64;
        let zeros = (threshold.leading_zeros() - 8) / 4;
        let digits = DIGITS.min(precision + if threshold == 0 { 0 } else { zeros });
        let shift = 4 * (DIGITS - digits);
        let half = (1_u64 << shift) >> 1;
        let rounded = (threshold + half) >> shift << shift;
        (rounded < ALL).then_some(Threshold(rounded))
    }

    /// Reads the value of `th`: up to 14 digits; those that are missing at the end are 0.
    pub(crate) fn parse(text: &str) -> Option<Threshold> {
        let digits = u32::try_from(text.len()).ok().filter(|digits| (1..=DIGITS).contains(digits))?;
        Some(Threshold(hex(text)? << (4 * (DIGITS - digits))))
    }

    /// The value of `th`.
    pub(crate) fn digits(self) -> String {
        let digits = format!("{:014x}", self.0);
        match digits.trim_end_matches('0') {
            "" => "0".to_owned(),
            trimmed => trimmed.to_owned(),
        }
    }

    /// How many rows one stands for that has stayed.
    pub(crate) fn adjusted_count(self) -> f64 {
        ALL as f64 / (ALL - self.0) as f64
    }

    /// Whether a trace with this randomness stays.
    pub(crate) fn keeps(self, randomness: Randomness) -> bool {
        randomness.0 >= self.0
    }
}

/// The randomness of a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Randomness(u64);

/// Where the randomness of a trace is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The last 14 digits of a trace id of 16 bytes.
    TraceId(Randomness),
    /// The hash of an id of another form.
    Hash(Randomness),
}

impl Randomness {
    /// Reads the value of `rv`: 14 digits.
    pub(crate) fn parse(text: &str) -> Option<Randomness> {
        if text.len() == DIGITS as usize { hex(text).map(Randomness) } else { None }
    }

    /// Writes the value of `rv` in place of what `out` has.
    pub(crate) fn write(self, out: &mut String) {
        use std::fmt::Write as _;
        out.clear();
        // Writing to a String cannot fail.
        let _ = write!(out, "{:014x}", self.0);
    }

    /// That of a trace. `None`: the id is empty or all 0, so that the row is in no trace.
    pub(crate) fn of_trace_id(id: &str) -> Option<Source> {
        if id.is_empty() {
            return None;
        }
        if id.len() == 32
            && let (Some(high), Some(low)) =
                (id.get(..18).filter(|high| is_hex(high)), id.get(18..).and_then(hex))
        {
            let is_zero = low == 0 && high.bytes().all(|digit| digit == b'0');
            return (!is_zero).then_some(Source::TraceId(Randomness(low)));
        }
        Some(Source::Hash(Randomness(Fnv::of(id.bytes()).mixed() & (ALL - 1))))
    }
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|digit| digit.is_ascii_hexdigit())
}

/// A text of hexadecimal digits alone.
fn hex(text: &str) -> Option<u64> {
    // `from_str_radix` takes a sign, too.
    if is_hex(text) { u64::from_str_radix(text, 16).ok() } else { None }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    impl Randomness {
        /// The value of `rv`.
        pub(crate) fn digits(self) -> String {
            let mut digits = String::new();
            self.write(&mut digits);
            digits
        }
    }

    /// From the tests of the Collector's package `sampling`, which cite OTEP 235.
    #[test]
    fn probabilities_have_the_thresholds_of_the_collector() {
        let full = |share: f64| Threshold::of_probability(share, DIGITS).map(Threshold::digits);
        for (share, digits) in [
            (1.0, "0"),
            (0.5, "8"),
            (1.0 / ALL as f64, "ffffffffffffff"),
            (1.0 / 3.0, "aaaaaaaaaaaaac"),
            (2.0 / 3.0, "55555555555558"),
            (1.0 - 84.0 / 256.0, "54"),
            (1.0 - 1.0 / 256.0, "01"),
            (256.0 / ALL as f64, "ffffffffffff"),
        ] {
            assert_eq!(full(share).as_deref(), Some(digits), "{share}");
        }
        for share in [0.0, -0.5, 1.1, 0.5 / ALL as f64, f64::NAN] {
            assert_eq!(full(share), None, "{share}");
        }
    }

    #[test]
    fn fewer_digits_are_rounded_and_leading_zeros_do_not_count() {
        type Rounded = &'static [(u32, &'static str)];
        let vectors: [(u64, u32, Rounded); 5] = [
            (0x456_789a, 28, &[(6, "45678a"), (5, "45679"), (4, "4568"), (3, "456"), (2, "45"), (1, "4")]),
            (0x456_789a, 40, &[(6, "00045678a"), (5, "00045679"), (3, "000456"), (1, "0004")]),
            (
                0x7_89ab_cdef,
                40,
                &[(9, "0789abcdef"), (8, "0789abcdf"), (6, "0789abd"), (3, "078a"), (1, "08")],
            ),
            (0x1234_5678, 32, &[(7, "1234568"), (4, "1234"), (1, "1")]),
            (0x8_0801, 28, &[(3, "00808"), (1, "008")]),
        ];
        for (reject, bits, rounded) in vectors {
            let share = 1.0 - reject as f64 / (1_u64 << bits) as f64;
            for (precision, digits) in rounded {
                let threshold = Threshold::of_probability(share, *precision).map(Threshold::digits);
                assert_eq!(threshold.as_deref(), Some(*digits), "{reject:x} {precision}");
            }
        }
        assert_eq!(Threshold::of_probability(0.1, 4).map(Threshold::digits).as_deref(), Some("e666"));
        assert_eq!(Threshold::of_probability(1e-6, 4), None, "rounded, nothing would stay");
    }

    #[test]
    fn adjusted_counts_are_the_inverse_of_the_share() {
        let count = |th: &str| Threshold::parse(th).map(Threshold::adjusted_count);
        for (th, adjusted) in [("0", 1.0), ("8", 2.0), ("c", 4.0), ("e", 8.0), ("f", 16.0), ("000", 1.0)] {
            assert_eq!(count(th), Some(adjusted), "{th}");
        }
        assert_eq!(count("ffffffffffffff"), Some(72_057_594_037_927_936.0));
        for th in ["", "g", "14.5", "-1", "+1", "0x1", "ffffffffffffff0"] {
            assert_eq!(count(th), None, "{th}");
        }
    }

    #[test]
    fn randomness_is_in_the_last_seven_bytes() {
        let half = Threshold::of_probability(0.5, DIGITS).unwrap();
        let keeps = |low: &str| match Randomness::of_trace_id(&format!("eeeeeeeeeeeeeeeeee{low}")) {
            Some(Source::TraceId(randomness)) => half.keeps(randomness),
            other => panic!("{other:?}"),
        };
        assert!(!keeps("00000000000000") && !keeps("7fffffffffffff"));
        assert!(keeps("80000000000000") && keeps("FFFFFFFFFFFFFF"));
        assert_eq!(
            Randomness::parse("12341234123412").map(Randomness::digits).as_deref(),
            Some("12341234123412")
        );
        for rv in ["123412341234120", "1234123412341", "", "abcdefgabcdefg"] {
            assert_eq!(Randomness::parse(rv), None, "{rv}");
        }
        assert_eq!(Randomness::of_trace_id(&"0".repeat(32)), None);
        assert_eq!(Randomness::of_trace_id(""), None);
    }

    /// Computed by a program of its own: FNV-1a and the finisher of MurmurHash3, in Python.
    #[test]
    fn other_ids_are_hashed() {
        for (id, digits) in [
            ("de5980b8fce34a37aab9b4ac3af7eedd.1.16563474296430001", "7a5fd81a389c3f"),
            ("4f2f27748b8e44ecaf18fe0347194e8g", "ffb4940b8d62a5"),
            ("a", "a2a958a9bece5b"),
        ] {
            let Some(Source::Hash(randomness)) = Randomness::of_trace_id(id) else { panic!("{id}") };
            assert_eq!(randomness.digits(), digits, "{id}");
        }
    }

    #[test]
    fn hashes_of_ids_that_count_up_are_spread_evenly() {
        let tenth = Threshold::of_probability(0.1, 4).unwrap();
        let stays = |n: &u64| {
            let id = format!("de5980b8fce34a37aab9b4ac3af7eedd.{}.{}", n % 40, 16_563_474_296_430_001 + n);
            matches!(Randomness::of_trace_id(&id), Some(Source::Hash(randomness)) if tenth.keeps(randomness))
        };
        let stayed = (0..100_000).filter(stays).count();
        // Five standard deviations of a binomial distribution.
        assert!(stayed.abs_diff(10_000) < 475, "{stayed}");
    }
}
