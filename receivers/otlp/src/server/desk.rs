//! Where requests of both protocols come together: from a complete body to an answer.

use std::time::Duration;

use tokio_util::sync::CancellationToken;
use weir_pdata::{Format, otlp};

use super::room::{Intake, Room};
use crate::answer::{Answer, Reason, Refusal};
use crate::config::Auth;
use crate::lanes::{Mailboxes, Request};
use crate::metrics::ServerMetrics;

/// The bounds of one protocol's requests.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes of a message.
    pub(crate) message: usize,
    /// How long its body may take.
    pub(crate) read_timeout: Duration,
    /// How long it waits for a lane.
    pub(crate) max_wait: Duration,
    /// How long it waits for its delivery.
    pub(crate) answer_timeout: Duration,
}

/// What answers the requests of one protocol.
pub(crate) struct Desk {
    pub(crate) mailboxes: Mailboxes,
    pub(crate) intake: Intake,
    pub(crate) limits: Limits,
    pub(crate) auth: Option<Auth>,
    pub(crate) metrics: ServerMetrics,
    /// Cancelled when no more requests are taken.
    pub(crate) stop: CancellationToken,
}

impl Desk {
    /// Whether this request comes from whom it should.
    ///
    /// # Errors
    /// It does not.
    pub(super) fn admit(&self, headers: &hyper::HeaderMap) -> Result<(), Refusal> {
        if self.stop.is_cancelled() {
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
        let request = Request { format, bytes, start, room };
        // What is wrong with its outer shape is told before it waits.
        match otlp::count(format, request.message()) {
            Ok(0) => return Answer::Taken,
            Ok(_) => {}
            Err(error) => {
                let why = format!("the request cannot be read: {error}");
                return Answer::Refused(Refusal::new(Reason::Malformed, why));
            }
        }
        self.mailboxes.offer(request).answer(self.limits.max_wait, self.limits.answer_timeout).await
    }

    /// Counts what becomes of a request: an answer, or that its client has gone.
    pub(super) fn begin(&self) -> Begun<'_> {
        Begun { desk: self, is_answered: false }
    }
}

/// A request that has no answer yet. It is dropped without one when its client goes.
pub(super) struct Begun<'a> {
    desk: &'a Desk,
    is_answered: bool,
}

impl Begun<'_> {
    pub(super) fn answered(mut self, answer: &Answer) {
        self.desk.metrics.answered(answer);
        self.is_answered = true;
    }
}

impl Drop for Begun<'_> {
    fn drop(&mut self) {
        if !self.is_answered {
            self.desk.metrics.unanswered.inc();
        }
    }
}
