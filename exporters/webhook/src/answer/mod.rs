//! The meaning of a target's answer.

pub(crate) mod robot;

use reqwest::StatusCode;
use reqwest::header::{HeaderMap, LOCATION};
use weir_component::ExportError;
use weir_http::retry_after;

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
    Err(ExportError::Retryable { reason, after: retry_after(headers, now_ms) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::RETRY_AFTER;
    use std::time::Duration;

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
    fn a_wait_that_is_asked_for_is_kept() {
        let Err(ExportError::Retryable { after, .. }) = of(503, Some("7")) else {
            panic!("it is tried again")
        };
        assert_eq!(after, Some(Duration::from_secs(7)));
    }

    #[test]
    fn the_reason_says_status_and_text() {
        assert_eq!(of(400, None).unwrap_err().to_string(), "the webhook answered 400 Bad Request: why");
    }
}
