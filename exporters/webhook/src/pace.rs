//! The pace of requests: a target that takes so many in a minute is not sent more.

use std::time::Duration;

use tokio::sync::Mutex;
use tokio::time::{Instant, sleep_until};

/// Spreads requests evenly. What comes meanwhile waits, and goes into the next request.
#[derive(Debug)]
pub(crate) struct Pace {
    between: Duration,
    next: Mutex<Option<Instant>>,
}

impl Pace {
    /// So many in a minute, at most; 0: no bound.
    pub(crate) fn per_minute(requests: u32) -> Pace {
        Pace { between: Pace::longest(requests), next: Mutex::new(None) }
    }

    /// The longest that one request waits for the one before it.
    pub(crate) fn longest(requests: u32) -> Duration {
        Duration::from_secs(60).checked_div(requests).unwrap_or_default()
    }

    /// Waits for the turn of a request.
    pub(crate) async fn turn(&self) {
        if self.between.is_zero() {
            return;
        }
        let mut next = self.next.lock().await;
        if let Some(next) = *next {
            sleep_until(next).await;
        }
        *next = Some(Instant::now() + self.between);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn requests_are_spread_and_the_first_does_not_wait() {
        let pace = Pace::per_minute(600);
        let began = Instant::now();
        pace.turn().await;
        assert!(began.elapsed() < Duration::from_millis(90));
        pace.turn().await;
        pace.turn().await;
        assert!(began.elapsed() >= Duration::from_millis(200), "{:?}", began.elapsed());
        Pace::per_minute(0).turn().await;
    }
}
