//! References are computed from observations, and by hand from the definition of a quantile in a bucket.

use super::*;
use proptest::prelude::*;

fn explicit<'a>(bounds: &'a [f64], counts: &'a [u64]) -> Buckets {
    let mut buckets = Buckets::default();
    assert!(buckets.add(&PointBuckets::Explicit { bounds, counts }, 1));
    buckets
}

fn exponential_point(scale: i32, zeros: u64, positive: (i32, &[u64]), negative: (i32, &[u64])) -> Buckets {
    let mut buckets = Buckets::default();
    let point = PointBuckets::Exponential { scale, zeros, zero_threshold: 0.0, positive, negative };
    assert!(buckets.add(&point, 1));
    buckets
}

/// 10 observations up to 1, 20 from 1 to 2, none to 5, 70 beyond. By hand.
#[test]
fn explicit_buckets_are_interpolated_as_prometheus_does() {
    let buckets = explicit(&[1.0, 2.0, 5.0], &[10, 20, 0, 70]);
    for (share, value) in
        [(0.0, 0.0), (0.05, 0.5), (0.1, 1.0), (0.2, 1.5), (0.3, 2.0), (0.31, 5.0), (1.0, 5.0)]
    {
        assert_eq!(buckets.quantile(share), Some(value), "{share}");
    }
    // The lowest bucket has no lower end when its bound is not above 0.
    let low = explicit(&[-1.0, 1.0], &[4, 4, 0]);
    assert_eq!([0.25, 0.5, 0.75].map(|share| low.quantile(share)), [Some(-1.0), Some(-1.0), Some(0.0)]);
    assert_eq!(explicit(&[], &[9]).quantile(0.5), None, "no bounds");
    assert_eq!(explicit(&[1.0], &[0, 0]).quantile(0.5), None, "no observations");
}

/// Scale 0: buckets from one power of two to the next. By hand.
#[test]
fn exponential_buckets_are_interpolated_by_ratio() {
    // Four observations from 2 to 4, four from 8 to 16.
    let buckets = exponential_point(0, 0, (1, &[4, 0, 4]), (0, &[]));
    for (share, value) in
        [(0.0, 2.0), (0.25, 8.0_f64.sqrt()), (0.5, 4.0), (0.75, 128.0_f64.sqrt()), (1.0, 16.0)]
    {
        let found = buckets.quantile(share).unwrap();
        assert!((found - value).abs() < 1e-12 * value, "{share}: {found}");
    }
    // Two from -4 to -2, two zeros, two from 2 to 4.
    let signs = exponential_point(0, 2, (1, &[2]), (1, &[2]));
    let found = [0.0, 1.0 / 3.0, 0.5, 2.0 / 3.0, 1.0].map(|share| signs.quantile(share).unwrap());
    for (found, value) in found.into_iter().zip([-4.0, -2.0, 0.0, 0.0, 4.0]) {
        assert!((found - value).abs() < 1e-12, "{found} {value}");
    }
}

#[test]
fn points_without_common_buckets_have_no_quantile() {
    let (mut one, other) = (explicit(&[1.0], &[1, 1]), explicit(&[2.0], &[1, 1]));
    one.merge(&other);
    assert_eq!(one.quantile(0.5), None);
    let mut left = exponential_point(0, 0, (1, &[4]), (0, &[]));
    left.merge(&other);
    assert_eq!(left.quantile(0.5), None);
    left.merge(&explicit(&[1.0], &[1, 1]));
    assert_eq!(left, one, "in whatever order");
}

/// The bucket of a value by the definition of OpenTelemetry: `base`^index < value <= `base`^(index + 1).
fn index(value: f64, scale: i32) -> i32 {
    let base = 2_f64.powf(2_f64.powi(-scale));
    let mut index = (value.ln() / base.ln()).ceil() as i32 - 1;
    while base.powi(index) >= value {
        index -= 1;
    }
    while base.powi(index + 1) < value {
        index += 1;
    }
    index
}

/// Points of one to a few observations each.
fn points(values: &[f64], scales: &[i32]) -> Vec<Buckets> {
    let scales = scales.iter().cycle();
    let point = |(value, scale): (&f64, &i32)| match *value {
        0.0 => exponential_point(*scale, 1, (0, &[]), (0, &[])),
        value if value > 0.0 => exponential_point(*scale, 0, (index(value, *scale), &[1]), (0, &[])),
        value => exponential_point(*scale, 0, (0, &[]), (index(-value, *scale), &[1])),
    };
    values.iter().zip(scales).map(point).collect()
}

fn merged(parts: &[Buckets]) -> Buckets {
    let mut all = Buckets::default();
    parts.iter().for_each(|part| all.merge(part));
    all
}

fn value() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), 1e-3..1e3_f64, -1e3..-1e-3_f64]
}

proptest! {
    /// The quantile is in the bucket of the observation of that rank, at the coarsest of the scales.
    #[test]
    fn a_quantile_is_in_the_bucket_of_its_rank(
        mut values in prop::collection::vec(value(), 1..60),
        scales in prop::collection::vec(-2..6_i32, 1..4),
        share in 0.001..1.0_f64,
    ) {
        let all = merged(&points(&values, &scales));
        let coarsest = *scales[..scales.len().min(values.len())].iter().min().unwrap();
        values.sort_by(f64::total_cmp);
        let rank = (share * values.len() as f64).ceil().max(1.0) as usize;
        let exact = values[rank - 1];
        let found = all.quantile(share).unwrap();
        if exact == 0.0 {
            prop_assert_eq!(found, 0.0);
        } else {
            let width = 2_f64.powf(2_f64.powi(-coarsest)) * (1.0 + 1e-9);
            prop_assert!(found / exact <= width && exact / found <= width, "{} {}", found, exact);
        }
    }

    #[test]
    fn order_split_and_the_bytes_do_not_matter(
        values in prop::collection::vec(value(), 0..40),
        scales in prop::collection::vec(-2..20_i32, 1..4),
        cut in 0..40_usize,
    ) {
        let parts = points(&values, &scales);
        let whole = merged(&parts);
        let cut = cut.min(parts.len());
        let (first, second) = (merged(&parts[..cut]), merged(&parts[cut..]));
        let mut turned = second;
        turned.merge(&first);
        prop_assert_eq!(&turned, &whole);
        let mut bytes = Vec::new();
        whole.write(&mut bytes);
        let mut reader = Reader::new(&bytes);
        prop_assert_eq!(&Buckets::read(&mut reader).unwrap(), &whole);
        prop_assert_eq!(reader.end(), Ok(()));
    }

    #[test]
    fn many_buckets_make_the_scale_coarser_in_whatever_order(
        exponents in prop::collection::btree_set(-40_000..40_000_i32, 400..700),
        cut in 0..700_usize,
    ) {
        let exponents: Vec<i32> = exponents.into_iter().collect();
        let parts: Vec<Buckets> =
            exponents.iter().map(|index| exponential_point(10, 0, (*index, &[1]), (0, &[]))).collect();
        let whole = merged(&parts);
        prop_assert!(whole.positive.len() <= MOST);
        let cut = cut.min(parts.len());
        let mut turned = merged(&parts[cut..]);
        turned.merge(&merged(&parts[..cut]));
        prop_assert_eq!(turned, whole);
    }

    #[test]
    fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        if let Ok(buckets) = Buckets::read(&mut Reader::new(&bytes)) {
            let _ = buckets.quantile(0.5);
        }
    }
}

/// Ten observations within 1 of zero, and ten near 0.1, which are among them: 20 in the bucket around zero,
/// which goes from 0 to 1.
#[test]
fn what_lies_within_the_wider_zero_threshold_is_around_zero() {
    let point = |zeros: u64, zero_threshold: f64, positive: (i32, &[u64])| {
        let mut buckets = Buckets::default();
        let negative: (i32, &[u64]) = (0, &[]);
        let point = PointBuckets::Exponential { scale: 0, zeros, zero_threshold, positive, negative };
        assert!(buckets.add(&point, 1));
        buckets
    };
    // From 1/16 to 1/8.
    let (wide, near) = (point(10, 1.0, (0, &[])), point(0, 0.0, (-4, &[10])));
    for parts in [[wide.clone(), near.clone()], [near.clone(), wide.clone()]] {
        let all = merged(&parts);
        assert_eq!([0.5, 0.6, 1.0].map(|share| all.quantile(share)), [Some(0.5), Some(0.6), Some(1.0)]);
    }
    // A threshold within a bucket reaches to its end: 3 is in the one from 2 to 4.
    let all = merged(&[point(10, 3.0, (0, &[])), point(0, 0.0, (1, &[10, 20]))]);
    let found = [0.25, 0.5, 1.0].map(|share| all.quantile(share).unwrap());
    assert!(
        (found[0] - 2.0).abs() < 1e-12 && (found[1] - 4.0).abs() < 1e-12 && (found[2] - 8.0).abs() < 1e-12,
        "{found:?}"
    );
}

#[test]
fn a_point_without_observations_in_buckets_changes_nothing() {
    let bounds = [1.0, 2.0];
    let whole = explicit(&bounds, &[10, 10, 0]);
    for empty in [explicit(&[], &[]), explicit(&[5.0], &[0, 0]), exponential_point(3, 0, (0, &[0]), (0, &[]))]
    {
        assert!(empty.is_empty());
        assert_eq!(merged(&[whole.clone(), empty.clone()]).quantile(0.5), Some(1.0));
        assert_eq!(merged(&[empty, whole.clone()]).quantile(0.5), Some(1.0));
    }
}
