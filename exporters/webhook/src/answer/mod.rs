//! The meaning of a target's answer.

pub(crate) mod robot;

use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, LOCATION, RETRY_AFTER};
use weir_component::ExportError;

/// The longest wait that a target may ask for.
const LONGEST_WAIT: Duration = Duration::from_secs(3600);

/// The outcome of a request that was answered. `text` is the beginning of the body, `now_ms` the time now.
///
/// 2xx is success. 3xx, 5xx and those of the answers below that are about the target, the way to it or the
/// moment are tried again, not before `Retry-After`: the alarms are not at fault. Any other status means that
/// the target will not take these alarms.
pub(crate) fn outcome(
    status: StatusCode,
    headers: &HeaderMap,
    text: &str,
    now_ms: i64,
) -> Result<(), ExportError> {
    if status.is_success() {
        return Ok(());
    }
    let mut reason = format!("the webhook answered {status}");
    if status.is_redirection() && headers.contains_key(LOCATION) {
        reason += ": redirects are not followed, set `url` to the final address";
    }
    if !text.trim().is_empty() {
        reason = format!("{reason}: {}", text.trim());
    }
    let again = status.is_redirection()
        || status.is_server_error()
        || status.is_informational()
        || matches!(
            status,
            StatusCode::UNAUTHORIZED
                | StatusCode::FORBIDDEN
                // What is behind the address is not there, or not yet: a proxy says so while a target is
                // rolled out.
                | StatusCode::NOT_FOUND
                | StatusCode::METHOD_NOT_ALLOWED
                | StatusCode::PROXY_AUTHENTICATION_REQUIRED
                | StatusCode::GONE
                | StatusCode::MISDIRECTED_REQUEST
                | StatusCode::REQUEST_TIMEOUT
                | StatusCode::TOO_EARLY
                | StatusCode::TOO_MANY_REQUESTS
        );
    if status == StatusCode::PAYLOAD_TOO_LARGE {
        return Err(ExportError::too_large(reason));
    }
    if !again {
        return Err(ExportError::permanent(reason));
    }
    let after =
        headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()).and_then(|value| wait(value, now_ms));
    Err(ExportError::Retryable { reason, after })
}

/// Reads `Retry-After`: seconds, or a date.
fn wait(value: &str, now_ms: i64) -> Option<Duration> {
    let value = value.trim();
    let wait = match value.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = chrono::DateTime::parse_from_rfc2822(value).ok()?;
            Duration::from_millis(u64::try_from(at.timestamp_millis().saturating_sub(now_ms)).unwrap_or(0))
        }
    };
    Some(wait.min(LONGEST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(status: u16, retry_after: Option<&str>) -> Result<(), ExportError> {
        let mut headers = HeaderMap::new();
        if let Some(value) = retry_after {
            headers.insert(RETRY_AFTER, value.parse().unwrap());
        }
        outcome(StatusCode::from_u16(status).unwrap(), &headers, " why \n", 1_445_412_420_000)
    }

    #[test]
    fn success_is_2xx_and_nothing_else() {
        for status in [200, 202, 204] {
            assert!(of(status, None).is_ok(), "{status}");
        }
        for status in [301, 302, 307, 401, 403, 404, 405, 407, 408, 410, 421, 425, 429, 500, 502, 503, 504] {
            assert!(matches!(of(status, None), Err(ExportError::Retryable { .. })), "{status}");
        }
        for status in [400, 409, 411, 415, 422] {
            assert!(matches!(of(status, None), Err(ExportError::Permanent { .. })), "{status}");
        }
        assert!(matches!(of(413, None), Err(ExportError::TooLarge { .. })));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_bounded() {
        let after = |value| match of(503, Some(value)) {
            Err(ExportError::Retryable { after, .. }) => after,
            other => panic!("{other:?}"),
        };
        assert_eq!(after("7"), Some(Duration::from_secs(7)));
        assert_eq!(after("Wed, 21 Oct 2015 07:28:00 GMT"), Some(Duration::from_secs(60)));
        assert_eq!(after("Sat, 21 Oct 2000 07:28:00 GMT"), Some(Duration::ZERO));
        assert_eq!(after("99999999"), Some(LONGEST_WAIT));
        assert_eq!(after("soon"), None);
    }

    #[test]
    fn the_reason_says_status_and_text() {
        assert_eq!(of(400, None).unwrap_err().to_string(), "the webhook answered 400 Bad Request: why");
    }
}
