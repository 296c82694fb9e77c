//! OTLP/HTTP: `POST /v1/{traces,metrics,logs}`, protobuf and JSON.

use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use hyper::http::request::Parts;
use hyper::{Request, Response};
use weir_pdata::{Format, otlp};
use weir_proto::otlp::{Partial, REJECTED_NAMES};
use weir_server::{Reason, Refusal, ResponseBody, body, http};

use super::desk::Desk;
use crate::answer::{self, Answer};

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
    let check = |head: &Parts| check(desk, head, kind, format);
    let ((kind, format), bytes, mut room) = http::receive(request, &desk.bounds, check).await?;
    let from_json = move |json: &[u8]| {
        otlp::from_json(format, json)
            .map_err(|error| format!("the request is not valid OTLP in JSON: {error}"))
    };
    let bytes = match kind {
        Kind::Protobuf => bytes,
        Kind::Json => body::convert(bytes, &mut room, from_json, Vec::len).await?,
    };
    Ok(desk.deliver(format, bytes, 0, room).await)
}

fn check(
    desk: &Desk,
    head: &Parts,
    kind: Option<Kind>,
    format: Option<Format>,
) -> Result<(Kind, Format), Refusal> {
    let format = format.ok_or_else(|| {
        Refusal::new(Reason::NotFound, "there is nothing here: use /v1/traces, /v1/metrics or /v1/logs")
    })?;
    http::only_post(&head.method)?;
    desk.admit(&head.headers)?;
    let kind = kind.ok_or_else(|| {
        Refusal::new(
            Reason::Unsupported,
            "the content type must be application/x-protobuf or application/json",
        )
    })?;
    Ok((kind, format))
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
    let refusal = match answer {
        Answer::Refused(refusal) => Some(refusal),
        Answer::Taken | Answer::Partly(_) => None,
    };
    let mut response = http::respond(body, kind.name(), refusal);
    if let (Some(Reason::Unauthenticated), Some(auth)) = (refusal.map(|refusal| refusal.reason), &desk.auth) {
        let challenge = HeaderValue::try_from(format!("{} realm=\"otlp\"", auth.scheme()));
        response.headers_mut().extend(challenge.ok().map(|value| (WWW_AUTHENTICATE, value)));
    }
    response
}
