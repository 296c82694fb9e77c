//! HTTP, as far as it is the same for every service: from a request to its body, and the headers of answers.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE, EXPECT, HeaderMap, HeaderValue, RETRY_AFTER};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{Compression, Reason, Refusal, ResponseBody, Room, Rooms, body};

/// How long the rest of a refused body is received.
const DRAIN: Duration = Duration::from_secs(5);
/// The same when Weir ends.
const DRAIN_AT_END: Duration = Duration::from_secs(1);

/// What bounds the requests of a service.
#[derive(Clone, Debug)]
pub struct Bounds {
    /// Bytes that may wait.
    pub rooms: Rooms,
    /// The largest message, in bytes.
    pub max_message: usize,
    /// How long the rest of a message or body that has begun may take.
    pub read_timeout: Duration,
    /// Cancelled when no more requests are taken.
    pub stop: CancellationToken,
}

/// Receives and unpacks the body of a request that `check` finds to be wanted here: what it found, the body,
/// and the room that the body takes.
///
/// # Errors
/// It is not wanted, or was not received.
pub async fn receive<T>(
    request: Request<Incoming>,
    bounds: &Bounds,
    check: impl FnOnce(&Parts) -> Result<T, Refusal>,
) -> Result<(T, Vec<u8>, Room), Refusal> {
    let (head, mut body) = request.into_parts();
    let received = async {
        let found = check(&head)?;
        let compression = compression(&head.headers)?;
        let mut room = bounds.rooms.enter().await?;
        let (declared, deadline) = (body.size_hint().exact(), Instant::now() + bounds.read_timeout);
        let (most, stop) = (bounds.max_message, &bounds.stop);
        let bytes = body::receive(&mut body, declared, most, deadline, stop, &mut room).await?;
        Ok::<_, Refusal>((found, compression, bytes, room))
    };
    match received.await {
        Ok((found, compression, bytes, mut room)) => {
            let (bytes, _) = body::decompress(compression, bytes, 0, bounds.max_message, &mut room).await?;
            Ok((found, bytes, room))
        }
        Err(refusal) => {
            // So that its client comes to read the answer. One that asked before it sends the body does not
            // send one that nobody wants.
            let within = match refusal.reason {
                Reason::Slow | Reason::Malformed => None,
                _ if head.headers.contains_key(EXPECT) => None,
                Reason::Unavailable => Some(DRAIN_AT_END),
                _ => Some(DRAIN),
            };
            if let Some(within) = within {
                body::drain(body, bounds.max_message, within).await;
            }
            Err(refusal)
        }
    }
}

/// How the body of a request with these headers is compressed.
fn compression(headers: &HeaderMap) -> Result<Compression, Refusal> {
    let encoding = headers.get(CONTENT_ENCODING).map_or(&b""[..], HeaderValue::as_bytes);
    Compression::named(encoding).ok_or_else(|| {
        let name = String::from_utf8_lossy(encoding);
        Refusal::new(Reason::Unsupported, format!("bodies in `{name}` are not read: use gzip or zstd"))
    })
}

/// Whether a request has the only method that is understood.
///
/// # Errors
/// It has another one.
pub fn only_post(method: &Method) -> Result<(), Refusal> {
    match *method {
        Method::POST => Ok(()),
        _ => Err(Refusal::new(Reason::Method, "only POST is understood here")),
    }
}

/// An answer with this body of this type; `refusal`: why the request was not taken, if it was not.
pub fn respond(
    body: impl Into<Bytes>,
    content_type: HeaderValue,
    refusal: Option<&Refusal>,
) -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::new(Full::new(body.into())));
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    let Some(Refusal { reason, .. }) = refusal else { return response };
    *response.status_mut() = reason.status();
    if let Some(after) = reason.retry_after() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(after.as_secs().max(1)));
    }
    if *reason == Reason::Method {
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("POST"));
    }
    response
}
