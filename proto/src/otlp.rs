//! The answers of OTLP, for who writes them and who reads them: partial success, and a status that says when
//! to come again. In protobuf, and in the JSON of OTLP/HTTP.

use std::time::Duration;

use prost::Message;
use serde_json::{Value, json};

/// Items of a request that were not taken, though the request was.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partial {
    /// How many.
    pub rejected: u64,
    /// Why.
    pub message: String,
}

impl Partial {
    /// `Export…ServiceResponse`, which is the same for all signals. `None`: all items were taken.
    #[must_use]
    pub fn response(partial: Option<&Partial>) -> Vec<u8> {
        let partial_success = partial.map(|Partial { rejected, message }| PartialSuccess {
            rejected: i64::try_from(*rejected).unwrap_or(i64::MAX),
            error_message: message.clone(),
        });
        Response { partial_success }.encode_to_vec()
    }

    /// Reads an `Export…ServiceResponse`. One that cannot be read says nothing.
    #[must_use]
    pub fn read(response: &[u8]) -> Partial {
        let partial = Response::decode(response).ok().and_then(|response| response.partial_success);
        let partial = partial.unwrap_or_default();
        Partial { rejected: u64::try_from(partial.rejected).unwrap_or(0), message: partial.error_message }
    }

    /// The response in JSON. `rejected_name`: one of [`REJECTED_NAMES`].
    #[must_use]
    pub fn response_json(partial: Option<&Partial>, rejected_name: &str) -> Vec<u8> {
        let partial = partial.map_or_else(
            || json!({}),
            |Partial { rejected, message }| json!({rejected_name: rejected.to_string(), "errorMessage": message}),
        );
        json!({"partialSuccess": partial}).to_string().into_bytes()
    }

    /// Reads a response in JSON. One that cannot be read says nothing.
    #[must_use]
    pub fn read_json(response: &[u8]) -> Partial {
        let response: Value = serde_json::from_slice(response).unwrap_or_default();
        let partial = &response["partialSuccess"];
        let number = |value: &Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
        Partial {
            rejected: REJECTED_NAMES.iter().find_map(|name| number(&partial[*name])).unwrap_or(0),
            message: partial["errorMessage"].as_str().unwrap_or_default().to_owned(),
        }
    }
}

/// What the signals call the number of rejected items in JSON: traces, logs, metrics.
pub const REJECTED_NAMES: [&str; 3] = ["rejectedSpans", "rejectedLogRecords", "rejectedDataPoints"];

/// A `google.rpc.Status`: why nothing of a request was taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// The code of gRPC.
    pub code: i32,
    /// What happened.
    pub message: String,
    /// After how long the request may come again. `None`: nothing is said about it.
    pub retry_after: Option<Duration>,
}

impl Refused {
    /// The status, which gRPC has in its details and HTTP as its body.
    #[must_use]
    pub fn status(&self) -> Vec<u8> {
        let details = self.retry_after.map(|after| {
            let delay = Delay {
                seconds: i64::try_from(after.as_secs()).unwrap_or(i64::MAX),
                nanos: i32::try_from(after.subsec_nanos()).unwrap_or(0),
            };
            let info = RetryInfo { retry_delay: Some(delay) };
            Any { type_url: RETRY_INFO.to_owned(), value: info.encode_to_vec() }
        });
        let message = self.message.clone();
        Status { code: self.code, message, details: details.into_iter().collect() }.encode_to_vec()
    }

    /// The status in JSON.
    #[must_use]
    pub fn status_json(&self) -> Vec<u8> {
        let mut status = json!({"code": self.code, "message": self.message});
        if let Some(after) = self.retry_after {
            let delay = format!("{}s", after.as_secs_f64());
            status["details"] = json!([{"@type": RETRY_INFO, "retryDelay": delay}]);
        }
        status.to_string().into_bytes()
    }

    /// Reads a status. `None`: it is none.
    #[must_use]
    pub fn read(status: &[u8]) -> Option<Refused> {
        let Status { code, message, details } = Status::decode(status).ok()?;
        let info = details.into_iter().find(|any| any.type_url.ends_with("/google.rpc.RetryInfo"));
        let delay = info.and_then(|info| RetryInfo::decode(&*info.value).ok()?.retry_delay);
        let duration = |delay: Delay| {
            let nanos = u64::try_from(delay.nanos).ok()?;
            Some(Duration::from_secs(u64::try_from(delay.seconds).ok()?) + Duration::from_nanos(nanos))
        };
        Some(Refused { code, message, retry_after: delay.and_then(duration) })
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
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn three() -> Partial {
        Partial { rejected: 3, message: "no".to_owned() }
    }

    #[test]
    fn a_partial_success_is_that_of_otlp_in_both_forms() {
        // ExportTraceServiceResponse {partial_success {rejected_spans: 3, error_message: "no"}}.
        assert_eq!(Partial::response(Some(&three())), b"\x0a\x06\x08\x03\x12\x02no");
        assert_eq!(Partial::read(b"\x0a\x06\x08\x03\x12\x02no"), three());
        assert!(Partial::response(None).is_empty(), "success is an empty message");
        assert_eq!(Partial::read(b""), Partial::default());
        assert_eq!(Partial::read(b"nonsense"), Partial::default());
        let json: Value =
            serde_json::from_slice(&Partial::response_json(Some(&three()), REJECTED_NAMES[0])).unwrap();
        let expected = r#"{"partialSuccess":{"rejectedSpans":"3","errorMessage":"no"}}"#;
        assert_eq!(json, serde_json::from_str::<Value>(expected).unwrap());
        assert_eq!(Partial::response_json(None, REJECTED_NAMES[0]), br#"{"partialSuccess":{}}"#);
        assert_eq!(Partial::read_json(expected.as_bytes()), three());
        let number = r#"{"partialSuccess":{"rejectedDataPoints":3,"errorMessage":"no"}}"#;
        assert_eq!(Partial::read_json(number.as_bytes()), three());
        assert_eq!(Partial::read_json(b"{}"), Partial::default());
        assert_eq!(Partial::read_json(b"nonsense"), Partial::default());
    }

    #[test]
    fn a_status_says_when_to_come_again() {
        let of = |retry_after| Refused { code: 8, message: "full".to_owned(), retry_after };
        // `google.rpc.Status {code: 8, message: "full", details: [Any {RetryInfo {retry_delay: 1s}}]}`.
        let mut expected =
            b"\x08\x08\x12\x04full\x1a\x32\x0a\x28type.googleapis.com/google.rpc.RetryInfo".to_vec();
        expected.extend(b"\x12\x04\x0a\x02\x08\x01");
        expected[9] = u8::try_from(expected.len() - 10).unwrap();
        assert_eq!(of(Some(Duration::from_secs(1))).status(), expected);
        assert_eq!(of(None).status(), b"\x08\x08\x12\x04full");
        for after in [None, Some(Duration::from_millis(2_500)), Some(Duration::from_secs(1))] {
            assert_eq!(Refused::read(&of(after).status()), Some(of(after)));
        }
        assert_eq!(Refused::read(b"nonsense"), None);
        let json = String::from_utf8(of(Some(Duration::from_millis(1_500))).status_json()).unwrap();
        assert!(json.contains(r#""retryDelay":"1.5s""#), "{json}");
        // {details: [RetryInfo {retry_delay: -1s}]}
        let negative = Delay { seconds: -1, nanos: 0 };
        let info = RetryInfo { retry_delay: Some(negative) };
        let details = vec![Any { type_url: RETRY_INFO.to_owned(), value: info.encode_to_vec() }];
        let status = Status { code: 8, message: String::new(), details }.encode_to_vec();
        assert_eq!(Refused::read(&status).unwrap().retry_after, None);
    }
}
