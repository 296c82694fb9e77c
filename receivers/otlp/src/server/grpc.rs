//! OTLP/gRPC: unary calls, of which the message stays as it came.
//!
//! hyper speaks HTTP/2, and tonic writes the status. The five bytes before the message are read here, so
//! that its bytes are counted as they come, and are not copied once they are there.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::time::Instant;
use tonic::{Code, Status};
use weir_pdata::Format;

use super::body::{self, Compression, ResponseBody};
use super::desk::Desk;
use crate::answer::{Answer, Reason, Refusal};

/// What stands before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;
const ACCEPTED: HeaderValue = HeaderValue::from_static("gzip,zstd,identity");

/// Answers a request.
pub(super) async fn answer(desk: &Desk, request: Request<Incoming>) -> Response<ResponseBody> {
    if request.method() != Method::POST || !is_grpc(request.headers()) {
        // Not a client of this protocol, so it does not read its status.
        let mut response = Response::new(ResponseBody::default());
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return response;
    }
    let begun = desk.begin();
    let deadline = timeout(request.headers()).map(|timeout| Instant::now() + timeout);
    let answering = take(desk, request);
    let answer = match deadline {
        None => answering.await,
        Some(deadline) => tokio::time::timeout_at(deadline, answering).await.unwrap_or_else(|_| {
            Err(Refusal::new(
                Reason::Slow,
                "the deadline of the call is over: it may come twice when it is sent again",
            ))
        }),
    };
    let answer = answer.unwrap_or_else(Answer::Refused);
    begun.answered(&answer);
    respond(&answer)
}

async fn take(desk: &Desk, request: Request<Incoming>) -> Result<Answer, Refusal> {
    desk.admit(request.headers())?;
    let format = match request.uri().path() {
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export" => Format::OtlpTraces,
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export" => Format::OtlpLogs,
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export" => Format::OtlpMetrics,
        path => return Err(Refusal::new(Reason::NotFound, format!("there is no method {path}"))),
    };
    let encoding = request.headers().get("grpc-encoding").map_or(&b""[..], HeaderValue::as_bytes);
    let compression = Compression::named(encoding).ok_or_else(|| {
        let name = String::from_utf8_lossy(encoding);
        Refusal::new(
            Reason::Unsupported,
            format!("messages compressed with `{name}` are not read: use gzip or zstd"),
        )
    })?;
    let mut room = desk.intake.enter().await?;
    let deadline = Instant::now() + desk.limits.read_timeout;
    let limit = desk.limits.message;
    let body = request.into_body();
    let declared = body.size_hint().exact();
    let bytes =
        body::receive(body, declared, limit.saturating_add(PREFIX), deadline, &desk.stop, &mut room).await?;
    let compression = match prefix(&bytes)? {
        true if compression == Compression::None => {
            let why = "a message is marked as compressed, and the header `grpc-encoding` is missing";
            return Err(Refusal::new(Reason::Malformed, why));
        }
        true => compression,
        false => Compression::None,
    };
    let (bytes, start) = body::decompress(compression, bytes, PREFIX, limit, &mut room).await?;
    Ok(desk.deliver(format, bytes, start, room).await)
}

/// Checks that these bytes are one message with its prefix. Whether it is compressed.
fn prefix(bytes: &[u8]) -> Result<bool, Refusal> {
    let malformed = |why: String| Refusal::new(Reason::Malformed, why);
    let Some((&[flag, length @ ..], message)) = bytes.split_first_chunk::<PREFIX>() else {
        return Err(malformed(format!(
            "{} bytes are no message: its prefix alone has {PREFIX}",
            bytes.len()
        )));
    };
    let length = u32::from_be_bytes(length) as usize;
    if message.len() != length {
        let came = message.len();
        return Err(malformed(format!("a message of {length} bytes was announced, and {came} bytes came")));
    }
    match flag {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(malformed(format!("the message has the flag {flag}: only 0 and 1 are known"))),
    }
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let rest = kind.strip_prefix(b"application/grpc");
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"+proto") || rest.starts_with(b";"))
}

/// How long the client waits: up to eight digits and a unit.
fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let count: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

fn respond(answer: &Answer) -> Response<ResponseBody> {
    let mut response = match answer {
        Answer::Refused(refusal) => {
            let details = refusal.reason.retry_after().map(|_| Bytes::from(refusal.status_bytes()));
            let status = match details {
                Some(details) => Status::with_details(refusal.reason.code(), &refusal.message, details),
                None => Status::new(refusal.reason.code(), &refusal.message),
            };
            status.into_http()
        }
        Answer::Taken | Answer::Partly { .. } => {
            let message = answer.message();
            let mut frame = BytesMut::with_capacity(PREFIX + message.len());
            frame.put_u8(0);
            frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
            frame.put_slice(&message);
            let mut trailers = HeaderMap::with_capacity(1);
            trailers.insert("grpc-status", HeaderValue::from(i32::from(Code::Ok)));
            let body = Full::new(frame.freeze()).with_trailers(std::future::ready(Some(Ok(trailers))));
            let mut response = Response::new(ResponseBody::new(body));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            response
        }
    };
    response.headers_mut().insert("grpc-accept-encoding", ACCEPTED);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_its_announced_length() {
        assert_eq!(prefix(b"\0\0\0\0\x02hi"), Ok(false));
        assert_eq!(prefix(b"\x01\0\0\0\0"), Ok(true));
        for bad in [&b""[..], b"\0\0\0\0", b"\0\0\0\0\x03hi", b"\0\0\0\0\x01hi", b"\x02\0\0\0\0"] {
            assert_eq!(prefix(bad).unwrap_err().reason, Reason::Malformed, "{bad:?}");
        }
    }

    #[test]
    fn a_deadline_is_digits_and_a_unit() {
        let of = |text: &'static str| {
            timeout(&HeaderMap::from_iter([("grpc-timeout".parse().unwrap(), text.parse().unwrap())]))
        };
        assert_eq!(of("10S"), Some(Duration::from_secs(10)));
        assert_eq!(of("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        assert_eq!(of("250m"), Some(Duration::from_millis(250)));
        for bad in ["", "S", "123456789S", "10", "-1S", "1.5S"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
