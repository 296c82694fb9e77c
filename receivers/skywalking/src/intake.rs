//! From messages to lanes: what a report has is gathered, goes down a lane as one batch or several, and is
//! waited for.

use std::sync::Arc;
use std::time::Duration;

use hyper::header::{HeaderMap, HeaderValue};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use weir_component::RecordCounters;
use weir_pdata::Format;
use weir_server::{Digests, Reason, Refusal, Room, Rooms};

use crate::lane::Delivery;

/// Bytes after which a batch goes down the lane, though the report goes on.
const BATCH_BYTES: usize = 2 << 20;
/// Records after which it does.
const BATCH_RECORDS: usize = 1024;

/// What all connections of a receiver share.
pub(crate) struct Intake {
    pub(crate) counters: RecordCounters,
    /// What agents must send.
    pub(crate) authentication: Option<Digests>,
    /// The largest message, in bytes.
    pub(crate) most: usize,
    pub(crate) answer_timeout: Duration,
    /// How long the rest of a message that has begun may take.
    pub(crate) read_timeout: Duration,
    /// Bytes that may wait.
    pub(crate) rooms: Rooms,
    pub(crate) stop: CancellationToken,
    pub(crate) lanes: Vec<mpsc::Sender<Delivery>>,
}

impl Intake {
    /// Whether a client may send, by its headers.
    ///
    /// # Errors
    /// It may not.
    pub(crate) fn admit(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let token = headers.get("authentication").map_or(&b""[..], HeaderValue::as_bytes);
        if self.authentication.as_ref().is_none_or(|expected| expected.has(token)) {
            return Ok(());
        }
        let why = "the header `Authentication` is missing or wrong: set `agent.authentication` of the agent";
        Err(Refusal::new(Reason::Unauthenticated, why))
    }

    /// A message of `bytes` bytes is larger than it may be.
    pub(crate) fn too_large(&self, bytes: usize) -> Refusal {
        let most = self.most;
        let why = format!("a message of {bytes} bytes or more is larger than {most} (`max_message_bytes`)");
        Refusal::new(Reason::TooLarge, why)
    }

    /// When a report that begins now must be answered.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.answer_timeout
    }

    /// A report that comes over connection number `connection`.
    pub(crate) fn report(self: &Arc<Self>, connection: usize) -> Report {
        Report { intake: Arc::clone(self), connection, open: None, waiting: JoinSet::new() }
    }
}

/// Records of one report.
pub(crate) struct Report {
    intake: Arc<Intake>,
    connection: usize,
    open: Option<Open>,
    waiting: JoinSet<Result<(), Refusal>>,
}

struct Open {
    format: Format,
    arena: Vec<u8>,
    records: Vec<std::ops::Range<u32>>,
    rooms: Vec<Room>,
}

impl Report {
    /// Adds a record, and the room that it takes, if no other has it.
    ///
    /// # Errors
    /// The pipeline has stopped.
    pub(crate) async fn add(
        &mut self,
        format: Format,
        record: &[u8],
        room: Option<Room>,
    ) -> Result<(), Refusal> {
        let full = |open: &Open| {
            open.format != format
                || open.records.len() >= BATCH_RECORDS
                || open.arena.len() + record.len() > BATCH_BYTES
        };
        if self.open.as_ref().is_some_and(full) {
            self.flush().await?;
        }
        let new = || Open { format, arena: Vec::new(), records: Vec::new(), rooms: Vec::new() };
        let open = self.open.get_or_insert_with(new);
        let start = u32::try_from(open.arena.len()).unwrap_or(u32::MAX);
        open.arena.extend_from_slice(record);
        open.records.push(start..u32::try_from(open.arena.len()).unwrap_or(u32::MAX));
        open.rooms.extend(room);
        Ok(())
    }

    /// Whether records wait to go down the lane.
    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Sends what waits down the lane.
    ///
    /// # Errors
    /// The pipeline has stopped, or the lane took nothing for as long as a report may wait for its answer.
    pub(crate) async fn flush(&mut self) -> Result<(), Refusal> {
        let Some(Open { format, arena, records, rooms }) = self.open.take() else { return Ok(()) };
        self.intake.counters.records.inc_by(records.len() as u64);
        self.intake.counters.bytes.inc_by(arena.len() as u64);
        let (answer, answered) = oneshot::channel();
        let delivery = Delivery { format, arena, records, answer, rooms };
        let lanes = &self.intake.lanes;
        let lane = lanes.get(self.connection % lanes.len().max(1)).ok_or_else(Refusal::stopping)?;
        match tokio::time::timeout_at(self.intake.deadline(), lane.send(delivery)).await {
            Ok(sent) => sent.map_err(|_| Refusal::stopping())?,
            Err(_) => return Err(Refusal::full()),
        }
        self.waiting.spawn(async move {
            match answered.await {
                Ok(true) => Ok(()),
                Ok(false) | Err(_) => Err(Refusal::new(
                    Reason::Unavailable,
                    "the data may not have been delivered: send it again",
                )),
            }
        });
        Ok(())
    }

    /// Sends what waits, and waits until all of the report is safe.
    ///
    /// # Errors
    /// Something of it is not.
    pub(crate) async fn finish(mut self) -> Result<(), Refusal> {
        let deadline = self.intake.deadline();
        let all = async {
            self.flush().await?;
            while let Some(delivered) = self.waiting.join_next().await {
                delivered.map_err(|_| Refusal::stopping())??;
            }
            Ok(())
        };
        let late = || {
            Refusal::new(
                Reason::Unavailable,
                "the data is not delivered yet (`answer_timeout`): it may come twice when it is sent again",
            )
        };
        tokio::time::timeout_at(deadline, all).await.unwrap_or_else(|_| Err(late()))
    }
}
