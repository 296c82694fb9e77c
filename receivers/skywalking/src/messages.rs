//! The messages of a gRPC call: from its bytes, as they come, to one message after the other.
//!
//! The five bytes before each message are read here, so that a message has its room before it is in memory.
//! An announced length alone takes little: room is taken as bytes come, for as much again as has come.

use bytes::{Buf, Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
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
    /// What has come and is not taken.
    buffer: BytesMut,
    compression: Compression,
    end: Option<End>,
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
        Messages { intake, body, buffer: BytesMut::new(), compression, end: None, crowded }
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
        if self.buffer.is_empty() && !self.fill(None).await? {
            return Ok(None);
        }
        let mut late = Instant::now() + self.intake.bounds.read_timeout;
        let prefix = loop {
            match self.buffer.first_chunk::<PREFIX>() {
                Some(prefix) => break Prefix::read(*prefix)?,
                None => self.more(late).await?,
            }
        };
        let compression = prefix.compression(self.compression)?;
        let length = prefix.length;
        if length > self.intake.bounds.max_message {
            return Err(self.intake.too_large(length));
        }
        let mut room = self.intake.bounds.rooms.none();
        let (mut counted, mut overhead) = (0, OVERHEAD);
        loop {
            let came = (self.buffer.len() - PREFIX).min(length);
            if overhead > 0 || came > counted {
                let wanted = (2 * came).max(FIRST).min(length);
                late += self.grow(&mut room, overhead + wanted - counted).await?;
                (counted, overhead) = (wanted, 0);
            }
            if came == length {
                break;
            }
            self.more(late).await?;
        }
        self.buffer.advance(PREFIX);
        let message = self.buffer.split_to(length);
        if compression == Compression::None {
            return Ok(Some((message.freeze(), room)));
        }
        let most = self.intake.bounds.max_message;
        let (plain, _) = body::decompress(compression, message.into(), 0, most, &mut room).await?;
        Ok(Some((plain.into(), room)))
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

    /// Takes what comes next of a message that has begun.
    async fn more(&mut self, late: Instant) -> Result<(), Refusal> {
        if self.fill(Some(late)).await? {
            return Ok(());
        }
        Err(Refusal::new(Reason::Malformed, "the call ended within a message"))
    }

    /// Takes what comes next, `late` at the latest when a message has begun. `false`: nothing more comes.
    async fn fill(&mut self, late: Option<Instant>) -> Result<bool, Refusal> {
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
                () = is_late => {
                    return Err(Refusal::new(Reason::Slow, "the rest of a message did not come in time"));
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
