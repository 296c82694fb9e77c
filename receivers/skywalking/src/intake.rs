//! From messages to lanes: what a report has is gathered, goes down a lane as one batch or several, and is
//! waited for.

use std::sync::Arc;
use std::time::Duration;

use hyper::header::{HeaderMap, HeaderValue};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use weir_component::collector_names::AnsweredItems;
use weir_pdata::Format;
use weir_server::{Bounds, Digests, Reason, Refusal, Room};

use crate::held::Held;
use crate::lane::{Delivery, LaneRejects, Waiter};

/// Bytes after which a batch goes down the lane, though the report goes on.
const BATCH_BYTES: usize = 2 << 20;
/// Records after which it does.
const BATCH_RECORDS: usize = 1024;
/// How long a record of a stream waits for further ones.
const LINGER: Duration = Duration::from_millis(200);

/// What a record takes in memory beside its bytes, where many of them come in one message.
pub(crate) const RECORD_OVERHEAD: usize = 64;

/// What all connections of one protocol share.
pub(crate) struct Intake {
    /// Items by whether they were taken.
    pub(crate) items: Arc<AnsweredItems>,
    /// Where messages are rejected that are no records of a lane.
    pub(crate) rejects: LaneRejects,
    /// What agents must send.
    pub(crate) authentication: Option<Digests>,
    pub(crate) answer_timeout: Duration,
    pub(crate) bounds: Bounds,
    pub(crate) lanes: Vec<mpsc::Sender<Delivery>>,
}

impl Intake {
    /// Whether a client may send, by its headers.
    ///
    /// # Errors
    /// It may not, or Weir ends.
    pub(crate) fn admit(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        if self.bounds.stop.is_cancelled() {
            return Err(Refusal::stopping());
        }
        let token = headers.get("authentication").map_or(&b""[..], HeaderValue::as_bytes);
        if self.authentication.as_ref().is_none_or(|expected| expected.has(token)) {
            return Ok(());
        }
        let why = "the header `Authentication` is missing or wrong: set `agent.authentication` of the agent";
        Err(Refusal::new(Reason::Unauthenticated, why))
    }

    /// A message of `bytes` bytes is larger than it may be.
    pub(crate) fn too_large(&self, bytes: usize) -> Refusal {
        let most = self.bounds.max_message;
        let why = format!("a message of {bytes} bytes or more is larger than {most} (`max_message_bytes`)");
        Refusal::new(Reason::TooLarge, why)
    }

    /// Whether one message may have this many records.
    ///
    /// # Errors
    /// They take more memory than a message may have bytes, however short they are.
    pub(crate) fn check_count(&self, records: usize) -> Result<(), Refusal> {
        let most = self.bounds.max_message;
        if records.saturating_mul(RECORD_OVERHEAD) <= most {
            return Ok(());
        }
        let why = format!(
            "{records} records or more in one message take more than {most} bytes (`max_message_bytes`), of \
             which each has {RECORD_OVERHEAD} at least: send fewer at a time"
        );
        Err(Refusal::new(Reason::TooLarge, why))
    }

    /// When a report that begins now must be answered.
    pub(crate) fn deadline(&self) -> Instant {
        Instant::now() + self.answer_timeout
    }

    /// A report that comes over connection number `connection`.
    pub(crate) fn report(self: &Arc<Self>, connection: usize) -> Report {
        let lane = self.lanes.get(connection % self.lanes.len().max(1)).cloned();
        Report { intake: Arc::clone(self), lane, open: None, waiting: JoinSet::new() }
    }
}

/// Records of one report. What it has when it is dropped goes down the lane, if the lane takes it at once.
pub(crate) struct Report {
    intake: Arc<Intake>,
    lane: Option<mpsc::Sender<Delivery>>,
    open: Option<Open>,
    waiting: JoinSet<Result<(), Refusal>>,
}

struct Open {
    format: Format,
    arena: Vec<u8>,
    records: Vec<std::ops::Range<u32>>,
    rooms: Vec<Held>,
    /// When the first of them was added.
    since: Instant,
}

impl Open {
    fn end(&self) -> u32 {
        u32::try_from(self.arena.len()).unwrap_or(u32::MAX)
    }

    /// What goes down the lane, and where its answer comes.
    fn delivery(self, items: &Arc<AnsweredItems>) -> (Delivery, oneshot::Receiver<bool>) {
        let Open { format, arena, records, rooms, since: _ } = self;
        let (answer, answered) = oneshot::channel();
        let waiter = Waiter::new(answer, Arc::clone(items), format.signal(), records.len());
        (Delivery { format, arena, records, waiter, rooms }, answered)
    }
}

impl Report {
    /// Adds a record, and its room.
    ///
    /// # Errors
    /// The pipeline has stopped.
    pub(crate) async fn add(&mut self, format: Format, record: &[u8], room: Held) -> Result<(), Refusal> {
        self.make_way(format, record.len()).await?;
        let new = || Open {
            format,
            arena: Vec::new(),
            records: Vec::new(),
            rooms: Vec::new(),
            since: Instant::now(),
        };
        let open = self.open.get_or_insert_with(new);
        let start = open.end();
        open.arena.extend_from_slice(record);
        open.records.push(start..open.end());
        room.join(&mut open.rooms);
        Ok(())
    }

    /// Adds bytes to the last record, and the room that they take.
    pub(crate) fn go_on(&mut self, bytes: &[u8], room: Room) {
        let Some(open) = &mut self.open else { return };
        open.arena.extend_from_slice(bytes);
        let end = open.end();
        if let Some(last) = open.records.last_mut() {
            last.end = end;
        }
        Held::Own(room).join(&mut open.rooms);
    }

    /// Sends what waits down the lane, if a record of this format and length does not go with it.
    ///
    /// # Errors
    /// The pipeline has stopped.
    pub(crate) async fn make_way(&mut self, format: Format, length: usize) -> Result<(), Refusal> {
        let full = |open: &Open| {
            open.format != format
                || open.records.len() >= BATCH_RECORDS
                || open.rooms.len() >= BATCH_RECORDS
                || open.arena.len() + length > BATCH_BYTES
        };
        if self.open.as_ref().is_some_and(full) { self.flush().await } else { Ok(()) }
    }

    /// See [`Intake::check_count`].
    ///
    /// # Errors
    /// They are too many.
    pub(crate) fn check_count(&self, records: usize) -> Result<(), Refusal> {
        self.intake.check_count(records)
    }

    /// Rejects a message of this name that is no record of a lane.
    pub(crate) fn reject(&self, name: &str, message: &[u8], reason: &str) {
        self.intake.rejects.reject_message(name, message, reason);
    }

    /// Whether records wait to go down the lane.
    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Waits until the first record has waited for further ones as long as it may.
    pub(crate) async fn is_due(&self) {
        match &self.open {
            Some(open) => tokio::time::sleep_until(open.since + LINGER).await,
            None => std::future::pending().await,
        }
    }

    /// Sends what waits down the lane.
    ///
    /// # Errors
    /// The pipeline has stopped, or the lane took nothing for as long as a report may wait for its answer.
    pub(crate) async fn flush(&mut self) -> Result<(), Refusal> {
        if self.open.is_none() {
            return Ok(());
        }
        let lane = self.lane.as_ref().ok_or_else(Refusal::stopping)?;
        // It is not taken out before there is a place: this may be given up while it waits.
        let place = match tokio::time::timeout_at(self.intake.deadline(), lane.reserve()).await {
            Ok(place) => place.map_err(|_| Refusal::stopping()),
            Err(_) => Err(Refusal::full()),
        };
        let Some(open) = self.open.take() else { return Ok(()) };
        let (delivery, answered) = open.delivery(&self.intake.items);
        let place = place?;
        place.send(delivery);
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

impl Drop for Report {
    fn drop(&mut self) {
        let Some(open) = self.open.take() else { return };
        if let Some(lane) = &self.lane {
            // The agent has gone. Nobody has told it that this is safe, and it does not send it again.
            let _ = lane.try_send(open.delivery(&self.intake.items).0);
        }
    }
}
