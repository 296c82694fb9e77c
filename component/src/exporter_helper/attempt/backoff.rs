//! Growing, jittered waits between attempts.

use std::time::Duration;

use rand::RngExt;

use crate::exporter_helper::RetryConfig;

/// The waits of one series of attempts.
#[derive(Clone, Debug)]
pub struct Backoff {
    config: RetryConfig,
    next: Duration,
}

impl Backoff {
    /// Starts at `initial_interval`.
    #[must_use]
    pub fn new(config: RetryConfig) -> Backoff {
        Backoff { next: config.initial_interval.get(), config }
    }

    /// The next wait: at least `not_before`, at most `max_interval` plus jitter.
    pub fn wait(&mut self, not_before: Option<Duration>, random: &mut impl rand::Rng) -> Duration {
        let max = self.config.max_interval.get();
        let base = self.next.min(max);
        self.next = base.mul_f64(self.config.multiplier.clamp(1.0, 1e3)).min(max);
        let jitter = self.config.randomization_factor.clamp(0.0, 1.0);
        let factor = 1.0 + jitter * random.random_range(-1.0..=1.0);
        base.mul_f64(factor).max(not_before.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn waits_grow_to_the_cap_within_the_jitter() {
        let config = RetryConfig {
            initial_interval: weir_config::Duration::from_millis(100),
            max_interval: weir_config::Duration::from_millis(400),
            multiplier: 2.0,
            ..RetryConfig::default()
        };
        let mut random = rand::rngs::StdRng::seed_from_u64(1);
        let mut backoff = Backoff::new(config);
        for expected in [100, 200, 400, 400] {
            let wait = backoff.wait(None, &mut random).as_millis();
            assert!((expected / 2..=expected * 3 / 2).contains(&wait), "{wait} for {expected}");
        }
        let told = Duration::from_secs(9);
        assert_eq!(backoff.wait(Some(told), &mut random), told);
    }
}
