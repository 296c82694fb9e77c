//! gRPC: one message or a stream of them, answered with an empty `Commands` when all of it is safe.
//!
//! hyper speaks HTTP/2. The five bytes before each message are read here, so that a message has its room
//! before it is in memory.

use std::convert::Infallible;
use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Request, Response, StatusCode};
use tokio::sync::OwnedSemaphorePermit;
use tonic::{Code, Status};
use weir_pdata::Format;

use crate::intake::{Intake, Refusal, Report, stopping};
use crate::method::{Method, method};

/// The body of an answer.
pub(crate) type ResponseBody = UnsyncBoxBody<Bytes, Infallible>;

/// What stands before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;
/// How long records of a stream wait for further ones.
const LINGER: Duration = Duration::from_millis(200);
/// How long the rest of a message that has begun may take.
const REST: Duration = Duration::from_secs(30);

/// Answers a call.
pub(crate) async fn answer(
    intake: &Arc<Intake>,
    connection: usize,
    request: Request<Incoming>,
) -> Response<ResponseBody> {
    if request
        .headers()
        .get(CONTENT_TYPE)
        .is_none_or(|kind| !kind.as_bytes().starts_with(b"application/grpc"))
    {
        // Not a client of this protocol, so it does not read its status.
        let mut response = Response::new(ResponseBody::default());
        *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return response;
    }
    match take(intake, connection, request).await {
        Ok(()) => {
            // An empty `Commands`, uncompressed.
            let frame = Bytes::from_static(&[0; PREFIX]);
            let mut trailers = HeaderMap::with_capacity(1);
            trailers.insert("grpc-status", HeaderValue::from(i32::from(Code::Ok)));
            let body = Full::new(frame).with_trailers(std::future::ready(Some(Ok(trailers))));
            let mut response = Response::new(ResponseBody::new(body));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
            response
        }
        Err(refusal) => {
            intake.metrics.refused("grpc", name(refusal.code));
            Status::new(refusal.code, refusal.message).into_http()
        }
    }
}

/// The name of a code, for metrics.
const fn name(code: Code) -> &'static str {
    match code {
        Code::Unauthenticated => "unauthenticated",
        Code::InvalidArgument => "invalid_argument",
        Code::ResourceExhausted => "resource_exhausted",
        Code::Unavailable => "unavailable",
        Code::Unimplemented => "unimplemented",
        Code::DeadlineExceeded => "deadline_exceeded",
        _ => "other",
    }
}

async fn take(intake: &Arc<Intake>, connection: usize, request: Request<Incoming>) -> Result<(), Refusal> {
    intake.admit(request.headers().get("authentication").map(HeaderValue::as_bytes))?;
    let path = request.uri().path();
    let Some(method) = method(path) else {
        return Err(Refusal::new(Code::Unimplemented, format!("there is no method {path}")));
    };
    let gzip = match request.headers().get("grpc-encoding").map_or(&b"identity"[..], HeaderValue::as_bytes) {
        b"identity" => false,
        b"gzip" => true,
        other => {
            let name = String::from_utf8_lossy(other);
            let why = format!("messages compressed with `{name}` are not read: use gzip");
            return Err(Refusal::new(Code::Unimplemented, why));
        }
    };
    let mut messages =
        Messages { intake, body: request.into_body(), buffer: BytesMut::new(), gzip, end: None };
    let mut report = intake.report(connection);
    // Meters of a stream are one collection: only one of them says whose they are.
    let mut collection = Vec::new();
    let mut rooms: Vec<OwnedSemaphorePermit> = Vec::new();
    loop {
        let next = tokio::select! {
            biased;
            next = messages.next() => next?,
            () = tokio::time::sleep(LINGER), if report.is_open() && messages.is_between() => {
                report.flush().await?;
                continue;
            }
        };
        let Some((message, room)) = next else { break };
        match method {
            Method::Question => {}
            Method::Records(format) => report.add(format, &message, Some(room)).await?,
            Method::MeterBatches => report.add(Format::SkyWalkingMeters, &message, Some(room)).await?,
            Method::SegmentCollection => segments(&mut report, &message, room).await?,
            Method::Meters => {
                if collection.len() + message.len() > intake.most {
                    return Err(too_large(intake, collection.len() + message.len()));
                }
                put_field_1(&message, &mut collection);
                rooms.push(room);
            }
        }
    }
    if !collection.is_empty() {
        report.add(Format::SkyWalkingMeters, &collection, None).await?;
    }
    report.flush().await?;
    drop(rooms);
    report.finish().await?;
    // What the agent sends after it was interrupted is not read: it must not take the call for a success.
    if messages.end == Some(End::Interrupted) { Err(stopping()) } else { Ok(()) }
}

/// Adds the segments of a `SegmentCollection`.
async fn segments(report: &mut Report, message: &[u8], room: OwnedSemaphorePermit) -> Result<(), Refusal> {
    let malformed = |_| Refusal::new(Code::InvalidArgument, "the message is no `SegmentCollection`");
    let mut all = SegmentBytes::default();
    prost::Message::merge(&mut all, message).map_err(malformed)?;
    // The whole message has its room, which goes with the last of its segments.
    let mut room = Some(room);
    let last = all.segments.len().saturating_sub(1);
    for (at, segment) in all.segments.into_iter().enumerate() {
        let room = if at == last { room.take() } else { None };
        report.add(Format::SkyWalkingSegment, &segment, room).await?;
    }
    Ok(())
}

/// A `SegmentCollection` whose segments stay as they came.
#[derive(Clone, PartialEq, prost::Message)]
struct SegmentBytes {
    #[prost(bytes = "vec", repeated, tag = "1")]
    segments: Vec<Vec<u8>>,
}

/// Appends a message as field 1 of another one.
fn put_field_1(message: &[u8], out: &mut Vec<u8>) {
    out.push(0x0a);
    let mut length = message.len();
    while length >= 0x80 {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push((length & 0x7f) as u8);
    out.extend_from_slice(message);
}

fn too_large(intake: &Intake, bytes: usize) -> Refusal {
    let most = intake.most;
    let why = format!("a message of {bytes} bytes is larger than {most} (`max_message_bytes`)");
    Refusal::new(Code::ResourceExhausted, why)
}

/// The messages of a call, in order.
struct Messages<'a> {
    intake: &'a Intake,
    body: Incoming,
    buffer: BytesMut,
    gzip: bool,
    end: Option<End>,
}

/// Why nothing more of a call is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// The agent has sent everything.
    Complete,
    /// Weir ends.
    Interrupted,
}

impl Messages<'_> {
    /// Whether no message has begun.
    fn is_between(&self) -> bool {
        self.buffer.is_empty()
    }

    /// The next message, with the room that it takes; `None` at the end. May be cancelled between messages.
    async fn next(&mut self) -> Result<Option<(Bytes, OwnedSemaphorePermit)>, Refusal> {
        if self.buffer.is_empty() && !self.fill().await? {
            return Ok(None);
        }
        tokio::time::timeout(REST, self.rest()).await.unwrap_or_else(|_| {
            Err(Refusal::new(Code::DeadlineExceeded, "the rest of a message did not come in time"))
        })
    }

    async fn rest(&mut self) -> Result<Option<(Bytes, OwnedSemaphorePermit)>, Refusal> {
        while self.buffer.len() < PREFIX {
            self.more().await?;
        }
        let flag = self.buffer[0];
        let length =
            u32::from_be_bytes([self.buffer[1], self.buffer[2], self.buffer[3], self.buffer[4]]) as usize;
        if flag > 1 || (flag == 1 && !self.gzip) {
            let why = "a message is marked as compressed, and the header `grpc-encoding` does not say how";
            return Err(Refusal::new(Code::InvalidArgument, why));
        }
        if length > self.intake.most {
            return Err(too_large(self.intake, length));
        }
        let mut room = self.intake.room(length, self.intake.deadline()).await?;
        while self.buffer.len() < PREFIX + length {
            self.more().await?;
        }
        self.buffer.advance(PREFIX);
        let message = self.buffer.split_to(length).freeze();
        if flag == 0 {
            return Ok(Some((message, room)));
        }
        let most = self.intake.most;
        let mut plain = Vec::new();
        let read = flate2::read::GzDecoder::new(&*message).take(most as u64 + 1).read_to_end(&mut plain);
        read.map_err(|_| Refusal::new(Code::InvalidArgument, "a message is no gzip, though it says so"))?;
        if plain.len() > most {
            return Err(too_large(self.intake, plain.len()));
        }
        if let Some(more) = plain.len().checked_sub(length) {
            room.merge(self.intake.room(more, self.intake.deadline()).await?);
        }
        Ok(Some((plain.into(), room)))
    }

    async fn more(&mut self) -> Result<(), Refusal> {
        if self.fill().await? {
            return Ok(());
        }
        Err(Refusal::new(Code::InvalidArgument, "the call ended within a message"))
    }

    /// Takes what comes next. `false`: nothing more comes.
    async fn fill(&mut self) -> Result<bool, Refusal> {
        while self.end.is_none() {
            let frame = tokio::select! {
                biased;
                frame = self.body.frame() => frame,
                () = self.intake.stop.cancelled(), if self.buffer.is_empty() => {
                    self.end = Some(End::Interrupted);
                    continue;
                }
            };
            match frame {
                None => self.end = Some(End::Complete),
                Some(Err(_)) => return Err(Refusal::new(Code::Unavailable, "the call was broken off")),
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref().filter(|data| !data.is_empty()) {
                        self.buffer.extend_from_slice(data);
                        return Ok(true);
                    }
                }
            }
        }
        Ok(false)
    }
}
