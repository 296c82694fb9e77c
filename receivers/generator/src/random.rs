//! Random numbers that depend on the seed and a position only, so that any segment can be made without those
//! before it.

/// A stream of numbers. Equal seeds and positions give equal streams, on every machine and in every version.
#[derive(Clone, Debug)]
pub(crate) struct Draws(u64);

impl Draws {
    /// The stream number `position` of `seed`.
    #[must_use]
    pub(crate) fn new(seed: u64, position: u64) -> Draws {
        Draws(mix(seed ^ 0x9e37_79b9_7f4a_7c15).wrapping_add(mix(position.wrapping_add(1))))
    }

    /// The next 64 bits: SplitMix64 (Steele, Lea, Flood 2014).
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number in `0..limit`; 0 when `limit` is 0. The bias is below limit / 2⁶⁴.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        let wide = u128::from(self.bits()) * u128::from(limit);
        // The high half of a 128-bit product fits.
        u64::try_from(wide >> 64).unwrap_or(0)
    }

    /// A number in `0.0..1.0`.
    pub(crate) fn share(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number with the standard normal distribution (Box, Muller 1958).
    pub(crate) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.share()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.share()).cos()
    }
}

fn mix(bits: u64) -> u64 {
    let bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

/// A log-normal distribution, given by two of its quantiles.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LogNormal {
    mu: f64,
    sigma: f64,
}

/// The 0.99 quantile of the standard normal distribution.
const Z99: f64 = 2.326_347_874_040_841;

impl LogNormal {
    /// The distribution with this median and 99th percentile, both above 0, the second not below the first.
    #[must_use]
    pub(crate) fn new(median: f64, p99: f64) -> LogNormal {
        LogNormal { mu: median.ln(), sigma: (p99 / median).ln() / Z99 }
    }

    /// A number from it.
    pub(crate) fn draw(&self, draws: &mut Draws) -> f64 {
        (self.mu + self.sigma * draws.normal()).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_never_change_between_versions() {
        let mut draws = Draws::new(7, 0);
        assert_eq!(draws.bits(), Draws::new(7, 0).bits());
        assert_ne!(Draws::new(7, 0).bits(), Draws::new(7, 1).bits());
        assert_ne!(Draws::new(7, 0).bits(), Draws::new(8, 0).bits());
        insta::assert_snapshot!(format!("{:x} {:x}", Draws::new(7, 0).bits(), Draws::new(7, 1).bits()), @"8d88b74cb19662d8 dd3e74496a75d84d");
    }

    #[test]
    fn numbers_below_a_limit_are_spread_evenly() {
        let mut found = [0u32; 10];
        for position in 0..10_000 {
            found[Draws::new(1, position).below(10) as usize] += 1;
        }
        assert!(found.iter().all(|count| (880..1120).contains(count)), "{found:?}");
        assert_eq!(Draws::new(1, 1).below(0), 0);
    }

    #[test]
    fn a_log_normal_distribution_has_the_median_and_percentile_it_was_made_from() {
        let latency = LogNormal::new(20.0, 400.0);
        let mut drawn: Vec<f64> =
            (0..100_000).map(|position| latency.draw(&mut Draws::new(3, position))).collect();
        drawn.sort_by(f64::total_cmp);
        assert!((19.5..20.5).contains(&drawn[50_000]), "{}", drawn[50_000]);
        assert!((370.0..430.0).contains(&drawn[99_000]), "{}", drawn[99_000]);
        let constant = LogNormal::new(5.0, 5.0);
        assert!((constant.draw(&mut Draws::new(1, 1)) - 5.0).abs() < 1e-9);
    }
}
