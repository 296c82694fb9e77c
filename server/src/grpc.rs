//! gRPC, as far as it is the same for every service. hyper speaks HTTP/2, and tonic writes the status.

use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tonic::{Code, Status};

use crate::{Compression, Reason, Refusal, ResponseBody};

/// The length of what stands before a message: whether it is compressed, and its length.
pub const PREFIX: usize = 5;

/// What stands before a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// Whether the message is compressed as the header `grpc-encoding` says.
    pub is_compressed: bool,
    /// Its length.
    pub length: usize,
}

impl Prefix {
    /// Reads it.
    ///
    /// # Errors
    /// It has a flag that nobody knows.
    pub fn read([flag, length @ ..]: [u8; PREFIX]) -> Result<Prefix, Refusal> {
        let length = u32::from_be_bytes(length) as usize;
        match flag {
            0 | 1 => Ok(Prefix { is_compressed: flag == 1, length }),
            _ => {
                let why = format!("a message has the flag {flag}: only 0 and 1 are known");
                Err(Refusal::new(Reason::Malformed, why))
            }
        }
    }

    /// How this message is compressed in a call whose messages may be compressed like that.
    ///
    /// # Errors
    /// Nothing says how.
    pub fn compression(self, of_call: Compression) -> Result<Compression, Refusal> {
        match (self.is_compressed, of_call) {
            (false, _) => Ok(Compression::None),
            (true, Compression::None) => {
                let why = "a message is marked as compressed, and the header `grpc-encoding` is missing";
                Err(Refusal::new(Reason::Malformed, why))
            }
            (true, of_call) => Ok(of_call),
        }
    }
}

/// Whether a request is one of this protocol. Who sends another one does not read its status: see
/// [`not_grpc`].
pub fn is_call<B>(request: &Request<B>) -> bool {
    let kind = request.headers().get(CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    let rest = kind.strip_prefix(b"application/grpc");
    request.method() == Method::POST
        && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"+proto") || rest.starts_with(b";"))
}

/// The answer to a request of another protocol.
#[must_use]
pub fn not_grpc() -> Response<ResponseBody> {
    let mut response = Response::new(ResponseBody::default());
    *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    response
}

/// How the messages of a call may be compressed.
///
/// # Errors
/// In another way than is known here.
pub fn compression(headers: &HeaderMap) -> Result<Compression, Refusal> {
    let encoding = headers.get("grpc-encoding").map_or(&b""[..], HeaderValue::as_bytes);
    Compression::named(encoding).ok_or_else(|| {
        let name = String::from_utf8_lossy(encoding);
        let why = format!("messages compressed with `{name}` are not read: use gzip or zstd");
        Refusal::new(Reason::Unsupported, why)
    })
}

/// How long the client waits: up to eight digits and a unit.
#[must_use]
pub fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let count: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

/// Success with this message, uncompressed.
#[must_use]
pub fn success(message: &[u8]) -> Response<ResponseBody> {
    let mut frame = BytesMut::with_capacity(PREFIX + message.len());
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put_slice(message);
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert("grpc-status", HeaderValue::from(i32::from(Code::Ok)));
    let body = Full::new(frame.freeze()).with_trailers(std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(ResponseBody::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    accepting(response)
}

/// The status of a refusal. `details`: those of a `google.rpc.Status`.
#[must_use]
pub fn refused(refusal: &Refusal, details: Option<Bytes>) -> Response<ResponseBody> {
    let (code, message) = (refusal.reason.code(), &refusal.message);
    let status = match details {
        Some(details) => Status::with_details(code, message, details),
        None => Status::new(code, message),
    };
    accepting(status.into_http())
}

/// Says how messages may be compressed.
fn accepting(mut response: Response<ResponseBody>) -> Response<ResponseBody> {
    response.headers_mut().insert("grpc-accept-encoding", HeaderValue::from_static("gzip,zstd,identity"));
    response
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_says_whether_and_how_a_message_is_compressed() {
        let plain = Prefix::read(*b"\0\0\0\x01\x02").unwrap();
        assert_eq!(plain, Prefix { is_compressed: false, length: 258 });
        assert_eq!(plain.compression(Compression::Gzip), Ok(Compression::None));
        let packed = Prefix::read(*b"\x01\xff\xff\xff\xff").unwrap();
        assert_eq!(packed.length, u32::MAX as usize);
        assert_eq!(packed.compression(Compression::Zstd), Ok(Compression::Zstd));
        assert_eq!(packed.compression(Compression::None).unwrap_err().reason, Reason::Malformed);
        assert_eq!(Prefix::read(*b"\x02\0\0\0\0").unwrap_err().reason, Reason::Malformed);
    }

    #[test]
    fn a_deadline_is_digits_and_a_unit() {
        let of = |text: &'static str| {
            timeout(&HeaderMap::from_iter([("grpc-timeout".parse().unwrap(), text.parse().unwrap())]))
        };
        assert_eq!(of("10S"), Some(Duration::from_secs(10)));
        assert_eq!(of("99999999H"), Some(Duration::from_secs(99_999_999 * 3600)));
        assert_eq!(of("250m"), Some(Duration::from_millis(250)));
        for bad in ["", "S", "123456789S", "10", "-1S", "1.5S"] {
            assert_eq!(of(bad), None, "{bad}");
        }
    }
}
