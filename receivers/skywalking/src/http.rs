//! HTTP: messages in protobuf's JSON form, one or an array of them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, EXPECT, HeaderValue, RETRY_AFTER};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response};
use prost::Message;
use tokio::time::Instant;
use weir_pdata::{Format, json};
use weir_server::{Compression, Outcome, Reason, Refusal, ResponseBody, Room, ServerMetrics, body};

use crate::intake::Intake;

/// How long the rest of a refused body is received.
const DRAIN: Duration = Duration::from_secs(5);

/// Answers a request.
pub(crate) async fn answer(
    intake: &Arc<Intake>,
    metrics: &ServerMetrics,
    connection: usize,
    request: Request<Incoming>,
) -> Response<ResponseBody> {
    let begun = metrics.begin();
    let answer = take(intake, connection, request).await;
    begun.answered(
        answer.as_ref().map_or_else(|refusal| Outcome::Refused(refusal.reason), |()| Outcome::Taken),
    );
    let body = match &answer {
        Ok(()) => "{}".to_owned(),
        Err(refusal) => serde_json::json!({"error": refusal.message}).to_string(),
    };
    let mut response = Response::new(ResponseBody::new(Full::new(Bytes::from(body))));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Err(refusal) = answer {
        *response.status_mut() = refusal.reason.status();
        if let Some(after) = refusal.reason.retry_after() {
            response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
        }
    }
    response
}

/// Bodies of a path: their format, and their messages in protobuf.
type Reading = fn(&[u8]) -> Result<(Format, Vec<Vec<u8>>), String>;

async fn take(intake: &Arc<Intake>, connection: usize, request: Request<Incoming>) -> Result<(), Refusal> {
    let (head, mut body) = request.into_parts();
    let most = intake.max_message;
    let (read, compression, bytes, mut room) = match receive(intake, &head, &mut body).await {
        Ok(received) => received,
        Err(refusal) => {
            // A client that asked before it sends the body does not send one that nobody wants.
            if refusal.reason != Reason::Slow && !head.headers.contains_key(EXPECT) {
                body::drain(body, most, DRAIN).await;
            }
            return Err(refusal);
        }
    };
    let (bytes, start) = body::decompress(compression, bytes, 0, most, &mut room).await?;
    let size = bytes.len();
    let reading = move || {
        let read = read(bytes.get(start..).unwrap_or_default());
        read.map_err(|why| Refusal::new(Reason::Malformed, why))
    };
    let (format, records) = body::bounded(size, reading).await?;
    let more = records.iter().map(Vec::len).sum::<usize>().saturating_sub(size);
    room.grow(more).await?;
    let mut report = intake.report(connection);
    // All of them have the room of the body, which goes with the last one.
    let (mut room, last) = (Some(room), records.len().saturating_sub(1));
    for (at, record) in records.into_iter().enumerate() {
        let room = if at == last { room.take() } else { None };
        report.add(format, &record, room).await?;
    }
    report.finish().await
}

/// Receives a body that is wanted here.
async fn receive(
    intake: &Intake,
    head: &Parts,
    body: &mut Incoming,
) -> Result<(Reading, Compression, Vec<u8>, Room), Refusal> {
    let (read, compression) = check(intake, head)?;
    let mut room = intake.rooms.enter().await?;
    let (declared, deadline) = (body.size_hint().exact(), Instant::now() + intake.read_timeout);
    let bytes = body::receive(body, declared, intake.max_message, deadline, &intake.stop, &mut room).await?;
    Ok((read, compression, bytes, room))
}

/// What becomes of the bodies of a request with this head, and how they are compressed.
fn check(intake: &Intake, head: &Parts) -> Result<(Reading, Compression), Refusal> {
    intake.admit(&head.headers)?;
    let read: Reading = match head.uri.path() {
        "/v3/segment" | "/v3/segments" => {
            |body| Ok((Format::SkyWalkingSegment, encoded(&json::segments(body)?)))
        }
        "/v3/logs" => |body| Ok((Format::SkyWalkingLog, encoded(&json::log_data(body)?))),
        "/v3/management/reportProperties" => {
            |body| Ok((Format::SkyWalkingInstance, encoded(&json::instance_properties(body)?)))
        }
        "/v3/management/keepAlive" => {
            |body| Ok((Format::SkyWalkingPing, encoded(&json::instance_pings(body)?)))
        }
        path => return Err(Refusal::new(Reason::NotFound, format!("there is nothing at {path}"))),
    };
    if head.method != Method::POST {
        return Err(Refusal::new(Reason::Method, "only POST is understood here"));
    }
    let encoding = head.headers.get(CONTENT_ENCODING).map_or(&b""[..], HeaderValue::as_bytes);
    let compression = Compression::named(encoding).ok_or_else(|| {
        let name = String::from_utf8_lossy(encoding);
        Refusal::new(Reason::Unsupported, format!("bodies in `{name}` are not read: use gzip or zstd"))
    })?;
    Ok((read, compression))
}

fn encoded(messages: &[impl Message]) -> Vec<Vec<u8>> {
    messages.iter().map(Message::encode_to_vec).collect()
}
