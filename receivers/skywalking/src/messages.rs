//! The messages of a gRPC call: from its bytes, as they come, to one message after the other.
//!
//! The five bytes before each message are read here, so that a message has its room before it is in memory.
//! An announced length alone takes little: room is taken as bytes come, for as much again as has come. A call
//! that is open keeps nothing of the messages before.

use bytes::Bytes;
use http_body_util::BodyExt;
use hyper::body::{Body as _, Incoming};
use tokio::sync::Notify;
use tokio::time::Instant;
use weir_server::grpc::{PREFIX, Prefix};
use weir_server::{Compression, Reason, Refusal, Room, body};

use crate::intake::Intake;

/// What a message takes in memory beside its bytes.
const OVERHEAD: usize = 64;
/// Room that an announced length takes before anything has come.
const FIRST: usize = 4 << 10;

/// The messages of a call, in order.
pub(crate) struct Messages<'a> {
    intake: &'a Intake,
    body: Incoming,
    /// What has come and is not taken: the rest of one frame.
    came: Bytes,
    compression: Compression,
    end: Option<End>,
    /// Weir ends, and the message that had begun is taken: only what came whole behind it is, too.
    is_ending: bool,
    crowded: &'a Notify,
}

/// Why nothing more of a call is read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// The agent has sent everything.
    Complete,
    /// Weir ends.
    Interrupted,
}

impl<'a> Messages<'a> {
    /// The messages of this body. `crowded` is notified when one waits for room.
    pub(crate) fn new(
        intake: &'a Intake,
        body: Incoming,
        compression: Compression,
        crowded: &'a Notify,
    ) -> Messages<'a> {
        Messages { intake, body, came: Bytes::new(), compression, end: None, is_ending: false, crowded }
    }

    /// Whether Weir ends, and what the agent may still send is not read.
    pub(crate) fn is_interrupted(&self) -> bool {
        self.end == Some(End::Interrupted)
    }

    /// The next message, with the room that it takes; `None` at the end. Must not be cancelled: what has come
    /// of the message would be lost.
    ///
    /// # Errors
    /// The message, or the call, is not to be read any further.
    pub(crate) async fn next(&mut self) -> Result<Option<(Bytes, Room)>, Refusal> {
        if self.is_ending && !self.has_whole() {
            let is_all = self.came.is_empty() && self.body.is_end_stream();
            self.end = Some(if is_all { End::Complete } else { End::Interrupted });
            return Ok(None);
        }
        if self.came.is_empty() && !self.fill(None).await? {
            return Ok(None);
        }
        let mut late = Instant::now() + self.intake.bounds.read_timeout;
        let (mut prefix, mut has) = ([0; PREFIX], 0);
        loop {
            let part = self.came.split_to(self.came.len().min(PREFIX - has));
            prefix[has..has + part.len()].copy_from_slice(&part);
            has += part.len();
            if has == PREFIX {
                break;
            }
            self.more(late).await?;
        }
        let prefix = Prefix::read(prefix)?;
        let compression = prefix.compression(self.compression)?;
        let length = prefix.length;
        if length > self.intake.bounds.max_message {
            return Err(self.intake.too_large(length));
        }
        let (message, room) = self.message(length, &mut late).await?;
        if compression == Compression::None {
            return Ok(Some((message, room)));
        }
        let (most, mut room) = (self.intake.bounds.max_message, room);
        let (plain, _) = body::decompress(compression, message.into(), 0, most, &mut room).await?;
        Ok(Some((plain.into(), room)))
    }

    /// The message of this length that comes next, with its room.
    async fn message(&mut self, length: usize, late: &mut Instant) -> Result<(Bytes, Room), Refusal> {
        let mut room = self.intake.bounds.rooms.none();
        if self.came.len() >= length {
            *late += self.grow(&mut room, OVERHEAD + length).await?;
            return Ok((self.came.split_to(length), room));
        }
        // Never larger than its room: so the rest of the frame is no part of it.
        let mut message = Vec::new();
        let (mut counted, mut overhead) = (0, OVERHEAD);
        loop {
            let came = (message.len() + self.came.len()).min(length);
            if overhead > 0 || came > counted {
                let wanted = (2 * came).max(FIRST).min(length);
                *late += self.grow(&mut room, overhead + wanted - counted).await?;
                (counted, overhead) = (wanted, 0);
                message.reserve_exact(wanted - message.len());
            }
            message.extend_from_slice(&self.came.split_to(came - message.len()));
            if came == length {
                return Ok((message.into(), room));
            }
            self.more(*late).await?;
        }
    }

    /// Whether a message has come whole.
    fn has_whole(&self) -> bool {
        let prefix = self.came.first_chunk::<PREFIX>().and_then(|prefix| Prefix::read(*prefix).ok());
        prefix.is_some_and(|prefix| prefix.length <= self.came.len() - PREFIX)
    }

    /// Takes room for this much more. How long it had to wait for it.
    async fn grow(&self, room: &mut Room, bytes: usize) -> Result<std::time::Duration, Refusal> {
        if room.try_grow(bytes) {
            return Ok(std::time::Duration::ZERO);
        }
        let since = Instant::now();
        self.crowded.notify_one();
        room.grow(bytes).await?;
        Ok(since.elapsed())
    }

    /// Takes what comes next of a message that has begun. When Weir ends it is the last one.
    async fn more(&mut self, late: Instant) -> Result<(), Refusal> {
        if self.fill(Some(late)).await? {
            self.is_ending = self.intake.bounds.stop.is_cancelled();
            return Ok(());
        }
        Err(Refusal::new(Reason::Malformed, "the call ended within a message"))
    }

    /// Takes what comes next, `late` at the latest when a message has begun. `false`: nothing more comes.
    async fn fill(&mut self, late: Option<Instant>) -> Result<bool, Refusal> {
        let slow = || Refusal::new(Reason::Slow, "the rest of a message did not come in time");
        while self.end.is_none() {
            let is_late = async {
                match late {
                    Some(late) => tokio::time::sleep_until(late).await,
                    None => std::future::pending().await,
                }
            };
            let frame = tokio::select! {
                biased;
                // Also when the agent goes on and on.
                () = self.intake.bounds.stop.cancelled(), if late.is_none() => {
                    self.end = Some(End::Interrupted);
                    continue;
                }
                frame = self.body.frame() => frame,
                () = is_late => return Err(slow()),
            };
            match frame {
                None => self.end = Some(End::Complete),
                Some(Err(_)) => return Err(Refusal::new(Reason::Unavailable, "the call was broken off")),
                Some(Ok(frame)) => {
                    self.came = frame.into_data().unwrap_or_default();
                    if !self.came.is_empty() {
                        return Ok(true);
                    }
                    if late.is_some_and(|late| late < Instant::now()) {
                        // Frames without anything do not put it off.
                        return Err(slow());
                    }
                }
            }
        }
        Ok(false)
    }
}
