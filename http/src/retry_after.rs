//! The header `Retry-After` of an answer.

use std::time::Duration;

use chrono::DateTime;
use hyper::header::{HeaderMap, RETRY_AFTER};

/// The longest wait that a server may ask for.
pub const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// How long a server asks to be left alone, by seconds or a date (RFC 9110, 10.2.3); at most
/// [`LONGEST_WAIT`]. `None`: it does not say so, or not in a form that is known. `now_ms`: the time now.
#[must_use]
pub fn retry_after(headers: &HeaderMap, now_ms: i64) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match value.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = DateTime::parse_from_rfc2822(value).ok()?;
            Duration::from_millis(u64::try_from(at.timestamp_millis().saturating_sub(now_ms)).unwrap_or(0))
        }
    };
    Some(wait.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_seconds_or_a_date_and_bounded() {
        let after = |value: &str| {
            retry_after(&HeaderMap::from_iter([(RETRY_AFTER, value.parse().unwrap())]), 1_445_412_420_000)
        };
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        assert_eq!(after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(after("Sat, 21 Oct 2000 07:28:00 GMT"), Some(Duration::ZERO));
        assert_eq!(after("99999999"), Some(LONGEST_WAIT));
        assert_eq!(after("soon"), None);
        assert_eq!(retry_after(&HeaderMap::new(), 0), None);
    }
}
