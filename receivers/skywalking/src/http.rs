//! HTTP: messages in protobuf's JSON form, one or an array of them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use prost::Message;
use tonic::Code;
use weir_pdata::{Format, json};

use crate::grpc::ResponseBody;
use crate::intake::{Intake, Refusal};

/// How long a body may take.
const BODY: Duration = Duration::from_secs(30);

/// Answers a request.
pub(crate) async fn answer(
    intake: &Arc<Intake>,
    connection: usize,
    request: Request<Incoming>,
) -> Response<ResponseBody> {
    let answer = match take(intake, connection, request).await {
        Ok(()) => Ok(()),
        Err((status, message)) => {
            intake.metrics.refused("http", status.as_str());
            Err((status, message))
        }
    };
    let (status, body) = match answer {
        Ok(()) => (StatusCode::OK, "{}".to_owned()),
        Err((status, message)) => (status, serde_json::json!({"error": message}).to_string()),
    };
    let mut response = Response::new(ResponseBody::new(Full::new(Bytes::from(body))));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// What a path's bodies are: their format, and their messages in protobuf.
type Reading = fn(&[u8]) -> Result<(Format, Vec<Vec<u8>>), String>;

async fn take(
    intake: &Arc<Intake>,
    connection: usize,
    request: Request<Incoming>,
) -> Result<(), (StatusCode, String)> {
    let refused = |refusal: Refusal| (status(refusal.code), refusal.message);
    intake.admit(request.headers().get("authentication").map(HeaderValue::as_bytes)).map_err(refused)?;
    let path = request.uri().path().to_owned();
    let read: Reading = match &*path {
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
        _ => return Err((StatusCode::NOT_FOUND, format!("there is nothing at {path}"))),
    };
    if request.method() != Method::POST {
        return Err((StatusCode::METHOD_NOT_ALLOWED, "use POST".to_owned()));
    }
    let most = intake.most;
    let too_large = || {
        let why = format!("the body is larger than {most} bytes (`max_message_bytes`)");
        (StatusCode::PAYLOAD_TOO_LARGE, why)
    };
    let announced = request.body().size_hint().exact();
    let announced = announced.map_or(most, |bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
    if announced > most {
        return Err(too_large());
    }
    let room = intake.room(announced, intake.deadline()).await.map_err(refused)?;
    let body = tokio::time::timeout(BODY, Limited::new(request.into_body(), most).collect()).await;
    let body = match body {
        Err(_) => return Err((StatusCode::REQUEST_TIMEOUT, "the body did not come in time".to_owned())),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => return Err(too_large()),
        Ok(Err(_)) => return Err((StatusCode::BAD_REQUEST, "the body was broken off".to_owned())),
        Ok(Ok(body)) => body.to_bytes(),
    };
    let (format, records) = read(&body).map_err(|why| (StatusCode::BAD_REQUEST, why))?;
    drop((body, room));
    let mut report = intake.report(connection);
    for record in records {
        let room = intake.room(record.len(), intake.deadline()).await.map_err(refused)?;
        report.add(format, &record, Some(room)).await.map_err(refused)?;
    }
    report.finish().await.map_err(refused)
}

fn encoded(messages: &[impl Message]) -> Vec<Vec<u8>> {
    messages.iter().map(Message::encode_to_vec).collect()
}

fn status(code: Code) -> StatusCode {
    match code {
        Code::Unauthenticated => StatusCode::UNAUTHORIZED,
        Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
        Code::InvalidArgument => StatusCode::BAD_REQUEST,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}
