//! The frames of one direction, found in the parts of its stream.

use super::hpack::{Decoder, Header};
use crate::http::stream::Part;

/// What a client begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The largest block of headers that is put together.
const MOST_BLOCK: usize = 64 << 10;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const PUSH: u8 = 5;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 0x1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;

/// What a frame showed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A whole block of headers, decompressed, with the bytes of its frames.
    Headers {
        stream: u32,
        ends: bool,
        fields: Vec<Header>,
        bytes: u64,
    },
    Data {
        stream: u32,
        ends: bool,
        bytes: u64,
    },
    Reset {
        stream: u32,
    },
}

#[derive(Debug)]
enum State {
    /// Within the preface; so many bytes of it were there.
    Preface(usize),
    /// Within the nine bytes that begin a frame.
    Begin(Vec<u8>),
    /// Within a frame that is kept: type, flags, stream, what is kept, what is missing.
    Kept {
        kind: u8,
        flags: u8,
        stream: u32,
        payload: Vec<u8>,
        left: usize,
    },
    /// Within a frame of which only the length matters.
    Skipped(usize),
    Lost,
}

/// Reads one direction.
#[derive(Debug)]
pub(crate) struct Reader {
    state: State,
    headers: Decoder,
    /// Blocks that go on in the next frame: stream, whether the stream ends, what is there, its bytes.
    open: Option<(u32, bool, Vec<u8>, u64)>,
}

impl Reader {
    /// The direction of the side that asks, which begins with the preface, or the other.
    pub(crate) fn new(asks: bool) -> Reader {
        let state = if asks { State::Preface(0) } else { State::Begin(Vec::new()) };
        Reader { state, headers: Decoder::default(), open: None }
    }

    /// Whether nothing more can be said.
    pub(crate) fn is_lost(&self) -> bool {
        matches!(self.state, State::Lost)
    }

    /// Takes a part of the stream.
    pub(crate) fn add(&mut self, part: Part<'_>, mut shown: impl FnMut(Frame)) {
        match part {
            Part::Gap(len) => self.gap(len),
            Part::Bytes(mut bytes, _) => {
                while !bytes.is_empty() && !self.is_lost() {
                    let used = self.bytes(bytes, &mut shown);
                    bytes = bytes.get(used..).unwrap_or_default();
                }
            }
        }
    }

    fn gap(&mut self, len: u32) {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        match &mut self.state {
            State::Skipped(left) if *left > len => *left -= len,
            State::Skipped(left) if *left == len => self.state = State::Begin(Vec::new()),
            _ => self.state = State::Lost,
        }
    }

    /// How many bytes were used, at least one.
    fn bytes(&mut self, bytes: &[u8], shown: &mut impl FnMut(Frame)) -> usize {
        match &mut self.state {
            State::Preface(seen) => {
                let used = bytes.len().min(PREFACE.len() - *seen);
                if bytes[..used] != PREFACE[*seen..*seen + used] {
                    self.state = State::Lost;
                    return bytes.len();
                }
                *seen += used;
                if *seen == PREFACE.len() {
                    self.state = State::Begin(Vec::new());
                }
                used
            }
            State::Begin(kept) => {
                let used = bytes.len().min(9 - kept.len());
                kept.extend_from_slice(&bytes[..used]);
                if let [a, b, c, kind, flags, d, e, f, g] = kept[..] {
                    let len = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
                    self.begin(len, kind, flags, u32::from_be_bytes([d & 0x7f, e, f, g]), shown);
                }
                used
            }
            State::Kept { kind, flags, stream, payload, left } => {
                let used = bytes.len().min(*left);
                payload.extend_from_slice(&bytes[..used]);
                *left -= used;
                if *left == 0 {
                    let (kind, flags, stream) = (*kind, *flags, *stream);
                    let payload = std::mem::take(payload);
                    self.state = State::Begin(Vec::new());
                    self.kept(kind, flags, stream, &payload, shown);
                }
                used
            }
            State::Skipped(left) => {
                let used = bytes.len().min(*left);
                *left -= used;
                if *left == 0 {
                    self.state = State::Begin(Vec::new());
                }
                used
            }
            State::Lost => bytes.len(),
        }
    }

    fn begin(&mut self, len: usize, kind: u8, flags: u8, stream: u32, shown: &mut impl FnMut(Frame)) {
        let is_kept = matches!(kind, HEADERS | CONTINUATION | RESET);
        let block = self.open.as_ref().map_or(0, |(.., block, _)| block.len());
        // Between the frames of a block no other may come, and no side may push.
        let is_wrong = kind > 0x20 && stream == 0 && len > 1 << 20
            || self.open.is_some() && kind != CONTINUATION
            || kind == PUSH
            || is_kept && len + block > MOST_BLOCK;
        if is_wrong {
            self.state = State::Lost;
            return;
        }
        if kind == DATA {
            shown(Frame::Data { stream, ends: flags & END_STREAM != 0, bytes: len as u64 + 9 });
        }
        self.state = match (is_kept, len) {
            (true, 0) => {
                self.state = State::Begin(Vec::new());
                self.kept(kind, flags, stream, &[], shown);
                return;
            }
            (true, left) => State::Kept { kind, flags, stream, payload: Vec::with_capacity(left), left },
            (false, 0) => State::Begin(Vec::new()),
            (false, left) => State::Skipped(left),
        };
    }

    fn kept(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8], shown: &mut impl FnMut(Frame)) {
        let bytes = payload.len() as u64 + 9;
        let (ends, block, bytes) = match (kind, self.open.take()) {
            (RESET, _) => return shown(Frame::Reset { stream }),
            (HEADERS, None) => {
                let Some(block) = block(flags, payload) else {
                    self.state = State::Lost;
                    return;
                };
                (flags & END_STREAM != 0, block.to_vec(), bytes)
            }
            (CONTINUATION, Some((of, ends, mut block, before))) if of == stream => {
                block.extend_from_slice(payload);
                (ends, block, before + bytes)
            }
            _ => {
                self.state = State::Lost;
                return;
            }
        };
        if flags & END_HEADERS == 0 {
            self.open = Some((stream, ends, block, bytes));
            return;
        }
        let mut fields = Vec::new();
        let read = self.headers.decode(&block, |name, value| fields.push((name.into(), value.into())));
        if read.is_err() {
            self.state = State::Lost;
            return;
        }
        shown(Frame::Headers { stream, ends, fields, bytes });
    }
}

/// The block of a frame, without padding and priority.
fn block(flags: u8, payload: &[u8]) -> Option<&[u8]> {
    let mut payload = payload;
    if flags & PADDED != 0 {
        let (padding, rest) = payload.split_first()?;
        payload = rest.get(..rest.len().checked_sub(usize::from(*padding))?)?;
    }
    if flags & PRIORITY != 0 {
        payload = payload.get(5..)?;
    }
    Some(payload)
}
