//! Requests and their responses on one connection, paired by their order.
//!
//! Where a response may have passed unseen, the order says nothing any more: the requests that wait are given
//! up, and pairing begins again with a request that comes after a response. A client that sends its requests
//! without waiting for responses (pipelining) may be paired wrongly after such a loss.

use std::collections::VecDeque;

use super::context::TraceContext;
use super::head::{self, Head, Line};
use super::message::{self, Body, Reader, Seen};
use super::stream::{Part, Stream};
use crate::direction::Direction;

/// Most requests that wait for their responses on one connection.
const MOST_WAITING: usize = 256;

/// Whether this side of the connection asks or answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Client,
    Server,
}

/// The connection was closed before the response.
pub(crate) const CLOSED: &str = "connection_closed";
/// One side gave the stream up.
pub(crate) const RESET: &str = "stream_reset";

/// What gRPC says of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rpc {
    /// `grpc-status`.
    pub(crate) status: Option<u32>,
}

/// A request and what came of it. Times are the kernel's, in nanoseconds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Exchange {
    pub(crate) side: Side,
    pub(crate) method: &'static str,
    pub(crate) target: Box<str>,
    pub(crate) host: Option<Box<str>>,
    pub(crate) context: Option<TraceContext>,
    pub(crate) allowed: Vec<(Box<str>, Box<str>)>,
    /// `None`: the connection was closed before.
    pub(crate) status: Option<u16>,
    pub(crate) request_bytes: u64,
    pub(crate) response_bytes: u64,
    pub(crate) began: u64,
    /// The first byte of the response.
    pub(crate) answered: Option<u64>,
    pub(crate) ended: u64,
    /// A head was not seen whole.
    pub(crate) partial: bool,
    /// Why there is no response, or not all of it.
    pub(crate) error: Option<&'static str>,
    /// Of gRPC.
    pub(crate) rpc: Option<Rpc>,
}

/// What a connection did not tell as exchanges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Left {
    /// Responses whose request was not seen.
    pub(crate) responses: u64,
    /// Requests beyond those that may wait, whose response may not have been seen, or of connections that
    /// were lost.
    pub(crate) requests: u64,
    /// Connections of HTTP/2 of which a piece was missed.
    pub(crate) connections: u64,
}

/// One connection.
#[derive(Debug, Default)]
pub(crate) struct Connection {
    requests: Half,
    responses: Half,
    /// The direction of requests, once one was seen.
    asks: Option<Direction>,
    waiting: VecDeque<Exchange>,
    /// Whether the request that came last is complete.
    is_asked: bool,
    /// The response that is open: of the first that waits, or of a request that was not seen.
    answering: Option<bool>,
    /// A response may have passed unseen. `Some(true)`: one has ended since the last request.
    lost: Option<bool>,
    left: Left,
}

/// One direction.
#[derive(Debug, Default)]
struct Half {
    stream: Stream,
    reader: Reader,
    /// The time of the last part.
    last: u64,
    /// The time of the first part of the message that is open.
    first: u64,
}

impl Connection {
    /// Takes a piece of one direction. Exchanges that it completes go to `told`.
    pub(crate) fn add(
        &mut self,
        direction: Direction,
        (position, total, bytes): (u32, u32, &[u8]),
        time: u64,
        allow: &[Box<str>],
        told: &mut Vec<Exchange>,
    ) {
        let is_request = match self.asks {
            Some(asks) => asks == direction,
            None if bytes.starts_with(b"HTTP/") => false,
            None if head::begins(bytes) => {
                self.asks = Some(direction);
                true
            }
            // In the middle of something: which of both it is does not matter.
            None => false,
        };
        let half = if is_request { &mut self.requests } else { &mut self.responses };
        for part in half.stream.add(position, total, bytes).into_iter().flatten() {
            self.part(is_request, part, time, allow, told);
        }
        let half = if is_request { &mut self.requests } else { &mut self.responses };
        half.last = time;
        if is_request
            && self.requests.reader.is_open()
            && !self.is_asked
            && let Some(open) = self.waiting.back_mut()
        {
            open.request_bytes = self.requests.reader.bytes();
        }
    }

    /// The connection is closed. What waits is told without a response.
    pub(crate) fn close(&mut self, time: u64, told: &mut Vec<Exchange>) {
        if let Some(Seen::End { bytes }) = self.responses.reader.close() {
            let last = self.responses.last;
            self.response_ends(bytes, last, told);
        }
        for mut open in self.waiting.drain(..) {
            open.ended = time;
            open.error = Some(CLOSED);
            told.push(open);
        }
    }

    /// What was not told so far; counted from 0 again.
    pub(crate) fn take_left(&mut self) -> Left {
        std::mem::take(&mut self.left)
    }

    /// Whether it speaks something else from here on.
    pub(crate) fn is_other(&self) -> bool {
        self.responses.reader.is_other()
    }

    fn part(
        &mut self,
        is_request: bool,
        part: Part<'_>,
        time: u64,
        allow: &[Box<str>],
        told: &mut Vec<Exchange>,
    ) {
        let mut part = Some(part);
        loop {
            if !is_request && !self.responses.reader.is_open() && matches!(part, Some(Part::Gap(_))) {
                self.lose_order();
            }
            let half = if is_request { &mut self.requests } else { &mut self.responses };
            if !half.reader.is_open() {
                half.first = time;
            }
            let Some(seen) = half.reader.take(&mut part, allow) else { return };
            // A message whose end was not seen ended with the piece before.
            let unseen_end = part.is_some_and(|part| matches!(part, Part::Bytes(_, true)));
            let ended = if unseen_end { half.last } else { time };
            match (seen, is_request) {
                (Seen::Head(head), true) => self.request_begins(*head, told),
                (Seen::Head(head), false) => self.response_begins(&head, told),
                (Seen::End { bytes }, true) => self.request_ends(bytes),
                (Seen::End { bytes }, false) => self.response_ends(bytes, ended, told),
            }
        }
    }

    fn request_begins(&mut self, head: Head, told: &mut Vec<Exchange>) {
        let body = message::of_request(&head);
        let Line::Request { method, target } = head.line else {
            // A response among requests: nothing on this connection can be trusted any more.
            self.requests.reader.body(Body::Other);
            return;
        };
        // The response before ended somewhere before this request.
        if self.answering.is_some()
            && self.responses.reader.is_open()
            && self.waiting.len() <= 1
            && matches!(body, Body::None | Body::Length(_) | Body::Chunked)
            && !self.responses.reader.has_known_end()
            && let Some(Seen::End { bytes }) = self.responses.reader.close()
        {
            let last = self.responses.last;
            self.response_ends(bytes, last, told);
        }
        self.is_asked = false;
        if self.waiting.len() >= MOST_WAITING {
            self.lose_order();
        }
        match self.lost {
            Some(true) if !self.responses.reader.is_open() => self.lost = None,
            Some(_) => {
                self.lost = Some(false);
                self.left.requests += 1;
                self.requests.reader.body(body);
                return;
            }
            None => {}
        }
        self.waiting.push_back(Exchange {
            side: if self.asks == Some(Direction::In) { Side::Server } else { Side::Client },
            method,
            target,
            host: head.host,
            context: head.context,
            allowed: head.allowed,
            status: None,
            request_bytes: self.requests.reader.bytes(),
            response_bytes: 0,
            began: self.requests.first,
            answered: None,
            ended: 0,
            partial: !head.whole,
            error: None,
            rpc: None,
        });
        if let Some(Seen::End { bytes }) = self.requests.reader.body(body) {
            self.request_ends(bytes);
        }
    }

    /// The next response need not be that of the first request that waits.
    fn lose_order(&mut self) {
        self.left.requests += self.waiting.drain(..).len() as u64;
        if self.answering == Some(true) {
            self.answering = Some(false);
        }
        self.lost = Some(false);
    }

    fn request_ends(&mut self, bytes: u64) {
        self.is_asked = true;
        if let Some(open) = self.waiting.back_mut() {
            open.request_bytes = bytes;
        }
    }

    fn response_begins(&mut self, head: &Head, told: &mut Vec<Exchange>) {
        let Line::Response { status } = head.line else {
            self.responses.reader.body(Body::Other);
            return;
        };
        let first = self.responses.first;
        let open = self.waiting.front_mut();
        let body = message::of_response(head, open.as_ref().map(|open| open.method));
        // `100 Continue` and the like: the response itself comes later.
        let is_interim = status < 200 && status != 101;
        if !is_interim {
            if let Some(open) = open {
                open.status = Some(status);
                open.answered = Some(first);
                open.partial |= !head.whole;
                self.answering = Some(true);
            } else {
                self.answering = Some(false);
            }
        }
        let bytes = self.responses.reader.bytes();
        if body == Body::Other && self.answering == Some(true) {
            self.response_ends(bytes, first, told);
        }
        if let Some(Seen::End { bytes }) = self.responses.reader.body(body)
            && !is_interim
        {
            self.response_ends(bytes, first, told);
        }
    }

    fn response_ends(&mut self, bytes: u64, time: u64, told: &mut Vec<Exchange>) {
        if self.answering.is_some()
            && let Some(has_ended) = &mut self.lost
        {
            *has_ended = true;
        }
        match self.answering.take() {
            Some(true) => {
                if let Some(mut exchange) = self.waiting.pop_front() {
                    exchange.response_bytes = bytes;
                    exchange.ended = time;
                    told.push(exchange);
                }
            }
            Some(false) => self.left.responses += 1,
            None => {}
        }
    }
}

#[cfg(test)]
mod tests;
