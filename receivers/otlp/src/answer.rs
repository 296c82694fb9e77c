//! What a client is told, for both protocols.

use std::time::Duration;

use hyper::StatusCode;
use prost::Message;
use tonic::Code;

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// All of it is taken.
    Taken,
    /// All but some items is taken. These would be refused again.
    Partly {
        /// How many items are not.
        rejected: u64,
        /// Why.
        message: String,
    },
    /// Nothing of it is taken.
    Refused(Refusal),
}

/// Why a request is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// What kind of reason.
    pub(crate) reason: Reason,
    /// What happened, and what to do.
    pub(crate) message: String,
}

/// The kinds of reasons. Each has a status in both protocols.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It cannot be read. It would be refused again.
    Malformed,
    /// It is not from whom it should be.
    Unauthenticated,
    /// It is larger than requests may be.
    TooLarge,
    /// There is no room now.
    Busy,
    /// It may not have been delivered.
    Unavailable,
    /// Its body did not come in time.
    Slow,
    /// The protocol, the encoding or the type of its body is not spoken here.
    Unsupported,
    /// There is nothing at its path.
    NotFound,
    /// It is no POST.
    Method,
}

/// How long clients should wait when there is no room.
const BUSY_WAIT: Duration = Duration::from_secs(1);

impl Reason {
    /// Every reason.
    pub(crate) const ALL: [Reason; 9] = [
        Reason::Malformed,
        Reason::Unauthenticated,
        Reason::TooLarge,
        Reason::Busy,
        Reason::Unavailable,
        Reason::Slow,
        Reason::Unsupported,
        Reason::NotFound,
        Reason::Method,
    ];

    /// As metrics name it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Reason::Malformed => "malformed",
            Reason::Unauthenticated => "unauthenticated",
            Reason::TooLarge => "too_large",
            Reason::Busy => "busy",
            Reason::Unavailable => "unavailable",
            Reason::Slow => "slow",
            Reason::Unsupported => "unsupported",
            Reason::NotFound => "not_found",
            Reason::Method => "method",
        }
    }

    /// As gRPC says it.
    pub(crate) const fn code(self) -> Code {
        match self {
            Reason::Malformed => Code::InvalidArgument,
            Reason::Unauthenticated => Code::Unauthenticated,
            // Without `RetryInfo`, so that the client does not send it again.
            Reason::TooLarge | Reason::Busy => Code::ResourceExhausted,
            Reason::Unavailable => Code::Unavailable,
            Reason::Slow => Code::DeadlineExceeded,
            Reason::Unsupported | Reason::NotFound | Reason::Method => Code::Unimplemented,
        }
    }

    /// As HTTP says it.
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Reason::Malformed => StatusCode::BAD_REQUEST,
            Reason::Unauthenticated => StatusCode::UNAUTHORIZED,
            Reason::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Reason::Busy => StatusCode::TOO_MANY_REQUESTS,
            Reason::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            Reason::Slow => StatusCode::REQUEST_TIMEOUT,
            Reason::Unsupported => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Reason::NotFound => StatusCode::NOT_FOUND,
            Reason::Method => StatusCode::METHOD_NOT_ALLOWED,
        }
    }

    /// After how long the client may send it again. `None`: never, or it chooses itself.
    pub(crate) const fn retry_after(self) -> Option<Duration> {
        match self {
            Reason::Busy => Some(BUSY_WAIT),
            _ => None,
        }
    }
}

impl Refusal {
    /// A refusal.
    pub(crate) fn new(reason: Reason, message: impl Into<String>) -> Refusal {
        Refusal { reason, message: message.into() }
    }

    /// The program ends.
    pub(crate) fn stopping() -> Refusal {
        Refusal::new(Reason::Unavailable, "Weir is shutting down: send it again")
    }

    /// The bytes of a `google.rpc.Status`, which both protocols have.
    pub(crate) fn status_bytes(&self) -> Vec<u8> {
        self.status().encode_to_vec()
    }

    /// A `google.rpc.Status`, as JSON writes it.
    pub(crate) fn status_json(&self) -> Vec<u8> {
        let mut status = serde_json::json!({"code": i32::from(self.reason.code()), "message": self.message});
        if let Some(after) = self.reason.retry_after() {
            let delay = format!("{}s", after.as_secs_f64());
            status["details"] = serde_json::json!([{"@type": RETRY_INFO, "retryDelay": delay}]);
        }
        status.to_string().into_bytes()
    }

    fn status(&self) -> Status {
        let details = self.reason.retry_after().map(|after| {
            let delay = Delay {
                seconds: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
                nanos: i32::try_from(after.subsec_nanos()).unwrap_or(0),
            };
            let info = RetryInfo { retry_delay: Some(delay) };
            Any { type_url: RETRY_INFO.to_owned(), value: info.encode_to_vec() }
        });
        Status {
            code: i32::from(self.reason.code()),
            message: self.message.clone(),
            details: details.into_iter().collect(),
        }
    }
}

impl Answer {
    /// The response message of OTLP; it is the same for all signals.
    pub(crate) fn message(&self) -> Vec<u8> {
        let partial_success = match self {
            Answer::Partly { rejected, message } => Some(PartialSuccess {
                rejected: i64::try_from(*rejected).unwrap_or(i64::MAX),
                error_message: message.clone(),
            }),
            Answer::Taken | Answer::Refused(_) => None,
        };
        Response { partial_success }.encode_to_vec()
    }

    /// The response message as JSON writes it. `rejected_name`: what the signal calls its items.
    pub(crate) fn message_json(&self, rejected_name: &str) -> Vec<u8> {
        match self {
            Answer::Partly { rejected, message } => {
                let partial =
                    serde_json::json!({rejected_name: rejected.to_string(), "errorMessage": message});
                serde_json::json!({"partialSuccess": partial}).to_string().into_bytes()
            }
            Answer::Taken | Answer::Refused(_) => b"{\"partialSuccess\":{}}".to_vec(),
        }
    }
}

const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<Delay>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, PartialEq, Message)]
struct Delay {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// `Export…ServiceResponse`.
#[derive(Clone, PartialEq, Message)]
struct Response {
    #[prost(message, optional, tag = "1")]
    partial_success: Option<PartialSuccess>,
}

/// `Export…PartialSuccess`.
#[derive(Clone, PartialEq, Message)]
struct PartialSuccess {
    #[prost(int64, tag = "1")]
    rejected: i64,
    #[prost(string, tag = "2")]
    error_message: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;

    #[test]
    fn responses_are_those_of_otlp() {
        let answer = Answer::Partly { rejected: 3, message: "no time".to_owned() };
        let traces = ExportTraceServiceResponse::decode(&*answer.message()).unwrap().partial_success.unwrap();
        assert_eq!((traces.rejected_spans, &*traces.error_message), (3, "no time"));
        let logs = ExportLogsServiceResponse::decode(&*answer.message()).unwrap().partial_success.unwrap();
        assert_eq!((logs.rejected_log_records, &*logs.error_message), (3, "no time"));
        let json: serde_json::Value = serde_json::from_slice(&answer.message_json("rejectedSpans")).unwrap();
        let expected = r#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"no time"}}"#;
        assert_eq!(json, serde_json::from_str::<serde_json::Value>(expected).unwrap());
        assert!(Answer::Taken.message().is_empty(), "success is an empty message");
    }

    #[test]
    fn only_a_full_server_tells_when_to_come_again() {
        // `google.rpc.Status {code: 8, message: "full", details: [Any {RetryInfo {retry_delay: 1s}}]}`.
        let mut expected =
            b"\x08\x08\x12\x04full\x1a\x32\x0a\x28type.googleapis.com/google.rpc.RetryInfo".to_vec();
        expected.extend(b"\x12\x04\x0a\x02\x08\x01");
        expected[9] = u8::try_from(expected.len() - 10).unwrap();
        assert_eq!(Refusal::new(Reason::Busy, "full").status_bytes(), expected);
        assert_eq!(Refusal::new(Reason::TooLarge, "full").status_bytes(), b"\x08\x08\x12\x04full");
        let json = String::from_utf8(Refusal::new(Reason::Busy, "full").status_json()).unwrap();
        assert!(json.contains(r#""retryDelay":"1s""#), "{json}");
    }
}
