//! Requests that wait for a lane.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use weir_pdata::Format;
use weir_server::{Reason, Refusal, Room};

use crate::answer::Answer;

/// Letters in a mailbox. A request that is taken back leaves its letter, so that a lane that stands would
/// gather them without end.
const MOST_LETTERS: usize = 1 << 16;

/// A request, complete and decompressed.
pub(crate) struct Request {
    /// What it is.
    pub(crate) format: Format,
    /// Its bytes, behind `start`.
    pub(crate) bytes: Vec<u8>,
    /// Where it begins in `bytes`: behind the prefix that gRPC puts before it.
    pub(crate) start: usize,
    /// How many items it has.
    pub(crate) items: usize,
    /// Its share of the bytes that may wait.
    pub(crate) room: Room,
}

impl Request {
    /// The message.
    pub(crate) fn message(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }
}

/// A request with who waits for its answer.
pub(crate) struct Waiting {
    pub(crate) request: Request,
    pub(crate) answer: oneshot::Sender<Answer>,
}

/// A request in a mailbox. Whoever takes it out has it: the lane, or who has offered it.
type Slot = Arc<Mutex<Option<Waiting>>>;

fn take(slot: &Slot) -> Option<Waiting> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// Where requests for one lane are put.
#[derive(Clone)]
struct Address {
    sender: mpsc::UnboundedSender<Letter>,
    /// Bytes that wait.
    waiting: Arc<AtomicUsize>,
    letters: Arc<AtomicUsize>,
}

struct Letter {
    slot: Slot,
    bytes: usize,
}

/// The mailboxes of all lanes. Cheap to clone: lanes end when the last clone is gone.
#[derive(Clone)]
pub(crate) struct Mailboxes {
    lanes: Arc<[Address]>,
    next: Arc<AtomicUsize>,
}

/// The mailbox of one lane. [`Room`] bounds what is in it.
pub(crate) struct Mailbox {
    receiver: mpsc::UnboundedReceiver<Letter>,
    waiting: Arc<AtomicUsize>,
    letters: Arc<AtomicUsize>,
}

/// A request that was offered. Dropping it takes the request back, if no lane has it.
pub(crate) struct Offered {
    slot: Slot,
    answer: oneshot::Receiver<Answer>,
}

impl Mailboxes {
    /// As many mailboxes, and what their lanes read.
    pub(crate) fn new(lanes: usize) -> (Mailboxes, Vec<Mailbox>) {
        let (mut addresses, mut mailboxes) = (Vec::with_capacity(lanes), Vec::with_capacity(lanes));
        for _ in 0..lanes {
            let (sender, receiver) = mpsc::unbounded_channel();
            let (waiting, letters) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
            addresses.push(Address { sender, waiting: waiting.clone(), letters: letters.clone() });
            mailboxes.push(Mailbox { receiver, waiting, letters });
        }
        (Mailboxes { lanes: addresses.into(), next: Arc::default() }, mailboxes)
    }

    /// Offers a request to the lane that has the least to do; of several to the next in turn.
    pub(crate) fn offer(&self, request: Request) -> Offered {
        let (sender, answer) = oneshot::channel();
        let bytes = request.bytes.len();
        let slot = Arc::new(Mutex::new(Some(Waiting { request, answer: sender })));
        let (count, first) = (self.lanes.len().max(1), self.next.fetch_add(1, Ordering::Relaxed));
        let turn = (0..count).filter_map(|step| self.lanes.get(first.wrapping_add(step) % count));
        if let Some(lane) = turn.min_by_key(|lane| lane.waiting.load(Ordering::Relaxed)) {
            if lane.letters.fetch_add(1, Ordering::Relaxed) >= MOST_LETTERS {
                lane.letters.fetch_sub(1, Ordering::Relaxed);
                if let Some(Waiting { answer, .. }) = take(&slot) {
                    // Who has offered it waits.
                    let _ = answer.send(Answer::Refused(busy()));
                }
                return Offered { slot, answer };
            }
            lane.waiting.fetch_add(bytes, Ordering::Relaxed);
            // A lane that has ended leaves the request here, and the answer's sender is dropped with it.
            if lane.sender.send(Letter { slot: Arc::clone(&slot), bytes }).is_err() {
                drop(take(&slot));
            }
        }
        Offered { slot, answer }
    }
}

impl Mailbox {
    /// The next request that has not been taken back; `None` when nobody can offer any more. May be
    /// cancelled: the request is then still there.
    pub(crate) async fn next(&mut self) -> Option<Letterhead> {
        let letter = self.receiver.recv().await?;
        Some(self.head(letter))
    }

    /// The next request, if one waits.
    pub(crate) fn try_next(&mut self) -> Option<Letterhead> {
        let letter = self.receiver.try_recv().ok()?;
        Some(self.head(letter))
    }

    fn head(&self, Letter { slot, bytes }: Letter) -> Letterhead {
        self.letters.fetch_sub(1, Ordering::Relaxed);
        Letterhead { slot, bytes, waiting: Arc::clone(&self.waiting) }
    }
}

/// A request at the head of a mailbox. It can still be taken back.
pub(crate) struct Letterhead {
    slot: Slot,
    bytes: usize,
    waiting: Arc<AtomicUsize>,
}

impl Letterhead {
    /// Takes the request, unless it was taken back.
    pub(crate) fn take(self) -> Option<Waiting> {
        take(&self.slot)
    }
}

impl Drop for Letterhead {
    fn drop(&mut self) {
        self.waiting.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Offered {
    /// Waits until a lane has taken the request, at most `max_wait`, and then for its answer, at most
    /// `answer_timeout`.
    pub(crate) async fn answer(mut self, max_wait: Duration, answer_timeout: Duration) -> Answer {
        if let Ok(answer) = tokio::time::timeout(max_wait, &mut self.answer).await {
            return answer.unwrap_or_else(|_| unavailable());
        }
        if take(&self.slot).is_some() {
            return Answer::Refused(busy());
        }
        match tokio::time::timeout(answer_timeout, &mut self.answer).await {
            Ok(answer) => answer.unwrap_or_else(|_| unavailable()),
            Err(_) => Answer::Refused(Refusal::new(
                Reason::Unavailable,
                "it is on its way, but not delivered in time: it may come twice when it is sent again",
            )),
        }
    }
}

impl Drop for Offered {
    fn drop(&mut self) {
        drop(take(&self.slot));
    }
}

fn busy() -> Refusal {
    Refusal::new(Reason::Busy, "the pipelines are behind, and there was no room in time: send it again later")
}

fn unavailable() -> Answer {
    Answer::Refused(Refusal::new(Reason::Unavailable, "the pipeline has stopped: send it again"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_server::Rooms;

    #[tokio::test]
    async fn requests_that_were_taken_back_do_not_gather_without_end() {
        let room = Rooms::new(1 << 20, Duration::ZERO, Default::default());
        let (mailboxes, mut lanes) = Mailboxes::new(1);
        let offer = async || {
            let room = room.enter().await.unwrap();
            mailboxes.offer(Request { format: Format::OtlpLogs, bytes: vec![0; 8], start: 0, items: 1, room })
        };
        for _ in 0..MOST_LETTERS {
            drop(offer().await);
        }
        let refused = offer().await.answer(Duration::from_secs(60), Duration::ZERO).await;
        assert!(matches!(refused, Answer::Refused(Refusal { reason: Reason::Busy, .. })), "at once");
        while let Some(head) = lanes[0].try_next() {
            assert!(head.take().is_none());
        }
        let _taken = offer().await;
        assert!(lanes[0].try_next().unwrap().take().is_some(), "it has moved again");
    }
}
