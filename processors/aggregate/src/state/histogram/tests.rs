use super::*;
use hdrhistogram::Histogram as Hdr;
use proptest::prelude::*;

fn of(values: &[u64]) -> Histogram {
    let mut histogram = Histogram::default();
    values.iter().for_each(|value| histogram.record(of_integer(*value)));
    histogram
}

#[test]
fn small_integers_are_exact_and_the_ends_of_the_range_have_buckets() {
    for value in 0..256 {
        assert_eq!(integer(of_integer(value)), value);
    }
    assert_eq!(of_integer(u64::MAX), LAST_INTEGER);
    assert_eq!(integer(i32::MAX), integer(LAST_INTEGER));
    assert_eq!(integer(i32::MIN), 0);
    assert_eq!(float(i32::MAX), float(of_float(f64::MAX)));
    assert!(float(of_float(f64::MAX)).is_finite());
    assert_eq!(float(i32::MIN), -float(i32::MAX));
}

#[test]
fn the_rank_of_a_share_is_not_pushed_up_by_rounding() {
    assert_eq!(Fraction::new(0.07).rank(100), 7);
    assert_eq!(Fraction::percent(95).rank(20), 19);
    assert_eq!(Fraction::percent(95).rank(21), 20);
    assert_eq!(Fraction::new(0.0).rank(5), 1);
    assert_eq!(Fraction::new(1.0).rank(5), 5);
    assert_eq!(Histogram::default().quantile(Fraction::percent(50)), None);
}

proptest! {
    #[test]
    fn a_bucket_is_within_half_a_percent_of_its_values(value: u64, float_value in 1e-200..1e200_f64) {
        let error = integer(of_integer(value)).abs_diff(value) as f64 / (value.max(1) as f64);
        prop_assert!(error < 0.004, "{} {}", value, error);
        for value in [float_value, -float_value] {
            prop_assert!(((float(of_float(value)) - value) / value).abs() < 0.004);
        }
    }

    #[test]
    fn buckets_rise_with_their_values(a: u64, b: u64, x in -1e9..1e9_f64, y in -1e9..1e9_f64) {
        prop_assert!((a <= b) == (of_integer(a) <= of_integer(b)) || of_integer(a) == of_integer(b));
        prop_assert!((x <= y) == (of_float(x) <= of_float(y)) || of_float(x) == of_float(y));
    }

    #[test]
    fn quantiles_are_those_of_hdrhistogram_within_one_percent(
        values in prop::collection::vec(0..3_600_000_000_000_u64, 1..300),
        // Shares that floats hold exactly: hdrhistogram rounds 0.14 of 50 values up to 8.
        share in prop::sample::select(vec![0.125, 0.25, 0.5, 0.75, 1.0]),
    ) {
        let mut hdr = Hdr::<u64>::new(3).unwrap();
        values.iter().for_each(|value| hdr.record(*value).unwrap());
        let theirs = hdr.value_at_quantile(share) as f64;
        let ours = integer(of(&values).quantile(Fraction::new(share)).unwrap()) as f64;
        prop_assert!((ours - theirs).abs() <= theirs * 0.01, "{} {}", ours, theirs);
    }

    #[test]
    fn merging_and_the_bytes_lose_nothing(
        a in prop::collection::vec(any::<u64>(), 0..50),
        b in prop::collection::vec(0..1000_u64, 0..50),
    ) {
        let mut merged = of(&a);
        merged.merge(&of(&b));
        let all: Vec<u64> = a.iter().chain(&b).copied().collect();
        prop_assert_eq!(&merged, &of(&all));
        let mut bytes = Vec::new();
        merged.write(&mut bytes);
        let mut reader = Reader::new(&bytes);
        prop_assert_eq!(Histogram::read(&mut reader), Ok(merged));
        prop_assert_eq!(reader.end(), Ok(()));
    }

    /// Whatever way they are kept in: of few values, of many near each other, of both.
    #[test]
    fn counts_are_those_of_a_map(
        near in prop::collection::vec(100..200_u64, 0..300),
        far in prop::collection::vec(any::<u64>(), 0..4),
        more in prop::collection::vec(90..260_u64, 0..300),
        gone in 0..100_usize,
    ) {
        let mut values = [near, far, more].concat();
        let mut histogram = of(&values);
        let split = values.split_off(gone * values.len() / 100);
        let mut rest = histogram.clone();
        assert!(rest.subtract(&of(&split)));
        let mut again = rest.clone();
        again.merge(&of(&split));
        prop_assert_eq!(&again, &histogram);
        let mut counts = std::collections::BTreeMap::new();
        values.iter().for_each(|value| *counts.entry(of_integer(*value)).or_default() += 1_u64);
        prop_assert_eq!(rest.iter().collect::<Vec<_>>(), counts.into_iter().collect::<Vec<_>>());
        prop_assert_eq!(rest.len(), rest.iter().count());
        assert!(histogram.subtract(&again));
        prop_assert_eq!(histogram.len(), 0);
    }

    #[test]
    fn what_is_taken_out_was_never_there(
        a in prop::collection::vec(0..600_u64, 0..40),
        b in prop::collection::vec(0..600_u64, 0..40),
    ) {
        let (mut all, b) = (of(&a), of(&b));
        all.merge(&b);
        assert!(all.subtract(&b));
        prop_assert_eq!(&all, &of(&a));
        assert!(all.subtract(&of(&a)));
        prop_assert_eq!(all, Histogram::default());
    }

    #[test]
    fn several_quantiles_are_each_of_them(values in prop::collection::vec(0..600_u64, 0..40)) {
        let shares = [0, 1, 50, 50, 99, 100].map(Fraction::percent);
        let each = shares.map(|share| of(&values).quantile(share));
        prop_assert_eq!(of(&values).quantiles(shares).map(|all| all.map(Some)).unwrap_or_default(), each);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        if let Ok(histogram) = Histogram::read(&mut Reader::new(&bytes)) {
            let _ = histogram.quantile(Fraction::percent(50)).map(|bucket| (integer(bucket), float(bucket)));
        }
    }
}
