//! OTLP/gRPC: unary calls, of which the message stays as it came.
//!
//! The five bytes before the message are read here, so that its bytes are counted as they come, and are not
//! copied once they are there.

use bytes::Bytes;
use hyper::body::{Body as _, Incoming};
use hyper::{Request, Response};
use tokio::time::Instant;
use weir_pdata::Format;
use weir_proto::otlp::Partial;
use weir_server::grpc::{PREFIX, Prefix};
use weir_server::{Bounds, Outcome, Reason, Refusal, ResponseBody, body, grpc};

use super::desk::Desk;
use crate::answer::{self, Answer};

/// Answers a request.
pub(super) async fn answer(desk: &Desk, request: Request<Incoming>) -> Response<ResponseBody> {
    let begun = desk.metrics.begin();
    if !grpc::is_call(&request) {
        begun.answered(Outcome::Refused(Reason::Unsupported));
        return grpc::not_grpc();
    }
    let deadline = grpc::timeout(request.headers()).map(|timeout| Instant::now() + timeout);
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
    begun.answered(answer.outcome());
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
    let compression = grpc::compression(request.headers())?;
    let Bounds { rooms, max_message: limit, read_timeout, stop } = &desk.bounds;
    let mut room = rooms.enter().await?;
    let (limit, deadline) = (*limit, Instant::now() + *read_timeout);
    let body = request.into_body();
    let declared = body.size_hint().exact();
    let bytes =
        body::receive(body, declared, limit.saturating_add(PREFIX), deadline, stop, &mut room).await?;
    let compression = prefix(&bytes)?.compression(compression)?;
    let (bytes, start) = body::decompress(compression, bytes, PREFIX, limit, &mut room).await?;
    Ok(desk.deliver(format, bytes, start, room).await)
}

/// Checks that these bytes are one message with its prefix.
fn prefix(bytes: &[u8]) -> Result<Prefix, Refusal> {
    let malformed = |why: String| Refusal::new(Reason::Malformed, why);
    let Some((prefix, message)) = bytes.split_first_chunk::<PREFIX>() else {
        let came = bytes.len();
        return Err(malformed(format!("{came} bytes are no message: its prefix alone has {PREFIX}")));
    };
    let prefix = Prefix::read(*prefix)?;
    if message.len() != prefix.length {
        let (announced, came) = (prefix.length, message.len());
        return Err(malformed(format!(
            "a message of {announced} bytes was announced, and {came} bytes came"
        )));
    }
    Ok(prefix)
}

fn respond(answer: &Answer) -> Response<ResponseBody> {
    match answer {
        Answer::Refused(refusal) => {
            let status = answer::refused(refusal);
            let details = status.retry_after.map(|_| Bytes::from(status.status()));
            grpc::refused(refusal, details)
        }
        Answer::Taken | Answer::Partly(_) => grpc::success(&Partial::response(answer.partial())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_has_its_announced_length() {
        assert_eq!(prefix(b"\0\0\0\0\x02hi"), Ok(Prefix { is_compressed: false, length: 2 }));
        assert_eq!(prefix(b"\x01\0\0\0\0"), Ok(Prefix { is_compressed: true, length: 0 }));
        for bad in [&b""[..], b"\0\0\0\0", b"\0\0\0\0\x03hi", b"\0\0\0\0\x01hi", b"\x02\0\0\0\0"] {
            assert_eq!(prefix(bad).unwrap_err().reason, Reason::Malformed, "{bad:?}");
        }
    }
}
