//! HTTP: messages in protobuf's JSON form, one or an array of them.

use std::sync::Arc;

use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::http::request::Parts;
use hyper::{Request, Response};
use prost::Message;
use weir_pdata::{Format, json};
use weir_server::{Outcome, Reason, Refusal, ResponseBody, ServerMetrics, body, http};

use crate::held::Held;
use crate::intake::{Intake, RECORD_OVERHEAD};

/// Answers a request.
pub(crate) async fn answer(
    intake: &Arc<Intake>,
    metrics: &ServerMetrics,
    connection: usize,
    request: Request<Incoming>,
) -> Response<ResponseBody> {
    let begun = metrics.begin();
    let refusal = take(intake, connection, request).await.err();
    begun.answered(refusal.as_ref().map_or(Outcome::Taken, |refusal| Outcome::Refused(refusal.reason)));
    let body = match &refusal {
        None => "{}".to_owned(),
        Some(refusal) => serde_json::json!({"error": refusal.message}).to_string(),
    };
    http::respond(body, HeaderValue::from_static("application/json"), refusal.as_ref())
}

/// Bodies of a path: their format, and their messages in protobuf.
type Reading = fn(&[u8]) -> Result<(Format, Vec<Vec<u8>>), String>;

async fn take(intake: &Arc<Intake>, connection: usize, request: Request<Incoming>) -> Result<(), Refusal> {
    let (read, bytes, mut room) = http::receive(request, &intake.bounds, |head| check(intake, head)).await?;
    let size = |(_, records): &(Format, Vec<Vec<u8>>)| match intake.check_count(records.len()) {
        Ok(()) => records.iter().map(|record| record.len() + RECORD_OVERHEAD).sum(),
        // They are refused, and wait for no room.
        Err(_) => 0,
    };
    let (format, records) = body::convert(bytes, &mut room, read, size).await?;
    intake.check_count(records.len())?;
    let mut report = intake.report(connection);
    // All of them have the room of the body, until the last one has gone down the lane.
    let room = Arc::new(room);
    for record in records {
        report.add(format, &record, Held::Part(Arc::clone(&room))).await?;
    }
    drop(room);
    report.finish().await
}

/// What becomes of the bodies of a request with this head.
fn check(intake: &Intake, head: &Parts) -> Result<Reading, Refusal> {
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
    http::only_post(&head.method)?;
    Ok(read)
}

fn encoded(messages: &[impl Message]) -> Vec<Vec<u8>> {
    messages.iter().map(Message::encode_to_vec).collect()
}
