//! From messages to lanes: what a report has is gathered, goes down a lane as one batch or several, and is
//! waited for.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use weir_pdata::Format;

use crate::lane::Delivery;
use crate::metrics::Metrics;

/// Bytes after which a batch goes down the lane, though the report goes on.
const BATCH_BYTES: usize = 2 << 20;
/// Records after which it does.
const BATCH_RECORDS: usize = 1024;
/// What a record costs beside its bytes.
const RECORD_OVERHEAD: usize = 64;

/// Why a report is not taken.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    /// As gRPC says it.
    pub(crate) code: Code,
    /// What happened, and what to do.
    pub(crate) message: String,
}

impl Refusal {
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Refusal {
        Refusal { code, message: message.into() }
    }
}

/// What all connections of a receiver share.
pub(crate) struct Intake {
    pub(crate) metrics: Metrics,
    pub(crate) authentication: Option<String>,
    /// The largest message, in bytes.
    pub(crate) most: usize,
    pub(crate) answer_timeout: Duration,
    pub(crate) stop: CancellationToken,
    /// Bytes that may wait.
    room: Arc<Semaphore>,
    room_bytes: usize,
    lanes: Vec<mpsc::Sender<Delivery>>,
}

impl Intake {
    /// `settings`: what clients must send, the largest message, how long they wait, and bytes that may wait.
    pub(crate) fn new(
        metrics: Metrics,
        (authentication, most, answer_timeout, room_bytes): (Option<String>, usize, Duration, usize),
        lanes: Vec<mpsc::Sender<Delivery>>,
        stop: CancellationToken,
    ) -> Intake {
        let room = Arc::new(Semaphore::new(room_bytes));
        Intake { metrics, authentication, most, answer_timeout, stop, room, room_bytes, lanes }
    }

    /// Whether a client may send, by its header `authentication`.
    ///
    /// # Errors
    /// It may not.
    pub(crate) fn admit(&self, token: Option<&[u8]>) -> Result<(), Refusal> {
        let Some(expected) = &self.authentication else { return Ok(()) };
        let token = token.unwrap_or_default();
        // As long for every token of this length.
        let differs =
            token.iter().zip(expected.as_bytes()).fold(0, |all, (left, right)| all | (left ^ right));
        if token.len() == expected.len() && differs == 0 {
            return Ok(());
        }
        let why = "the header `Authentication` is missing or wrong: set `agent.authentication` of the agent";
        Err(Refusal::new(Code::Unauthenticated, why))
    }

    /// Waits for room for so many bytes.
    ///
    /// # Errors
    /// There is none before `deadline`.
    pub(crate) async fn room(
        &self,
        bytes: usize,
        deadline: Instant,
    ) -> Result<OwnedSemaphorePermit, Refusal> {
        let bytes = (bytes + RECORD_OVERHEAD).min(self.room_bytes);
        let room = Arc::clone(&self.room).acquire_many_owned(u32::try_from(bytes).unwrap_or(u32::MAX));
        match tokio::time::timeout_at(deadline, room).await {
            Ok(Ok(room)) => Ok(room),
            Ok(Err(_)) => Err(stopping()),
            Err(_) => Err(behind()),
        }
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

/// Weir ends.
pub(crate) fn stopping() -> Refusal {
    Refusal::new(Code::Unavailable, "Weir is shutting down: send it again")
}

fn behind() -> Refusal {
    let why =
        "the pipeline is behind, and no more reports fit in memory (`queue.max_bytes`): send it again later";
    Refusal::new(Code::ResourceExhausted, why)
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
    rooms: Vec<OwnedSemaphorePermit>,
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
        room: Option<OwnedSemaphorePermit>,
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
        self.intake.metrics.records.inc_by(records.len() as u64);
        self.intake.metrics.bytes.inc_by(arena.len() as u64);
        let (answer, answered) = oneshot::channel();
        let delivery = Delivery { format, arena, records, answer, rooms };
        let lanes = &self.intake.lanes;
        let lane = lanes.get(self.connection % lanes.len().max(1)).ok_or_else(stopping)?;
        match tokio::time::timeout_at(self.intake.deadline(), lane.send(delivery)).await {
            Ok(sent) => sent.map_err(|_| stopping())?,
            Err(_) => return Err(behind()),
        }
        self.waiting.spawn(async move {
            match answered.await {
                Ok(true) => Ok(()),
                Ok(false) | Err(_) => Err(Refusal::new(
                    Code::Unavailable,
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
                delivered.map_err(|_| stopping())??;
            }
            Ok(())
        };
        let late = || {
            Refusal::new(
                Code::Unavailable,
                "the data is not delivered yet (`answer_timeout`): it may come twice when it is sent again",
            )
        };
        tokio::time::timeout_at(deadline, all).await.unwrap_or_else(|_| Err(late()))
    }
}
