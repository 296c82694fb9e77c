//! Receiving and decompressing the body of a request, within bounds.

use std::convert::Infallible;
use std::io::{Cursor, Read};
use std::num::NonZero;
use std::pin::pin;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use flate2::bufread::MultiGzDecoder;
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
/// How much of a compressed body is unpacked first.
const FIRST: usize = 64 << 10;
/// Work on this many bytes, read or written, is done on a thread that may block.
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

/// Receives a body of at most `limit` bytes, before `deadline`. `declared`: how long it says it is. The time
/// that it waits for room is not the client's: the deadline is later by that.
///
/// # Errors
/// Why it was not received.
pub async fn receive<B>(
    body: B,
    declared: Option<u64>,
    limit: usize,
    mut deadline: Instant,
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
    let mut bytes = Vec::new();
    let slow = || Refusal::new(Reason::Slow, "the body of the request did not come in time (read_timeout)");
    loop {
        let frame = tokio::select! {
            biased;
            () = stop.cancelled() => return Err(Refusal::stopping()),
            // Also when it is late: it may have come before the deadline.
            frame = body.frame() => frame,
            () = tokio::time::sleep_until(deadline) => return Err(slow()),
        };
        let Some(frame) = frame else { break };
        let frame = frame.map_err(|error| {
            Refusal::new(Reason::Malformed, format!("the body of the request is broken: {error}"))
        })?;
        let data = frame.into_data().unwrap_or_default();
        if data.is_empty() && Instant::now() > deadline {
            // Frames without anything do not put it off.
            return Err(slow());
        }
        if data.len() > limit - bytes.len() {
            return Err(too_large(limit));
        }
        let needed = bytes.len() + data.len();
        if needed > bytes.capacity() {
            // Twice as much, but not more than it says it is. What it says takes no memory before it comes.
            let most = if declared > 0 { declared } else { limit };
            let wanted = (2 * bytes.len()).min(most).max(needed);
            let since = Instant::now();
            room.grow(wanted - bytes.capacity()).await?;
            deadline += since.elapsed();
            bytes.reserve_exact(wanted - bytes.len());
        }
        bytes.extend_from_slice(&data);
    }
    let more = bytes.capacity() - bytes.len();
    if more > 0 {
        bytes.shrink_to_fit();
        room.shrink(more);
    }
    Ok(bytes)
}

/// Does work whose memory is not counted before it is done, on as many requests at a time as there are
/// cores. `size`: that of the input or of the result; long work does not hold up other requests of this
/// thread.
///
/// # Errors
/// Those of the work.
async fn bounded<T: Send + 'static>(
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

/// Makes something else of a body, and adds to its room what that takes more. `size`: how much it takes.
///
/// # Errors
/// The body is no such thing, or there is no room in time.
pub async fn convert<T: Send + 'static>(
    bytes: Vec<u8>,
    room: &mut Room,
    work: impl FnOnce(&[u8]) -> Result<T, String> + Send + 'static,
    size: impl FnOnce(&T) -> usize,
) -> Result<T, Refusal> {
    let before = bytes.len();
    let work = move || work(&bytes).map_err(|why| Refusal::new(Reason::Malformed, why));
    let made = bounded(before, work).await?;
    room.grow(size(&made).saturating_sub(before)).await?;
    Ok(made)
}

/// Decompresses what stands behind `start`, to at most `limit` bytes. `room` has the bytes already. It grows
/// before something is unpacked, and has what is larger, the bytes or what they become; at the end it has
/// what they became.
///
/// # Errors
/// It is damaged or too large, or there is no room for it in time.
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
    let mut counted = compressed;
    let mut unpacking = Unpacking::new(compression, bytes, start, limit)?;
    while let Some(step) = unpacking.step() {
        let needed = unpacking.unpacked.len() + step;
        if needed > counted {
            room.grow(needed - counted).await?;
            counted = needed;
        }
        // Either can be long: little becomes much, and much can become little.
        unpacking = bounded(compressed.max(step), move || unpacking.go_on(step)).await?;
    }
    let mut unpacked = unpacking.unpacked;
    // Memory first, then its room.
    unpacked.shrink_to_fit();
    room.shrink(counted.saturating_sub(unpacked.len()));
    Ok((unpacked, 0))
}

/// A body that is unpacked piece by piece.
struct Unpacking {
    reader: Reader,
    name: &'static str,
    unpacked: Vec<u8>,
    limit: usize,
    is_whole: bool,
}

enum Reader {
    Gzip(Box<MultiGzDecoder<Cursor<Vec<u8>>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, Cursor<Vec<u8>>>>),
}

impl Unpacking {
    fn new(
        compression: Compression,
        bytes: Vec<u8>,
        start: usize,
        limit: usize,
    ) -> Result<Unpacking, Refusal> {
        let mut bytes = Cursor::new(bytes);
        bytes.set_position(start as u64);
        let (reader, name) = match compression {
            Compression::None | Compression::Gzip => {
                (Reader::Gzip(Box::new(MultiGzDecoder::new(bytes))), "gzip")
            }
            Compression::Zstd => {
                let decoder = zstd::stream::read::Decoder::with_buffer(bytes).and_then(|mut decoder| {
                    decoder.window_log_max(ZSTD_WINDOW)?;
                    Ok(decoder)
                });
                (Reader::Zstd(Box::new(decoder.map_err(|error| malformed("zstd", &error))?)), "zstd")
            }
        };
        Ok(Unpacking { reader, name, unpacked: Vec::new(), limit, is_whole: false })
    }

    /// How much is unpacked next: as much as there is already. `None`: there is nothing more.
    fn step(&self) -> Option<usize> {
        let left = self.limit - self.unpacked.len();
        // One byte more shows that there is more.
        (!self.is_whole).then(|| self.unpacked.len().max(FIRST).min(left).max(1))
    }

    /// Unpacks so many bytes, if there are as many.
    fn go_on(mut self, step: usize) -> Result<Unpacking, Refusal> {
        let before = self.unpacked.len();
        self.unpacked.reserve_exact(step);
        let most = step as u64;
        let read = match &mut self.reader {
            Reader::Gzip(reader) => reader.by_ref().take(most).read_to_end(&mut self.unpacked),
            Reader::Zstd(reader) => reader.by_ref().take(most).read_to_end(&mut self.unpacked),
        };
        read.map_err(|error| malformed(self.name, &error))?;
        if self.unpacked.len() > self.limit {
            return Err(too_large(self.limit));
        }
        self.is_whole = self.unpacked.len() - before < step;
        Ok(self)
    }
}

fn malformed(name: &str, error: &std::io::Error) -> Refusal {
    Refusal::new(Reason::Malformed, format!("the body of the request is not valid {name}: {error}"))
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
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use hyper::body::Frame;
    use prometheus_client::metrics::gauge::Gauge;

    use crate::Rooms;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn rooms(bytes: u64, max_wait: Duration) -> (Rooms, Gauge) {
        let used = Gauge::default();
        (Rooms::new(bytes, max_wait, used.clone()), used)
    }

    /// Unpacks in a room that is large enough.
    async fn unpack(compression: Compression, bytes: &[u8], limit: usize) -> Result<Vec<u8>, Refusal> {
        let (rooms, used) = rooms(64 << 20, Duration::ZERO);
        let mut room = rooms.none();
        assert!(room.try_grow(bytes.len()));
        let (unpacked, start) = decompress(compression, bytes.to_vec(), 0, limit, &mut room).await?;
        assert_eq!((start, used.get()), (0, i64::try_from(unpacked.len()).unwrap()));
        assert_eq!(unpacked.capacity(), unpacked.len(), "it keeps memory that has no room");
        Ok(unpacked)
    }

    fn packed(bytes: &[u8]) -> [(Compression, Vec<u8>); 2] {
        [(Compression::Gzip, gzip(bytes)), (Compression::Zstd, zstd::encode_all(bytes, 3).unwrap())]
    }

    #[tokio::test]
    async fn what_is_unpacked_is_bounded() {
        for length in [0, 1, FIRST - 1, FIRST, FIRST + 1, 4 * FIRST, 1 << 20] {
            let bytes: Vec<u8> = (0..length).map(|at| ((at * at) >> 7) as u8).collect();
            for (compression, packed) in packed(&bytes) {
                assert_eq!(unpack(compression, &packed, length).await.unwrap(), bytes);
                if length > 0 {
                    let refused = unpack(compression, &packed, length - 1).await.unwrap_err();
                    assert_eq!(refused.reason, Reason::TooLarge, "{length}");
                }
                let cut = unpack(compression, &packed[..packed.len() / 2], length).await.unwrap_err();
                assert_eq!(cut.reason, Reason::Malformed, "{length}");
            }
        }
        for compression in [Compression::Gzip, Compression::Zstd] {
            let refused = unpack(compression, b"no such thing", 1 << 20).await.unwrap_err();
            assert_eq!(refused.reason, Reason::Malformed);
        }
    }

    #[tokio::test]
    async fn a_body_has_room_for_all_memory_that_it_takes() {
        let (rooms, used) = rooms(64 << 20, Duration::ZERO);
        let (stop, limit) = (CancellationToken::new(), 1 << 20);
        let deadline = Instant::now() + Duration::from_secs(60);
        for (pieces, declared) in [(1, None), (1, Some(1 << 20)), (70, None), (70, Some(70_000))] {
            let mut room = rooms.none();
            let frames =
                (0..pieces).map(|_| Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[7; 1_000]))));
            // What comes later is waited for.
            let (come, rest) = tokio::sync::mpsc::unbounded_channel();
            frames.for_each(|frame| come.send(frame).unwrap());
            let body = Pieces(rest);
            {
                let mut receiving = pin!(receive(body, declared, limit, deadline, &stop, &mut room));
                let first =
                    std::future::poll_fn(|context| Poll::Ready(receiving.as_mut().poll(context))).await;
                assert!(first.is_pending());
                assert!(used.get() <= pieces * 2_000, "{} bytes for {pieces} pieces", used.get());
                drop(come);
                let bytes = receiving.await.unwrap();
                assert_eq!(bytes, vec![7; usize::try_from(pieces).unwrap() * 1_000]);
                assert!(bytes.capacity() <= usize::try_from(used.get()).unwrap(), "{}", bytes.capacity());
            }
            drop(room);
            assert_eq!(used.get(), 0);
        }
    }

    #[tokio::test]
    async fn waiting_for_room_is_not_the_clients_time() {
        let (rooms, _) = rooms(1 << 20, Duration::from_secs(60));
        let (stop, limit) = (CancellationToken::new(), 1 << 20);
        let mut other = rooms.none();
        other.grow(1 << 20).await.unwrap();
        let (come, rest) = tokio::sync::mpsc::unbounded_channel();
        let send = || come.send(Ok(Frame::data(Bytes::from_static(&[7; 10_000])))).unwrap();
        send();
        let mut room = rooms.none();
        let deadline = Instant::now() + Duration::from_millis(800);
        let mut receiving = pin!(receive(Pieces(rest), None, limit, deadline, &stop, &mut room));
        let early = tokio::time::timeout(Duration::from_millis(1200), receiving.as_mut()).await;
        assert!(early.is_err(), "there is no room: {early:?}");
        drop(other);
        // It has still most of its time.
        let early = tokio::time::timeout(Duration::from_millis(300), receiving.as_mut()).await;
        assert!(early.is_err(), "it comes in time: {early:?}");
        send();
        drop(come);
        assert_eq!(receiving.await.unwrap().len(), 20_000);
        // A client that is slow itself is refused.
        let (_come, rest) = tokio::sync::mpsc::unbounded_channel();
        let deadline = Instant::now() + Duration::from_millis(800);
        let refused = receive(Pieces(rest), None, limit, deadline, &stop, &mut rooms.none()).await;
        assert_eq!(refused.unwrap_err().reason, Reason::Slow);
    }

    /// A body whose frames come when they are sent.
    struct Pieces(tokio::sync::mpsc::UnboundedReceiver<Result<Frame<Bytes>, Infallible>>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            self.0.poll_recv(context)
        }
    }

    #[tokio::test]
    async fn members_follow_each_other() {
        let both = [gzip(b"one "), gzip(b"other")].concat();
        assert_eq!(unpack(Compression::Gzip, &both, 100).await.unwrap(), b"one other");
    }

    #[tokio::test]
    async fn a_window_that_takes_too_much_memory_is_refused() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 3).unwrap();
        encoder.window_log(27).unwrap();
        encoder.write_all(&vec![7; 1 << 20]).unwrap();
        let bytes = encoder.finish().unwrap();
        let refused = unpack(Compression::Zstd, &bytes, 1 << 24).await.unwrap_err();
        assert_eq!(refused.reason, Reason::Malformed);
    }

    #[tokio::test]
    async fn little_that_becomes_much_does_not_hold_up_others() {
        let (rooms, _) = rooms(64 << 20, Duration::ZERO);
        for (compression, packed) in packed(&vec![0; 8 << 20]) {
            assert!(packed.len() < 16 << 10);
            let mut room = rooms.none();
            let mut unpacking = pin!(decompress(compression, packed, 0, 8 << 20, &mut room));
            let first = std::future::poll_fn(|context| Poll::Ready(unpacking.as_mut().poll(context))).await;
            assert!(first.is_pending(), "8 MiB are unpacked before anybody else has a turn");
            assert_eq!(unpacking.await.unwrap().0.len(), 8 << 20);
        }
    }

    #[tokio::test]
    async fn room_is_taken_before_something_is_unpacked_and_waited_for() {
        let (rooms, used) = rooms(1 << 20, Duration::from_secs(60));
        let mut other = rooms.none();
        for (compression, packed) in packed(&vec![0; 512 << 10]) {
            // More than there is: so it goes first, and the other one waits.
            other.grow(900 << 10).await.unwrap();
            other.grow(200 << 10).await.unwrap();
            let mut room = rooms.none();
            assert!(room.try_grow(packed.len()));
            let mut unpacking = pin!(decompress(compression, packed, 0, 1 << 20, &mut room));
            let early = tokio::time::timeout(Duration::from_millis(100), unpacking.as_mut()).await;
            assert!(early.is_err(), "there is no room");
            assert!(used.get() <= (1100 << 10) + (128 << 10));
            other.shrink(1100 << 10);
            assert_eq!(unpacking.await.unwrap().0.len(), 512 << 10);
            assert_eq!(used.get(), 512 << 10);
        }
        let (rooms, _) = self::rooms(1 << 20, Duration::ZERO);
        let mut other = rooms.none();
        other.grow(1 << 20).await.unwrap();
        other.grow(1 << 20).await.unwrap();
        let (packed, mut room) = (gzip(&vec![0; 2 << 20]), rooms.none());
        let refused = decompress(Compression::Gzip, packed, 0, 4 << 20, &mut room).await.map(drop);
        assert_eq!(refused.unwrap_err().reason, Reason::Busy);
    }
}
