//! Where requests of both protocols come together: from a complete body to an answer.

use std::sync::Arc;
use std::time::Duration;

use weir_component::collector_names::AnsweredItems;
use weir_pdata::{Format, otlp};
use weir_server::{Auth, Bounds, Protocol, Reason, Refusal, Room, ServerMetrics};

use crate::answer::Answer;
use crate::lanes::{Mailboxes, Request};

/// What answers the requests of one protocol.
pub(crate) struct Desk {
    pub(crate) protocol: Protocol,
    pub(crate) mailboxes: Mailboxes,
    pub(crate) bounds: Bounds,
    /// How long a request waits for a lane.
    pub(crate) max_wait: Duration,
    /// How long it waits for its delivery.
    pub(crate) answer_timeout: Duration,
    pub(crate) auth: Option<Auth>,
    pub(crate) metrics: Arc<ServerMetrics>,
    pub(crate) items: AnsweredItems,
}

impl Desk {
    /// Whether this request comes from whom it should.
    ///
    /// # Errors
    /// It does not.
    pub(super) fn admit(&self, headers: &hyper::HeaderMap) -> Result<(), Refusal> {
        if self.bounds.stop.is_cancelled() {
            return Err(Refusal::stopping());
        }
        let given = headers.get(hyper::header::AUTHORIZATION).map(hyper::header::HeaderValue::as_bytes);
        match &self.auth {
            Some(auth) if !auth.accepts(given) => Err(Refusal::new(
                Reason::Unauthenticated,
                "the header `authorization` is missing or not the right one",
            )),
            _ => Ok(()),
        }
    }

    /// Brings the message behind `start` to a lane, and waits for the answer.
    pub(super) async fn deliver(&self, format: Format, bytes: Vec<u8>, start: usize, room: Room) -> Answer {
        // What is wrong with its outer shape is told before it waits.
        let items = match otlp::count(format, bytes.get(start..).unwrap_or_default()) {
            Ok(0) => return Answer::Taken,
            Ok(items) => items,
            Err(error) => {
                let why = format!("the request cannot be read: {error}");
                return Answer::Refused(Refusal::new(Reason::Malformed, why));
            }
        };
        let offer = self.mailboxes.offer(Request { format, bytes, start, items, room });
        let answer = offer.answer(self.max_wait, self.answer_timeout).await;
        let refused = match &answer {
            Answer::Taken => 0,
            Answer::Partly(partial) => partial.rejected,
            Answer::Refused(_) => u64::MAX,
        };
        self.items.count(format.signal(), items as u64, refused);
        answer
    }
}
