//! Receiving and decompressing the body of a request, within bounds.

use std::convert::Infallible;
use std::io::Read;
use std::num::NonZero;
use std::pin::pin;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Body;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{Reason, Refusal, Room};

/// The body of an answer.
pub type ResponseBody = UnsyncBoxBody<Bytes, Infallible>;

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// As one or several members.
    Gzip,
    /// With a window of at most 8 MiB.
    Zstd,
}

/// The window of zstd data, as a power of two: 8 MiB, which is all that senders may rely on (RFC 8878).
const ZSTD_WINDOW: u32 = 23;
/// A body's memory is taken as its bytes come, and no more than this before.
const FIRST: usize = 64 << 10;
/// Bodies of this size are decompressed and read as JSON on a thread that may block.
const LONG_WORK: usize = 128 << 10;

impl Compression {
    /// By its name in a header.
    #[must_use]
    pub fn named(name: &[u8]) -> Option<Compression> {
        match name.trim_ascii() {
            b"" | b"identity" => Some(Compression::None),
            b"gzip" => Some(Compression::Gzip),
            b"zstd" => Some(Compression::Zstd),
            _ => None,
        }
    }
}

/// Receives a body of at most `limit` bytes, before `deadline`. `declared`: how long it says it is.
///
/// # Errors
/// Why it was not received.
pub async fn receive<B>(
    body: B,
    declared: Option<u64>,
    limit: usize,
    deadline: Instant,
    stop: &CancellationToken,
    room: &mut Room,
) -> Result<Vec<u8>, Refusal>
where
    B: Body<Data = Bytes>,
    B::Error: std::fmt::Display,
{
    let declared = declared.map_or(0, |declared| usize::try_from(declared).unwrap_or(usize::MAX));
    if declared > limit {
        return Err(too_large(limit));
    }
    let mut body = pin!(body);
    let mut bytes = Vec::with_capacity(declared.min(FIRST));
    loop {
        let frame = tokio::select! {
            frame = body.frame() => frame,
            () = tokio::time::sleep_until(deadline) => {
                return Err(Refusal::new(Reason::Slow, "the body of the request did not come in time (read_timeout)"));
            }
            () = stop.cancelled() => return Err(Refusal::stopping()),
        };
        let Some(frame) = frame else { return Ok(bytes) };
        let frame = frame.map_err(|error| {
            Refusal::new(Reason::Malformed, format!("the body of the request is broken: {error}"))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        if data.len() > limit - bytes.len() {
            return Err(too_large(limit));
        }
        room.grow(data.len()).await?;
        if bytes.capacity() - bytes.len() < data.len() {
            // Twice as much, but not more than it says it is.
            let twice = (2 * bytes.len()).clamp(FIRST, declared.max(FIRST));
            bytes.reserve_exact(twice.max(bytes.len() + data.len()) - bytes.len());
        }
        bytes.extend_from_slice(&data);
    }
}

/// Does work whose memory is not counted before it is done, on as many requests at a time as there are
/// cores. `size`: that of the input; large inputs do not hold up other requests of this thread.
///
/// # Errors
/// Those of the work.
pub async fn bounded<T: Send + 'static>(
    size: usize,
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    static WORKERS: LazyLock<Semaphore> =
        LazyLock::new(|| Semaphore::new(std::thread::available_parallelism().map_or(4, NonZero::get)));
    let not_done = || Refusal::new(Reason::Unavailable, "the body was not read: send it again");
    let worker = WORKERS.acquire().await.map_err(|_| not_done())?;
    if size < LONG_WORK {
        return work();
    }
    // The work goes on when its request is given up.
    let work = move || {
        let _worker = worker;
        work()
    };
    tokio::task::spawn_blocking(work).await.map_err(|_| not_done())?
}

/// Decompresses what stands behind `start`, to at most `limit` bytes.
///
/// # Errors
/// It is damaged or too large, or there is no room for it.
pub async fn decompress(
    compression: Compression,
    bytes: Vec<u8>,
    start: usize,
    limit: usize,
    room: &mut Room,
) -> Result<(Vec<u8>, usize), Refusal> {
    if compression == Compression::None {
        return Ok((bytes, start));
    }
    let compressed = bytes.len();
    let work = move || unpack(compression, bytes.get(start..).unwrap_or_default(), limit);
    let unpacked = bounded(compressed, work).await?;
    room.shrink(compressed);
    // This does not wait: what waits is not counted yet.
    if !room.try_grow(unpacked.len()) {
        return Err(Refusal::full());
    }
    Ok((unpacked, 0))
}

fn unpack(compression: Compression, bytes: &[u8], limit: usize) -> Result<Vec<u8>, Refusal> {
    let mut unpacked = Vec::new();
    // One byte more shows that there is more.
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    let read = match compression {
        Compression::None => bytes.take(most).read_to_end(&mut unpacked),
        Compression::Gzip => MultiGzDecoder::new(bytes).take(most).read_to_end(&mut unpacked),
        Compression::Zstd => zstd::stream::read::Decoder::with_buffer(bytes).and_then(|mut decoder| {
            decoder.window_log_max(ZSTD_WINDOW)?;
            decoder.take(most).read_to_end(&mut unpacked)
        }),
    };
    let malformed = |error| {
        let name = if compression == Compression::Zstd { "zstd" } else { "gzip" };
        Refusal::new(Reason::Malformed, format!("the body of the request is not valid {name}: {error}"))
    };
    read.map_err(malformed)?;
    if unpacked.len() > limit {
        return Err(too_large(limit));
    }
    Ok(unpacked)
}

/// A message of more than `limit` bytes.
#[must_use]
pub fn too_large(limit: usize) -> Refusal {
    Refusal::new(
        Reason::TooLarge,
        format!("the request is larger than {limit} bytes: send fewer items at a time"),
    )
}

/// Receives and forgets the rest of a body, so that its client comes to read the answer.
pub async fn drain<B: Body<Data = Bytes>>(body: B, limit: usize, within: Duration) {
    let draining = async {
        let mut body = pin!(body);
        let mut left = limit;
        while let Some(Ok(frame)) = body.frame().await {
            let bytes = frame.data_ref().map_or(0, Bytes::len);
            match left.checked_sub(bytes) {
                Some(rest) => left = rest,
                None => return,
            }
        }
    };
    // A client that is slower than that loses the answer.
    let _ = tokio::time::timeout(within, draining).await;
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn what_is_unpacked_is_bounded() {
        let zeros = vec![0; 1 << 20];
        let packed =
            [(Compression::Gzip, gzip(&zeros)), (Compression::Zstd, zstd::encode_all(&*zeros, 3).unwrap())];
        for (compression, bytes) in packed {
            assert_eq!(unpack(compression, &bytes, 1 << 20).unwrap(), zeros);
            let refused = unpack(compression, &bytes, (1 << 20) - 1).unwrap_err();
            assert_eq!(refused.reason, Reason::TooLarge);
            let cut = unpack(compression, &bytes[..bytes.len() / 2], 1 << 20).unwrap_err();
            assert_eq!(cut.reason, Reason::Malformed);
            assert_eq!(unpack(compression, b"no such thing", 1 << 20).unwrap_err().reason, Reason::Malformed);
        }
    }

    #[test]
    fn a_window_that_takes_too_much_memory_is_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        encoder.window_log(27).unwrap();
        encoder.write_all(&vec![7; 1 << 20]).unwrap();
        let bytes = encoder.finish().unwrap();
        assert_eq!(unpack(Compression::Zstd, &bytes, 1 << 24).unwrap_err().reason, Reason::Malformed);
    }
}
