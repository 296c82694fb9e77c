//! gRPC: one message or a stream of them, answered with an empty `Commands` when all of it is safe.

use std::pin::pin;
use std::sync::Arc;

use hyper::body::Incoming;
use hyper::{Request, Response};
use tokio::sync::Notify;
use weir_pdata::Format;
use weir_server::{Outcome, Reason, Refusal, ResponseBody, Room, ServerMetrics, grpc};

use crate::held::Held;
use crate::intake::{Intake, Report};
use crate::messages::Messages;
use crate::meters::Meters;
use crate::method::{Method, method};
use crate::segments::Segments;

/// Answers a call.
pub(crate) async fn answer(
    intake: &Arc<Intake>,
    metrics: &ServerMetrics,
    connection: usize,
    request: Request<Incoming>,
) -> Response<ResponseBody> {
    let begun = metrics.begin();
    if !grpc::is_call(&request) {
        begun.answered(Outcome::Refused(Reason::Unsupported));
        return grpc::not_grpc();
    }
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
    // That of the call itself, as long as it is open, however little it sends.
    let _room = intake.bounds.rooms.enter().await?;
    let crowded = Notify::new();
    let mut messages = Messages::new(intake, request.into_body(), compression, &crowded);
    let mut report = intake.report(connection);
    if let Err(refusal) = read(method, &mut messages, &mut report, &crowded).await {
        // What came whole before is taken all the same: the agent does not send it again.
        report.flush().await?;
        return Err(refusal);
    }
    report.finish().await?;
    // What the agent sends after it was interrupted is not read: it must not take the call for a success.
    if messages.is_interrupted() { Err(Refusal::stopping()) } else { Ok(()) }
}

/// Adds all messages to the report. They go down the lane when others are slow to come, or need the room.
async fn read(
    method: Method,
    messages: &mut Messages<'_>,
    report: &mut Report,
    crowded: &Notify,
) -> Result<(), Refusal> {
    let mut meters = Meters::default();
    loop {
        let next = {
            // Goes on while others go down the lane: what it has taken in would be lost, and the time that a
            // lane takes is not the agent's.
            let mut next = pin!(messages.next());
            loop {
                tokio::select! {
                    biased;
                    next = &mut next => break next?,
                    () = crowded.notified() => {}
                    () = report.is_due() => {}
                }
                let mut flush = pin!(report.flush());
                tokio::select! {
                    biased;
                    flushed = &mut flush => flushed?,
                    next = &mut next => {
                        flush.await?;
                        break next?;
                    }
                }
            }
        };
        let Some((message, room)) = next else { return Ok(()) };
        match method {
            Method::Question => {}
            Method::Records(format) => report.add(format, &message, Held::Own(room)).await?,
            Method::MeterBatches => report.add(Format::SkyWalkingMeters, &message, Held::Own(room)).await?,
            Method::SegmentCollection => segments(report, &message, room).await?,
            Method::Meters => meters.add(report, &message, room).await?,
        }
    }
}

/// Adds the segments of a `SegmentCollection`. One that cannot be read is rejected as any other message.
async fn segments(report: &mut Report, message: &[u8], room: Room) -> Result<(), Refusal> {
    let mut count = 0;
    for segment in Segments::of(message) {
        if let Err(error) = segment {
            report.reject("SkyWalkingSegmentCollection", message, &error);
            return Ok(());
        }
        count += 1;
        report.check_count(count)?;
    }
    // The whole message has its room until the last of its segments has gone down the lane.
    let room = Arc::new(room);
    for segment in Segments::of(message).flatten() {
        report.add(Format::SkyWalkingSegment, segment, Held::Part(Arc::clone(&room))).await?;
    }
    Ok(())
}
