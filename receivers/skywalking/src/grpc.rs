//! gRPC: one message or a stream of them, answered with an empty `Commands` when all of it is safe.
//!
//! The five bytes before each message are read here, so that a message has its room before it is in memory.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::{Request, Response};
use weir_pdata::Format;
use weir_server::grpc::{PREFIX, Prefix};
use weir_server::{Compression, Outcome, Reason, Refusal, ResponseBody, Room, ServerMetrics, body, grpc};

use crate::intake::{Intake, Report};
use crate::method::{Method, method};

/// How long records of a stream wait for further ones.
const LINGER: Duration = Duration::from_millis(200);
/// What a message takes in memory beside its bytes.
const RECORD_OVERHEAD: usize = 64;

/// Answers a call.
pub(crate) async fn answer(
    intake: &Arc<Intake>,
    metrics: &ServerMetrics,
    connection: usize,
    request: Request<Incoming>,
) -> Response<ResponseBody> {
    if !grpc::is_call(&request) {
        return grpc::not_grpc();
    }
    let begun = metrics.begin();
    match take(intake, connection, request).await {
        Ok(()) => {
            begun.answered(Outcome::Taken);
            // An empty `Commands`.
            grpc::success(&[])
        }
        Err(refusal) => {
            begun.answered(Outcome::Refused(refusal.reason));
            grpc::refused(&refusal, None)
        }
    }
}

async fn take(intake: &Arc<Intake>, connection: usize, request: Request<Incoming>) -> Result<(), Refusal> {
    intake.admit(request.headers())?;
    let path = request.uri().path();
    let Some(method) = method(path) else {
        return Err(Refusal::new(Reason::NotFound, format!("there is no method {path}")));
    };
    let compression = grpc::compression(request.headers())?;
    let mut messages =
        Messages { intake, body: request.into_body(), buffer: BytesMut::new(), compression, end: None };
    let mut report = intake.report(connection);
    // Meters of a stream are one collection: only one of them says whose they are.
    let mut collection = Vec::new();
    let mut rooms = Vec::new();
    loop {
        let next = tokio::select! {
            biased;
            next = messages.next(&mut report) => next?,
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
                    return Err(intake.too_large(collection.len() + message.len()));
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
    if messages.end == Some(End::Interrupted) { Err(Refusal::stopping()) } else { Ok(()) }
}

/// Adds the segments of a `SegmentCollection`.
async fn segments(report: &mut Report, message: &[u8], room: Room) -> Result<(), Refusal> {
    let malformed = |_| Refusal::new(Reason::Malformed, "the message is no `SegmentCollection`");
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

fn late() -> Refusal {
    Refusal::new(Reason::Slow, "the rest of a message did not come in time")
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

/// The messages of a call, in order.
struct Messages<'a> {
    intake: &'a Intake,
    body: Incoming,
    buffer: BytesMut,
    compression: Compression,
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

    /// The next message, with the room that it takes; `None` at the end. What `report` has goes down the lane
    /// when there is no room: reports do not keep each other waiting. May be cancelled between messages.
    async fn next(&mut self, report: &mut Report) -> Result<Option<(Bytes, Room)>, Refusal> {
        if self.buffer.is_empty() && !self.fill().await? {
            return Ok(None);
        }
        let prefix = self.prefix().await?;
        let compression = prefix.compression(self.compression)?;
        if prefix.length > self.intake.most {
            return Err(self.intake.too_large(prefix.length));
        }
        let bytes = prefix.length + RECORD_OVERHEAD;
        let room = match self.intake.rooms.try_take(bytes) {
            Some(room) => room,
            None => {
                report.flush().await?;
                self.intake.rooms.take(bytes).await?
            }
        };
        let within = self.intake.read_timeout;
        let rest = tokio::time::timeout(within, self.rest(prefix.length));
        let message = rest.await.unwrap_or_else(|_| Err(late()))?;
        self.unpack(message, compression, room).await.map(Some)
    }

    async fn prefix(&mut self) -> Result<Prefix, Refusal> {
        let within = self.intake.read_timeout;
        let first = async {
            while self.buffer.len() < PREFIX {
                self.more().await?;
            }
            Ok(())
        };
        tokio::time::timeout(within, first).await.unwrap_or_else(|_| Err(late()))?;
        match self.buffer.first_chunk::<PREFIX>() {
            Some(prefix) => Prefix::read(*prefix),
            None => Err(late()),
        }
    }

    async fn rest(&mut self, length: usize) -> Result<BytesMut, Refusal> {
        while self.buffer.len() < PREFIX + length {
            self.more().await?;
        }
        self.buffer.advance(PREFIX);
        Ok(self.buffer.split_to(length))
    }

    async fn unpack(
        &self,
        message: BytesMut,
        compression: Compression,
        mut room: Room,
    ) -> Result<(Bytes, Room), Refusal> {
        if compression == Compression::None {
            return Ok((message.freeze(), room));
        }
        let (plain, _) =
            body::decompress(compression, message.into(), 0, self.intake.most, &mut room).await?;
        Ok((plain.into(), room))
    }

    async fn more(&mut self) -> Result<(), Refusal> {
        if self.fill().await? {
            return Ok(());
        }
        Err(Refusal::new(Reason::Malformed, "the call ended within a message"))
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
                Some(Err(_)) => return Err(Refusal::new(Reason::Unavailable, "the call was broken off")),
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
