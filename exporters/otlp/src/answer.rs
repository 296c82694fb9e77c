//! What an answer of the server means.

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use tonic::{Code, Status};
use weir_component::ExportError;
use weir_http::{LONGEST_WAIT, retry_after};
use weir_proto::otlp::Refused;

/// Why a gRPC call failed, by the codes of OTLP. Missing rights and methods are tried again too: the data is
/// not at fault, and a person may mend it.
pub(crate) fn of_status(status: &Status) -> ExportError {
    let code = status.code();
    let reason = format!("the server answered {code:?}: {}", shorten(status.message()));
    let refused = Refused::read(status.details());
    let after = refused.and_then(|refused| refused.retry_after).map(|after| after.min(LONGEST_WAIT));
    let is_full = matches!(code, Code::OutOfRange | Code::ResourceExhausted);
    if is_full && after.is_none() && is_size(status.message()) {
        return ExportError::too_large(reason);
    }
    match code {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated
        | Code::PermissionDenied
        | Code::Unimplemented => ExportError::Retryable { reason, after },
        Code::ResourceExhausted if after.is_some() => ExportError::Retryable { reason, after },
        _ => ExportError::permanent(reason),
    }
}

/// Whether this is how servers in Go, Java, Python, Rust and C++ say that a message is too large.
fn is_size(message: &str) -> bool {
    let message = message.to_ascii_lowercase();
    ["larger than", "too large", "exceeds maximum", "size limit"].iter().any(|words| message.contains(words))
}

/// Why an HTTP request was not taken, by the statuses of OTLP. `text`: the beginning of the body. Missing
/// rights and paths are tried again too: the data is not at fault, and a person may mend it.
pub(crate) fn of_response(status: StatusCode, headers: &HeaderMap, text: &str, now_ms: i64) -> ExportError {
    let mut reason = format!("the server answered {status}");
    if status.is_redirection() {
        reason += ": redirects are not followed, set `endpoint` to the final address";
    }
    if !text.trim().is_empty() {
        reason = format!("{reason}: {}", shorten(text));
    }
    if status == StatusCode::PAYLOAD_TOO_LARGE || (status == StatusCode::BAD_REQUEST && is_size(text)) {
        return ExportError::too_large(reason);
    }
    let again = status.is_redirection()
        || status.is_informational()
        || matches!(
            status,
            StatusCode::UNAUTHORIZED
                | StatusCode::FORBIDDEN
                | StatusCode::NOT_FOUND
                | StatusCode::METHOD_NOT_ALLOWED
                | StatusCode::PROXY_AUTHENTICATION_REQUIRED
                | StatusCode::REQUEST_TIMEOUT
                | StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        );
    if !again {
        return ExportError::permanent(reason);
    }
    ExportError::Retryable { reason, after: retry_after(headers, now_ms) }
}

/// The beginning of a text of the server's, for the log.
fn shorten(text: &str) -> String {
    text.trim().chars().take(500).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use reqwest::header::RETRY_AFTER;
    use std::time::Duration;

    fn kind(error: &ExportError) -> &'static str {
        match error {
            ExportError::Retryable { .. } => "again",
            ExportError::Permanent { .. } => "permanent",
            ExportError::TooLarge { .. } => "too large",
            ExportError::Partial { .. } => "partial",
        }
    }

    #[test]
    fn codes_mean_what_otlp_says() {
        for (code, expected) in [
            (Code::Cancelled, "again"),
            (Code::DeadlineExceeded, "again"),
            (Code::Aborted, "again"),
            (Code::OutOfRange, "again"),
            (Code::Unavailable, "again"),
            (Code::DataLoss, "again"),
            (Code::Unauthenticated, "again"),
            (Code::PermissionDenied, "again"),
            (Code::Unimplemented, "again"),
            (Code::ResourceExhausted, "permanent"),
            (Code::InvalidArgument, "permanent"),
            (Code::Internal, "permanent"),
            (Code::Unknown, "permanent"),
            (Code::FailedPrecondition, "permanent"),
        ] {
            assert_eq!(kind(&of_status(&Status::new(code, "why"))), expected, "{code:?}");
        }
        let large = Status::resource_exhausted("grpc: received message larger than max (5 vs. 4)");
        assert_eq!(kind(&of_status(&large)), "too large");
        let large = Status::out_of_range("Error, decoded message length too large: found 5 bytes");
        assert_eq!(kind(&of_status(&large)), "too large");
    }

    #[test]
    fn a_server_that_is_full_says_how_long_to_wait() {
        // Details {RetryInfo {retry_delay: 2s 500ms}}, written by hand.
        let mut info = b"\x1a\x00\x0a\x28type.googleapis.com/google.rpc.RetryInfo\x12\x09".to_vec();
        info.extend(b"\x0a\x07\x08\x02\x10\x80\xca\xb5\xee\x01");
        let length = info.len() - 2;
        info[1] = u8::try_from(length).unwrap();
        info[2 + 2 + 40 + 1] = u8::try_from(length - 2 - 40 - 2).unwrap();
        info[2 + 2 + 40 + 3] = u8::try_from(length - 2 - 40 - 4).unwrap();
        let status = Status::with_details(Code::ResourceExhausted, "full", info.into());
        let ExportError::Retryable { after, .. } = of_status(&status) else { panic!("it is tried again") };
        assert_eq!(after, Some(Duration::from_millis(2500)));
    }

    #[test]
    fn statuses_mean_what_otlp_says() {
        let of = |status: u16, text: &str| {
            kind(&of_response(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), text, 0))
        };
        for status in [301, 401, 403, 404, 405, 407, 408, 429, 502, 503, 504] {
            assert_eq!(of(status, ""), "again", "{status}");
        }
        for status in [400, 409, 415, 422, 500, 501] {
            assert_eq!(of(status, ""), "permanent", "{status}");
        }
        assert_eq!(of(413, ""), "too large");
        assert_eq!(of(400, "http: request body too large"), "too large");
        let headers = HeaderMap::from_iter([(RETRY_AFTER, "7".parse().unwrap())]);
        let error = of_response(StatusCode::TOO_MANY_REQUESTS, &headers, "", 0);
        let ExportError::Retryable { after, .. } = error else { panic!("it is tried again") };
        assert_eq!(after, Some(Duration::from_secs(7)));
    }
}
