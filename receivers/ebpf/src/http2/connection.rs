//! Requests and their responses on one connection, paired by their stream.

use std::collections::HashMap;

use super::frames::{Frame, Reader};
use super::hpack::Header;
use crate::direction::Direction;
use crate::http::context::Found;
use crate::http::exchange::{CLOSED, Exchange, Left, RESET, Rpc, Side};
use crate::http::head;
use crate::http::stream::Stream;

/// Most streams of one connection that are followed at a time.
const MOST_STREAMS: usize = 4096;

/// One connection, known from its first byte on.
#[derive(Debug)]
pub(crate) struct Connection {
    asks: Direction,
    /// Of requests and of responses.
    order: [Stream; 2],
    readers: [Reader; 2],
    streams: HashMap<u32, Exchange>,
    left: Left,
    is_lost: bool,
}

impl Connection {
    /// The connection whose first piece went this way.
    pub(crate) fn new(asks: Direction) -> Connection {
        Connection {
            asks,
            order: [Stream::default(); 2],
            readers: [Reader::new(true), Reader::new(false)],
            streams: HashMap::new(),
            left: Left::default(),
            is_lost: false,
        }
    }

    /// Takes a piece of one direction. Exchanges that it completes go to `told`.
    pub(crate) fn add(
        &mut self,
        direction: Direction,
        (position, total, bytes): (u32, u32, &[u8]),
        time: u64,
        allow: &[Box<str>],
        told: &mut Vec<Exchange>,
    ) {
        if self.is_lost {
            return;
        }
        let which = usize::from(direction != self.asks);
        let mut frames = Vec::new();
        for part in self.order[which].add(position, total, bytes).into_iter().flatten() {
            self.readers[which].add(part, |frame| frames.push(frame));
        }
        for frame in frames {
            match (frame, which) {
                (Frame::Headers { stream, fields, bytes, .. }, 0) => {
                    self.request(stream, &fields, bytes, time, allow);
                }
                (Frame::Headers { stream, ends, fields, bytes }, _) => {
                    self.response(stream, &fields, bytes, time);
                    self.end(stream, ends, time, told);
                }
                (Frame::Data { stream, bytes, .. }, 0) => {
                    if let Some(open) = self.streams.get_mut(&stream) {
                        open.request_bytes += bytes;
                    }
                }
                (Frame::Data { stream, ends, bytes }, _) => {
                    if let Some(open) = self.streams.get_mut(&stream) {
                        open.response_bytes += bytes;
                    }
                    self.end(stream, ends, time, told);
                }
                (Frame::Reset { stream }, _) => {
                    if let Some(open) = self.streams.get_mut(&stream) {
                        open.error = Some(RESET);
                    }
                    self.end(stream, true, time, told);
                }
            }
        }
        if self.readers[which].is_lost() {
            self.is_lost = true;
            self.left.connections += 1;
            self.left.requests += self.streams.len() as u64;
            self.streams = HashMap::new();
        }
    }

    /// The connection is closed. What waits is told as it is.
    pub(crate) fn close(&mut self, time: u64, told: &mut Vec<Exchange>) {
        let mut open: Vec<(u32, Exchange)> = self.streams.drain().collect();
        open.sort_unstable_by_key(|(stream, _)| *stream);
        told.extend(open.into_iter().map(|(_, open)| Exchange { ended: time, error: Some(CLOSED), ..open }));
    }

    /// What was not told so far; counted from 0 again.
    pub(crate) fn take_left(&mut self) -> Left {
        std::mem::take(&mut self.left)
    }

    fn request(&mut self, stream: u32, fields: &[Header], bytes: u64, time: u64, allow: &[Box<str>]) {
        if let Some(open) = self.streams.get_mut(&stream) {
            open.request_bytes += bytes; // trailers
            return;
        }
        let (Some(method), Some(path)) = (field(fields, b":method"), field(fields, b":path")) else { return };
        if self.streams.len() >= MOST_STREAMS {
            self.left.requests += 1;
            return;
        }
        let mut found = Found::default();
        let mut allowed = Vec::new();
        for (name, value) in fields {
            found.header(name, value);
            allowed.extend(head::allowed(name, value, allow));
        }
        let is_rpc = field(fields, b"content-type").is_some_and(|kind| kind.starts_with(b"application/grpc"));
        let target = String::from_utf8_lossy(&path[..path.len().min(2048)]).into_owned();
        let exchange = Exchange {
            side: if self.asks == Direction::In { Side::Server } else { Side::Client },
            method: head::method(method).unwrap_or("_OTHER"),
            target: target.into_boxed_str(),
            host: field(fields, b":authority").and_then(head::text),
            context: found.finish(),
            allowed,
            status: None,
            rpc: is_rpc.then(Rpc::default),
            request_bytes: bytes,
            response_bytes: 0,
            began: time,
            answered: None,
            ended: 0,
            partial: false,
            error: None,
        };
        self.streams.insert(stream, exchange);
    }

    fn response(&mut self, stream: u32, fields: &[Header], bytes: u64, time: u64) {
        let Some(open) = self.streams.get_mut(&stream) else { return };
        open.response_bytes += bytes;
        let number = |name: &[u8]| std::str::from_utf8(field(fields, name)?).ok()?.parse::<u32>().ok();
        if let Some(status) = number(b":status").and_then(|status| u16::try_from(status).ok())
            && status >= 200
        {
            open.status = Some(status);
            open.answered = Some(time);
        }
        if let (Some(rpc), Some(status)) = (&mut open.rpc, number(b"grpc-status")) {
            rpc.status = Some(status);
        }
    }

    fn end(&mut self, stream: u32, ends: bool, time: u64, told: &mut Vec<Exchange>) {
        if ends && let Some(open) = self.streams.remove(&stream) {
            told.push(Exchange { ended: time, ..open });
        }
    }
}

fn field<'a>(fields: &'a [Header], name: &[u8]) -> Option<&'a [u8]> {
    fields.iter().find(|(own, _)| **own == *name).map(|(_, value)| &**value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A frame with these bytes.
    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let len = u32::try_from(payload.len()).unwrap().to_be_bytes();
        [&len[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
    }

    /// Headers without compression.
    fn headers(flags: u8, stream: u32, fields: &[(&str, &str)]) -> Vec<u8> {
        let mut block = Vec::new();
        for (name, value) in fields {
            for text in [name, value] {
                if text == name {
                    block.push(0);
                }
                block.push(u8::try_from(text.len()).unwrap());
                block.extend_from_slice(text.as_bytes());
            }
        }
        frame(1, flags, stream, &block)
    }

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

    struct Client {
        connection: Connection,
        at: [u32; 2],
        told: Vec<Exchange>,
    }

    impl Client {
        fn new() -> Client {
            let mut client =
                Client { connection: Connection::new(Direction::Out), at: [0; 2], told: Vec::new() };
            client.add(Direction::Out, 0, &[PREFACE, &frame(4, 0, 0, &[])].concat());
            client
        }

        fn add(&mut self, direction: Direction, time: u64, bytes: &[u8]) {
            let at = &mut self.at[usize::from(direction == Direction::In)];
            let (position, total) = (*at, u32::try_from(bytes.len()).unwrap());
            *at += total;
            self.connection.add(direction, (position, total, bytes), time, &[], &mut self.told);
        }
    }

    fn asks(stream: u32, path: &str) -> Vec<u8> {
        let fields = [
            (":method", "POST"),
            (":path", path),
            (":authority", "shop:1"),
            ("content-type", "application/grpc"),
        ];
        headers(0x4, stream, &fields)
    }

    #[test]
    fn streams_that_mix_are_told_apart() {
        let mut client = Client::new();
        for stream in [1, 3, 5] {
            client.add(Direction::Out, u64::from(stream), &asks(stream, &format!("/s.S/M{stream}")));
            client.add(Direction::Out, 10, &frame(0, 0x1, stream, b"hello"));
        }
        for stream in [5, 1, 3] {
            client.add(Direction::In, 20, &headers(0x4, stream, &[(":status", "200")]));
            client.add(Direction::In, 30, &frame(0, 0, stream, b"answer"));
        }
        assert!(client.told.is_empty(), "a stream ends with its trailers");
        for (time, stream) in [(40, 3), (50, 5), (60, 1)] {
            client.add(Direction::In, time, &headers(0x5, stream, &[("grpc-status", "7")]));
        }
        let told: Vec<_> = client.told.iter().map(|told| (&*told.target, told.began, told.ended)).collect();
        assert_eq!(told, [("/s.S/M3", 3, 40), ("/s.S/M5", 5, 50), ("/s.S/M1", 1, 60)]);
        let first = &client.told[0];
        assert_eq!(
            (first.status, first.rpc, first.answered),
            (Some(200), Some(Rpc { status: Some(7) }), Some(20))
        );
        assert_eq!((first.side, first.host.as_deref()), (Side::Client, Some("shop:1")));
    }

    #[test]
    fn bytes_one_by_one_are_the_same() {
        let mut client = Client::new();
        for byte in [asks(1, "/a"), frame(0, 0x1, 1, &[7; 300])].concat() {
            client.add(Direction::Out, 1, &[byte]);
        }
        for byte in headers(0x5, 1, &[(":status", "404")]) {
            client.add(Direction::In, 2, &[byte]);
        }
        assert_eq!((client.told.len(), client.told[0].status), (1, Some(404)));
    }

    #[test]
    fn a_reset_and_a_closed_connection_are_errors() {
        let mut client = Client::new();
        client.add(Direction::Out, 1, &[asks(1, "/a"), asks(3, "/b")].concat());
        client.add(Direction::Out, 2, &frame(3, 0, 1, &[0; 4]));
        client.connection.close(9, &mut client.told);
        let told: Vec<_> = client.told.iter().map(|told| (&*told.target, told.error, told.ended)).collect();
        assert_eq!(told, [("/a", Some(RESET), 2), ("/b", Some(CLOSED), 9)]);
    }

    #[test]
    fn data_that_was_not_copied_loses_nothing_and_a_lost_frame_ends_the_connection() {
        let mut client = Client::new();
        let data = frame(0, 0x1, 1, &[1; 20_000]);
        client.add(Direction::Out, 1, &asks(1, "/a"));
        client.connection.add(Direction::Out, (client.at[0], 20_009, &data[..500]), 2, &[], &mut client.told);
        client.at[0] += 20_009;
        client.add(Direction::In, 3, &headers(0x5, 1, &[(":status", "200")]));
        assert_eq!((client.told.len(), client.told[0].request_bytes > 20_009), (1, true));
        client.at[0] += 1;
        client.add(Direction::Out, 4, &asks(3, "/b"));
        client.add(Direction::In, 5, &headers(0x5, 3, &[(":status", "200")]));
        assert_eq!((client.told.len(), client.connection.take_left().connections), (1, 1));
    }

    proptest! {
        #[test]
        fn no_frames_break_a_connection(pieces in proptest::collection::vec(
            // Way, kind, flags, stream, payload, how much is cut off.
            (any::<bool>(), 0_u8..12, any::<u8>(), 0_u32..4,
                proptest::collection::vec(any::<u8>(), 0..60), 0_usize..80), 0..40)) {
            let mut client = Client::new();
            for (is_in, kind, flags, stream, payload, cut) in pieces {
                let mut bytes = if kind > 9 { asks(stream, "/x") } else { frame(kind, flags, stream, &payload) };
                bytes.truncate(bytes.len().saturating_sub(cut / 8));
                client.add(if is_in { Direction::In } else { Direction::Out }, 1, &bytes);
            }
            client.connection.close(2, &mut client.told);
        }
    }
}
