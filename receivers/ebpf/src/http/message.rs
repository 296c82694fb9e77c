//! The messages of one direction, found in the parts of its stream.

use super::head::{self, Framing, Head, Line, MOST_HEAD};
use super::stream::Part;

/// The longest line that says how long a chunk is.
const MOST_SIZE_LINE: usize = 128;

/// Something that the parts of a stream showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// A head. The reader waits for [`Reader::body`].
    Head(Box<Head>),
    /// The message whose head came last is complete, of so many bytes in all.
    End { bytes: u64 },
}

/// How the body of the message goes on, from what both sides said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Body {
    None,
    Length(u64),
    Chunked,
    /// Until the connection is closed.
    UntilClose,
    /// It ends where the next message begins.
    Unknown,
    /// No HTTP follows.
    Other,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Before a message.
    Before,
    /// Within a head, the beginning of which is kept.
    InHead(Vec<u8>),
    /// A head was told.
    AskingForBody,
    Length(u64),
    /// Within the line that says how long a chunk is.
    ChunkSize(Vec<u8>),
    /// So many bytes of a chunk with its line end.
    Chunk(u64),
    /// Within the lines after the last chunk; the bytes of the line so far, less its end.
    Trailer(usize),
    UntilClose,
    /// Where messages end is not known, or a message is not wanted: the next read or write that looks like a
    /// beginning is one. Whether a message is open.
    Lost(bool),
    Other,
}

/// Reads one direction.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    state: State,
    /// Bytes of the message so far.
    bytes: u64,
}

impl Default for Reader {
    fn default() -> Reader {
        Reader { state: State::Before, bytes: 0 }
    }
}

impl Reader {
    /// Whether a message has begun and not ended.
    pub(crate) fn is_open(&self) -> bool {
        !matches!(self.state, State::Before | State::Lost(false) | State::Other)
    }

    /// Whether it is known where the message that is open ends.
    pub(crate) fn has_known_end(&self) -> bool {
        !matches!(self.state, State::Lost(_) | State::UntilClose)
    }

    /// Whether the connection speaks something else from here on.
    pub(crate) fn is_other(&self) -> bool {
        self.state == State::Other
    }

    /// The bytes of the message that is open.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// How the message goes on whose head was told.
    pub(crate) fn body(&mut self, body: Body) -> Option<Seen> {
        self.state = match body {
            Body::None | Body::Length(0) => return Some(self.finish()),
            Body::Length(len) => State::Length(len),
            Body::Chunked => State::ChunkSize(Vec::new()),
            Body::UntilClose => State::UntilClose,
            Body::Unknown => State::Lost(true),
            Body::Other => State::Other,
        };
        None
    }

    /// The connection is closed: the message that is open ends here.
    pub(crate) fn close(&mut self) -> Option<Seen> {
        if !self.is_open() || matches!(self.state, State::InHead(_)) {
            return None;
        }
        Some(self.finish())
    }

    /// Takes from the front of `part` what belongs to the next thing seen. `part` is `None` when it is used
    /// up.
    pub(crate) fn take(&mut self, part: &mut Option<Part<'_>>, allow: &[Box<str>]) -> Option<Seen> {
        loop {
            let seen = match (*part)? {
                Part::Gap(len) => {
                    *part = None;
                    self.gap(u64::from(len), part, allow)
                }
                Part::Bytes(bytes, first) => {
                    let (used, seen) = self.bytes_seen(bytes, first, allow);
                    let rest = bytes.get(used..).unwrap_or_default();
                    let stays = !rest.is_empty();
                    *part = stays.then_some(Part::Bytes(rest, first && used == 0));
                    // Without progress there would be no end: the rest is of no use.
                    if used == 0 && seen.is_none() && stays {
                        self.bytes += rest.len() as u64;
                        *part = None;
                    }
                    seen
                }
            };
            if seen.is_some() {
                return seen;
            }
        }
    }

    fn finish(&mut self) -> Seen {
        self.state = State::Before;
        Seen::End { bytes: std::mem::take(&mut self.bytes) }
    }

    /// Bytes that were not seen.
    fn gap(&mut self, len: u64, part: &mut Option<Part<'_>>, allow: &[Box<str>]) -> Option<Seen> {
        let within = match &mut self.state {
            State::Length(left) | State::Chunk(left) => {
                let within = len.min(*left);
                *left -= within;
                within
            }
            State::InHead(kept) => {
                let head = head::read(kept, false, allow);
                self.bytes += len;
                self.state = if head.is_some() { State::AskingForBody } else { State::Lost(false) };
                return head.map(|head| Seen::Head(Box::new(head)));
            }
            State::UntilClose | State::Other | State::Lost(_) => len,
            State::AskingForBody | State::ChunkSize(_) | State::Trailer(_) => {
                self.state = State::Lost(true);
                len
            }
            State::Before => {
                self.state = State::Lost(false);
                return None;
            }
        };
        self.bytes += within;
        if len > within {
            // What follows the message was not seen either: a message may have begun there.
            *part = Some(Part::Gap(u32::try_from(len - within).unwrap_or(u32::MAX)));
        }
        match self.state {
            State::Length(0) => Some(self.finish()),
            State::Chunk(0) => {
                self.state = State::ChunkSize(Vec::new());
                None
            }
            _ => None,
        }
    }

    /// How many of the bytes were used, and what they showed.
    fn bytes_seen(&mut self, bytes: &[u8], first: bool, allow: &[Box<str>]) -> (usize, Option<Seen>) {
        match &mut self.state {
            State::Before => self.begin(bytes, allow),
            State::InHead(kept) => {
                let before = kept.len();
                let room = MOST_HEAD.saturating_sub(before);
                kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
                // The empty line may have begun in the piece before.
                let from = before.saturating_sub(3);
                if let Some(end) = head::end(&kept[from..]).map(|end| from + end) {
                    let head = head::read(&kept[..end], true, allow);
                    let used = end.saturating_sub(before);
                    return (used, self.told(head, used));
                }
                if kept.len() >= MOST_HEAD {
                    let head = head::read(kept, false, allow);
                    return (bytes.len(), self.told(head, bytes.len()));
                }
                self.bytes += bytes.len() as u64;
                (bytes.len(), None)
            }
            State::AskingForBody => {
                self.state = State::Lost(true);
                (0, None)
            }
            State::Length(left) => {
                let used = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= used as u64;
                let ended = *left == 0;
                self.bytes += used as u64;
                (used, ended.then(|| self.finish()))
            }
            State::ChunkSize(_) => self.chunk_size(bytes),
            State::Chunk(left) => {
                let used = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= used as u64;
                if *left == 0 {
                    self.state = State::ChunkSize(Vec::new());
                }
                self.bytes += used as u64;
                (used, None)
            }
            State::Trailer(of_line) => {
                let at = bytes.iter().position(|byte| *byte == b'\n');
                let used = at.map_or(bytes.len(), |at| at + 1);
                let line = bytes[..at.unwrap_or(used)].iter().filter(|byte| **byte != b'\r').count();
                let is_empty = at.is_some() && *of_line + line == 0;
                *of_line = if at.is_some() { 0 } else { *of_line + line };
                self.bytes += used as u64;
                (used, is_empty.then(|| self.finish()))
            }
            State::UntilClose | State::Other => {
                self.bytes += bytes.len() as u64;
                (bytes.len(), None)
            }
            State::Lost(open) => {
                if first && head::begins(bytes) {
                    let ended = open.then(|| self.finish());
                    self.state = State::Before;
                    if ended.is_some() {
                        return (0, ended);
                    }
                    return self.begin(bytes, allow);
                }
                self.bytes += bytes.len() as u64;
                (bytes.len(), None)
            }
        }
    }

    fn begin(&mut self, bytes: &[u8], allow: &[Box<str>]) -> (usize, Option<Seen>) {
        // Empty lines before a request are allowed.
        let blank = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
        if blank > 0 {
            return (blank, None);
        }
        // A first line may be cut off anywhere, but the kernel tells pieces of four bytes and more only.
        if !head::begins(bytes) && bytes.len() >= 8 {
            self.state = State::Lost(false);
            return (bytes.len(), None);
        }
        self.bytes = 0;
        if let Some(end) = head::end(bytes) {
            let head = head::read(&bytes[..end], true, allow);
            return (end, self.told(head, end));
        }
        let kept = &bytes[..bytes.len().min(MOST_HEAD)];
        self.state = State::InHead(kept.to_vec());
        self.bytes = bytes.len() as u64;
        (bytes.len(), None)
    }

    fn told(&mut self, head: Option<Head>, used: usize) -> Option<Seen> {
        self.bytes += used as u64;
        self.state = if head.is_some() { State::AskingForBody } else { State::Lost(false) };
        head.map(|head| Seen::Head(Box::new(head)))
    }

    fn chunk_size(&mut self, bytes: &[u8]) -> (usize, Option<Seen>) {
        let State::ChunkSize(line) = &mut self.state else { return (0, None) };
        let at = bytes.iter().position(|byte| *byte == b'\n');
        let used = at.map_or(bytes.len(), |at| at + 1);
        let room = MOST_SIZE_LINE.saturating_sub(line.len());
        line.extend_from_slice(&bytes[..used.min(room)]);
        self.bytes += used as u64;
        if at.is_none() {
            return (used, None);
        }
        let size = line.split(|byte| matches!(byte, b';' | b'\r' | b'\n')).next().unwrap_or_default();
        let size = std::str::from_utf8(size.trim_ascii()).ok().filter(|size| !size.starts_with('+'));
        self.state = match size.and_then(|size| u64::from_str_radix(size, 16).ok()) {
            Some(0) => State::Trailer(0),
            Some(size) => State::Chunk(size.saturating_add(2)),
            None => State::Lost(true),
        };
        (used, None)
    }
}

/// How the body of a request goes on.
pub(crate) fn of_request(head: &Head) -> Body {
    match head.framing {
        Framing::Length(len) => Body::Length(len),
        Framing::Chunked => Body::Chunked,
        Framing::Unnamed => Body::None,
        Framing::Unknown => Body::Unknown,
    }
}

/// How the body of a response goes on, to a request with this method.
pub(crate) fn of_response(head: &Head, method: Option<&str>) -> Body {
    let Line::Response { status } = head.line else { return Body::Unknown };
    if status == 101 || method == Some("CONNECT") && (200..300).contains(&status) {
        return Body::Other;
    }
    if method == Some("HEAD") || status < 200 || status == 204 || status == 304 {
        return Body::None;
    }
    match head.framing {
        Framing::Length(len) => Body::Length(len),
        Framing::Chunked => Body::Chunked,
        Framing::Unnamed => Body::UntilClose,
        Framing::Unknown => Body::Unknown,
    }
}

#[cfg(test)]
mod tests;
