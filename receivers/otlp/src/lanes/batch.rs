//! Requests that go down a lane as one batch, and what they are answered.

use std::sync::{Mutex, PoisonError};

use arrow::buffer::Buffer;
use tokio::sync::oneshot;
use weir_pdata::{AckSink, Encoded, Format, ItemCount, Outcome};
use weir_proto::otlp::Partial;
use weir_server::{Reason, Refusal, Room};

use super::offer::Waiting;
use crate::answer::Answer;
use crate::config::AnswerWhen;

/// A request of at least this size is a batch of its own: copying costs more than a batch.
const LARGE: usize = 128 << 10;

/// Requests that belong in one batch.
#[derive(Default)]
pub(super) struct Group {
    requests: Vec<Waiting>,
    /// Bytes of their messages.
    pub(super) bytes: usize,
}

impl Group {
    /// Adds a request of the same format.
    pub(super) fn add(&mut self, waiting: Waiting) {
        self.bytes += waiting.request.message().len();
        self.requests.push(waiting);
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.requests.len()
    }

    /// Whether another request of this size goes with them.
    pub(super) fn takes(&self, bytes: usize) -> bool {
        self.requests.is_empty() || (bytes < LARGE && self.bytes < LARGE)
    }

    /// The batch of wire bytes, who waits for it, and the room that it takes. A request that is alone is not
    /// copied.
    pub(super) fn encode(self, format: Format, when: AnswerWhen) -> (Encoded, Answers, Vec<Room>) {
        let (mut senders, mut rooms) = (Vec::with_capacity(self.len()), Vec::with_capacity(self.len()));
        let mut messages = Vec::with_capacity(self.len());
        let items = self.requests.iter().map(|waiting| waiting.request.items).sum();
        for Waiting { request, answer } in self.requests {
            senders.push(answer);
            rooms.push(request.room);
            messages.push((request.bytes, request.start));
        }
        let end = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        let (arena, records) = if messages.len() == 1
            && let Some((bytes, start)) = messages.pop()
        {
            let record = end(start)..end(bytes.len());
            (bytes, vec![record])
        } else {
            let mut arena = Vec::with_capacity(self.bytes);
            let mut records = Vec::with_capacity(messages.len());
            for (bytes, start) in &messages {
                let from = end(arena.len());
                arena.extend_from_slice(bytes.get(*start..).unwrap_or_default());
                records.push(from..end(arena.len()));
            }
            (arena, records)
        };
        let encoded = Encoded {
            format,
            arena: Buffer::from_vec(arena),
            records: records.into(),
            positions: None,
            arrivals: None,
            written: None,
            items: ItemCount::known(items),
        };
        (encoded, Answers::new(senders, when), rooms)
    }
}

/// Who waits for a batch: one entry for each of its records.
pub(crate) struct Answers {
    when: AnswerWhen,
    entries: Mutex<Vec<Entry>>,
}

struct Entry {
    sender: Option<oneshot::Sender<Answer>>,
    /// What is known about it before it is delivered.
    verdict: Answer,
}

impl Answers {
    fn new(senders: Vec<oneshot::Sender<Answer>>, when: AnswerWhen) -> Answers {
        let entry = |sender| Entry { sender: Some(sender), verdict: Answer::Taken };
        Answers { when, entries: Mutex::new(senders.into_iter().map(entry).collect()) }
    }

    /// Nothing of record `index` is taken.
    pub(super) fn refuse(&self, index: usize, reason: &str) {
        if let Some(entry) = self.lock().get_mut(index) {
            entry.verdict = Answer::Refused(Refusal::new(Reason::Malformed, reason));
        }
    }

    /// These items of record `index` are not taken.
    pub(super) fn leave_out(&self, index: usize, items: u64, reason: &str) {
        if let Some(entry) = self.lock().get_mut(index) {
            let more = match &entry.verdict {
                Answer::Partly(before) => before.rejected.saturating_add(items),
                Answer::Taken => items,
                Answer::Refused(_) => return,
            };
            entry.verdict = Answer::Partly(Partial { rejected: more, message: reason.to_owned() });
        }
    }

    /// The batch is in the exporters' queues, or there was none to take it.
    pub(super) fn queued(&self) {
        if self.when == AnswerWhen::Received {
            self.answer(Outcome::Done);
        }
    }

    fn answer(&self, outcome: Outcome) {
        for entry in self.lock().iter_mut() {
            let Some(sender) = entry.sender.take() else { continue };
            let answer = match (&entry.verdict, outcome) {
                (verdict @ Answer::Refused(_), _) | (verdict, Outcome::Done) => verdict.clone(),
                (_, Outcome::Failed) => {
                    Answer::Refused(Refusal::new(Reason::Unavailable, "it was not delivered: send it again"))
                }
            };
            // The client may be gone.
            let _ = sender.send(answer);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Entry>> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AckSink for Answers {
    fn settle(&self, _: u64, outcome: Outcome) {
        self.answer(outcome);
    }

    /// Who sent it is told, unless it has had its answer.
    fn reads_again(&self) -> bool {
        self.when == AnswerWhen::Delivered
    }

    /// No client waits until a window is over.
    fn waits_for_windows(&self) -> bool {
        false
    }
}
