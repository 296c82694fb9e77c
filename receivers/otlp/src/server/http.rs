//! OTLP/HTTP: `POST /v1/{traces,metrics,logs}`, protobuf and JSON.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::header::WWW_AUTHENTICATE;
use hyper::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE, EXPECT, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::{Method, Request, Response};
use tokio::time::Instant;
use weir_pdata::{Format, otlp};
use weir_proto::otlp::{Partial, REJECTED_NAMES};
use weir_server::{Compression, Reason, Refusal, ResponseBody, Room, body};

use super::desk::Desk;
use crate::answer::{self, Answer};

/// How long the rest of a refused body is received.
const DRAIN: Duration = Duration::from_secs(5);

/// How a body, and its answer, are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Protobuf,
    Json,
}

impl Kind {
    fn of(headers: &HeaderMap) -> Option<Kind> {
        let kind = headers.get(CONTENT_TYPE)?.as_bytes();
        let name = kind.split(|byte| *byte == b';').next()?.trim_ascii();
        if name.eq_ignore_ascii_case(b"application/x-protobuf") {
            Some(Kind::Protobuf)
        } else if name.eq_ignore_ascii_case(b"application/json") {
            Some(Kind::Json)
        } else {
            None
        }
    }

    const fn name(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Kind::Protobuf => "application/x-protobuf",
            Kind::Json => "application/json",
        })
    }
}

/// Answers a request.
pub(super) async fn answer(desk: &Desk, request: Request<Incoming>) -> Response<ResponseBody> {
    let begun = desk.metrics.begin();
    let kind = Kind::of(request.headers());
    let format = format(request.uri().path());
    let answer = take(desk, request, kind, format).await.unwrap_or_else(Answer::Refused);
    begun.answered(answer.outcome());
    respond(desk, &answer, kind, format)
}

fn format(path: &str) -> Option<Format> {
    match path {
        "/v1/traces" => Some(Format::OtlpTraces),
        "/v1/logs" => Some(Format::OtlpLogs),
        "/v1/metrics" => Some(Format::OtlpMetrics),
        _ => None,
    }
}

async fn take(
    desk: &Desk,
    request: Request<Incoming>,
    kind: Option<Kind>,
    format: Option<Format>,
) -> Result<Answer, Refusal> {
    let (head, body) = request.into_parts();
    let checked = check(desk, &head.method, &head.headers, kind, format);
    // A client that asked before it sends the body does not send one that nobody wants.
    let drains = !head.headers.contains_key(EXPECT);
    let refused = |refusal, body| async move {
        if drains {
            body::drain(body, desk.limits.message, DRAIN).await;
        }
        Err(refusal)
    };
    let (kind, format, compression) = match checked {
        Ok(checked) => checked,
        Err(refusal) => return refused(refusal, body).await,
    };
    let mut body = body;
    let mut room = match desk.rooms.enter().await {
        Ok(room) => room,
        Err(refusal) => return refused(refusal, body).await,
    };
    let deadline = Instant::now() + desk.limits.read_timeout;
    let limit = desk.limits.message;
    let declared = body.size_hint().exact();
    let received = body::receive(&mut body, declared, limit, deadline, &desk.stop, &mut room).await;
    let bytes = match received {
        Ok(bytes) => bytes,
        Err(refusal) if matches!(refusal.reason, Reason::TooLarge | Reason::Busy) => {
            drop(room);
            return refused(refusal, body).await;
        }
        Err(refusal) => return Err(refusal),
    };
    let (bytes, start) = body::decompress(compression, bytes, 0, limit, &mut room).await?;
    let bytes = match kind {
        Kind::Protobuf => bytes,
        Kind::Json => from_json(format, bytes, &mut room).await?,
    };
    Ok(desk.deliver(format, bytes, start, room).await)
}

fn check(
    desk: &Desk,
    method: &Method,
    headers: &HeaderMap,
    kind: Option<Kind>,
    format: Option<Format>,
) -> Result<(Kind, Format, Compression), Refusal> {
    let format = format.ok_or_else(|| {
        Refusal::new(Reason::NotFound, "there is nothing here: use /v1/traces, /v1/metrics or /v1/logs")
    })?;
    if method != Method::POST {
        return Err(Refusal::new(Reason::Method, "only POST is understood here"));
    }
    desk.admit(headers)?;
    let kind = kind.ok_or_else(|| {
        Refusal::new(
            Reason::Unsupported,
            "the content type must be application/x-protobuf or application/json",
        )
    })?;
    let encoding = headers.get(CONTENT_ENCODING).map_or(&b""[..], HeaderValue::as_bytes);
    let compression = Compression::named(encoding).ok_or_else(|| {
        let name = String::from_utf8_lossy(encoding);
        Refusal::new(Reason::Unsupported, format!("bodies in `{name}` are not read: use gzip or zstd"))
    })?;
    Ok((kind, format, compression))
}

/// A request in JSON as protobuf. What it takes more than the JSON is added to its room.
async fn from_json(format: Format, json: Vec<u8>, room: &mut Room) -> Result<Vec<u8>, Refusal> {
    let size = json.len();
    let read = move || {
        otlp::from_json(format, &json).map_err(|error| {
            Refusal::new(Reason::Malformed, format!("the request is not valid OTLP in JSON: {error}"))
        })
    };
    let bytes = body::bounded(size, read).await?;
    let more = bytes.len().saturating_sub(size);
    room.grow(more).await?;
    Ok(bytes)
}

fn respond(
    desk: &Desk,
    answer: &Answer,
    kind: Option<Kind>,
    format: Option<Format>,
) -> Response<ResponseBody> {
    let kind = kind.unwrap_or(Kind::Json);
    let body = match (answer, kind) {
        (Answer::Refused(refusal), Kind::Protobuf) => answer::refused(refusal).status(),
        (Answer::Refused(refusal), Kind::Json) => answer::refused(refusal).status_json(),
        (_, Kind::Protobuf) => Partial::response(answer.partial()),
        (_, Kind::Json) => {
            let [spans, logs, points] = REJECTED_NAMES;
            let name = match format {
                Some(Format::OtlpLogs) => logs,
                Some(Format::OtlpMetrics) => points,
                _ => spans,
            };
            Partial::response_json(answer.partial(), name)
        }
    };
    let mut response = Response::new(ResponseBody::new(Full::new(Bytes::from(body))));
    response.headers_mut().insert(CONTENT_TYPE, kind.name());
    if let Answer::Refused(refusal) = answer {
        *response.status_mut() = refusal.reason.status();
        let headers = response.headers_mut();
        if let Some(after) = refusal.reason.retry_after() {
            headers.insert(RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
        match (refusal.reason, &desk.auth) {
            (Reason::Unauthenticated, Some(auth)) => {
                let challenge = format!("{} realm=\"otlp\"", auth.scheme());
                headers.extend(HeaderValue::try_from(challenge).ok().map(|value| (WWW_AUTHENTICATE, value)));
            }
            (Reason::Method, _) => {
                headers.insert(ALLOW, HeaderValue::from_static("POST"));
            }
            _ => {}
        }
    }
    response
}
