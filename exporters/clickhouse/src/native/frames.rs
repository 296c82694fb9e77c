//! The bytes of an insert's body, in the frames that ClickHouse takes under `decompress=1`, or plain.
//!
//! A frame is the checksum of what follows (16 bytes, CityHash128 of version 1.0.2), the method (1 byte), the
//! frame's size without the checksum (4 bytes), the size of its data (4 bytes), and the data compressed;
//! numbers are little endian. See "Native format, frame format" in ClickHouse's documentation.
//!
//! Bytes that are written are compressed as soon as there is enough for a frame, while it is in the cache.
//!
//! Texts are gathered out of views in copies of a fixed length, and what is beyond a text's end is written
//! over by the next: most texts are short, and such a copy is a load and a store.

use std::fmt::Display;
use std::io::Write;
use std::ops::Range;

use arrow::buffer::Buffer;
use bytes::Bytes;
use cityhash_rs::cityhash_102_128;
use lz4_flex::block::{CompressTable, compress_into_with_table, decompress, get_maximum_output_size};

/// The most data of one frame: below 64 KiB the compressor's table is half as large.
const FRAME: usize = 60 << 10;
/// The most that is copied at a time, with its length. Data with less room left makes a frame before.
const SPARE: usize = 1 + 64;
/// The length of a shorter text takes one byte.
const SHORT: usize = 0x80;
/// The longest text that is in its view.
const INLINE: usize = 12;
/// The most bytes that the length of a text takes.
const LENGTH: usize = 10;

const CHECKSUM: usize = 16;
const HEAD: usize = CHECKSUM + 9;
const LZ4: u8 = 0x82;

/// Bytes on their way into frames.
pub(crate) struct Frames {
    /// `None`: as they are.
    compressor: Option<Compressor>,
    /// The data of the next frame: the first `filled` bytes.
    data: Box<[u8; FRAME]>,
    filled: usize,
    ready: Vec<u8>,
    /// A value on its way to being a text.
    shown: Vec<u8>,
}

impl Frames {
    /// No bytes.
    pub(crate) fn new(compressed: bool) -> Frames {
        let compressor = compressed.then(Compressor::new);
        Frames { compressor, data: Box::new([0; FRAME]), filled: 0, ready: Vec::new(), shown: Vec::new() }
    }

    /// The frames of everything that was added since the last time.
    pub(crate) fn take(&mut self) -> Bytes {
        self.cut();
        // Copied, to take no more memory than they have bytes.
        let taken = Bytes::copy_from_slice(&self.ready);
        self.ready.clear();
        taken
    }

    /// Gives the frames of everything that was added since the last time away with their memory, when they
    /// are so many bytes.
    pub(crate) fn take_if(&mut self, bytes: usize) -> Option<Bytes> {
        (self.cut() >= bytes).then(|| std::mem::take(&mut self.ready).into())
    }

    /// Adds bytes as they are.
    pub(crate) fn bytes(&mut self, mut bytes: &[u8]) {
        loop {
            let (now, later) = bytes.split_at(bytes.len().min(FRAME - self.filled));
            self.data[self.filled..][..now.len()].copy_from_slice(now);
            self.filled += now.len();
            if later.is_empty() {
                return;
            }
            self.cut();
            bytes = later;
        }
    }

    /// Adds a number in as many bytes as it needs, seven bits in each: what the format has for lengths and
    /// counts.
    pub(crate) fn length(&mut self, mut number: usize) {
        let mut bytes = [0; LENGTH];
        let mut count = 0;
        while number >= 0x80 {
            bytes[count] = (number & 0x7f) as u8 | 0x80;
            number >>= 7;
            count += 1;
        }
        bytes[count] = number as u8;
        self.bytes(&bytes[..=count]);
    }

    /// Adds a number in eight bytes.
    pub(crate) fn number(&mut self, number: u64) {
        self.bytes(&number.to_le_bytes());
    }

    /// Adds a text with its length.
    #[inline]
    pub(crate) fn text(&mut self, text: &[u8]) {
        let len = text.len();
        if len < SHORT && self.filled + 1 + len <= FRAME {
            self.data[self.filled] = len as u8;
            self.data[self.filled + 1..][..len].copy_from_slice(text);
            self.filled += 1 + len;
        } else {
            self.length(len);
            self.bytes(text);
        }
    }

    /// Adds a value as text.
    pub(crate) fn display(&mut self, value: &impl Display) {
        let mut shown = std::mem::take(&mut self.shown);
        shown.clear();
        // Writing to bytes in memory does not fail.
        let _ = write!(shown, "{value}");
        self.text(&shown);
        self.shown = shown;
    }

    /// Adds the texts that these views of these buffers show, with their lengths.
    pub(crate) fn views(&mut self, views: impl Iterator<Item = u128>, buffers: &[Buffer]) {
        views.for_each(|view| {
            let len = view as u32 as usize;
            if len <= INLINE {
                if let Some(room) = self.room().and_then(|room| room.first_chunk_mut()) {
                    *room = ((view >> 32) << 8 | len as u128).to_le_bytes();
                }
                self.filled += 1 + len;
                return;
            }
            let (source, offset) = ((view >> 64) as u32 as usize, (view >> 96) as usize);
            let from = &buffers[source][offset..];
            match len {
                ..=32 => self.copy::<32>(from, len),
                33..=64 => self.copy::<64>(from, len),
                _ => self.text(&from[..len]),
            }
        });
    }

    /// Adds values of a fixed size.
    pub(crate) fn fixed<T, const N: usize>(&mut self, mut values: &[T], bytes: impl Fn(&T) -> [u8; N]) {
        while !values.is_empty() {
            if FRAME - self.filled < N {
                self.cut();
            }
            let (now, later) = values.split_at(values.len().min((FRAME - self.filled) / N));
            let room = &mut self.data[self.filled..][..now.len() * N];
            for (place, value) in room.as_chunks_mut().0.iter_mut().zip(now) {
                *place = bytes(value);
            }
            self.filled += now.len() * N;
            values = later;
        }
    }

    /// Adds the first `len` of at most `N` bytes, with their length. `N` are copied where there are as many.
    #[inline]
    fn copy<const N: usize>(&mut self, from: &[u8], len: usize) {
        let Some(text) = from.first_chunk::<N>() else { return self.text(&from[..len]) };
        if let Some([length, room @ ..]) = self.room()
            && let Some(room) = room.first_chunk_mut()
        {
            *length = len as u8;
            *room = *text;
        }
        self.filled += 1 + len;
    }

    /// Room for a short text with its length. There always is some.
    #[inline]
    fn room(&mut self) -> Option<&mut [u8; SPARE]> {
        if self.filled > FRAME - SPARE {
            self.cut();
            self.filled = 0;
        }
        self.data[self.filled..].first_chunk_mut()
    }

    /// Adds frames that were made before.
    pub(crate) fn append(&mut self, frames: &[u8]) {
        self.cut();
        self.ready.extend_from_slice(frames);
    }

    /// Adds bytes that are in no frame. Says where they are among the frames.
    pub(crate) fn plain(&mut self, add: impl FnOnce(&mut Vec<u8>)) -> Range<usize> {
        let begin = self.cut();
        add(&mut self.ready);
        begin..self.ready.len()
    }

    /// Makes a frame of the data that is there. Returns how many bytes frames have now.
    pub(crate) fn cut(&mut self) -> usize {
        let data = &self.data[..self.filled];
        self.filled = 0;
        match &mut self.compressor {
            _ if data.is_empty() => {}
            Some(compressor) => self.ready.extend_from_slice(compressor.frame(data)),
            None => self.ready.extend_from_slice(data),
        }
        self.ready.len()
    }
}

/// Adds values of a fixed size to bytes that are in no frame.
pub(crate) fn add_fixed<T, const N: usize>(bytes: &mut Vec<u8>, values: &[T], of: impl Fn(&T) -> [u8; N]) {
    let begin = bytes.len();
    bytes.resize(begin + N * values.len(), 0);
    for (place, value) in bytes[begin..].as_chunks_mut().0.iter_mut().zip(values) {
        *place = of(value);
    }
}

/// What every frame needs again.
struct Compressor {
    table: CompressTable,
    frame: Vec<u8>,
}

impl Compressor {
    fn new() -> Compressor {
        Compressor { table: CompressTable::small(), frame: vec![0; HEAD + get_maximum_output_size(FRAME)] }
    }

    /// The frame of at most [`FRAME`] bytes.
    fn frame(&mut self, data: &[u8]) -> &[u8] {
        // The room is that of the worst case, so compressing cannot fail.
        let size =
            compress_into_with_table(data, &mut self.frame[HEAD..], &mut self.table).unwrap_or_default();
        let frame = &mut self.frame[..HEAD + size];
        frame[CHECKSUM] = LZ4;
        frame[CHECKSUM + 1..CHECKSUM + 5].copy_from_slice(&size_of(HEAD - CHECKSUM + size));
        frame[CHECKSUM + 5..HEAD].copy_from_slice(&size_of(data.len()));
        let checksum = checksum_of(&frame[CHECKSUM..]);
        frame[..CHECKSUM].copy_from_slice(&checksum);
        frame
    }
}

/// Why bytes are no frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame is broken")]
pub(crate) struct FrameError;

/// The data of frames that are compressed.
pub(crate) fn unframed(parts: &[Bytes]) -> Result<Vec<u8>, FrameError> {
    let mut found = Vec::new();
    for part in parts {
        let mut frames = &part[..];
        while !frames.is_empty() {
            let head = frames.first_chunk::<HEAD>().ok_or(FrameError)?;
            let (size, data) = (number(head, CHECKSUM + 1), number(head, CHECKSUM + 5));
            let (frame, rest) = frames.split_at_checked(CHECKSUM + size).ok_or(FrameError)?;
            let (checksum, frame) = frame.split_at(CHECKSUM);
            if checksum_of(frame) != checksum || frame[0] != LZ4 {
                return Err(FrameError);
            }
            let packed = frame.get(HEAD - CHECKSUM..).ok_or(FrameError)?;
            found.extend(decompress(packed, data).map_err(|_| FrameError)?);
            frames = rest;
        }
    }
    Ok(found)
}

fn number(head: &[u8; HEAD], at: usize) -> usize {
    head[at..].first_chunk().map_or(0, |bytes| u32::from_le_bytes(*bytes) as usize)
}

/// The checksum, the lower half of which ClickHouse writes first.
fn checksum_of(frame: &[u8]) -> [u8; CHECKSUM] {
    cityhash_102_128(frame).rotate_right(64).to_le_bytes()
}

/// A size in a frame, all of which are below 64 KiB.
fn size_of(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{StringViewArray, StringViewBuilder};

    use crate::native::decode::BlockReader;

    /// Bytes that compress a little, from a fixed sequence.
    fn bytes(count: usize) -> Vec<u8> {
        let mut state = 1u32;
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 28) as u8
        };
        (0..count).map(next).collect()
    }

    #[test]
    fn what_is_written_is_what_is_read_whatever_the_sizes() {
        let all = bytes(1 << 20);
        let sizes = [1, 100, FRAME - 102, 2, FRAME, FRAME + 1, 3, 5 * FRAME + 7, 5];
        for compressed in [true, false] {
            let (mut frames, mut at) = (Frames::new(compressed), 0);
            for size in sizes {
                frames.bytes(&all[at..at + size]);
                at += size;
            }
            let sent = frames.take();
            let found = if compressed { unframed(&[sent]).unwrap() } else { sent.to_vec() };
            assert!(found == all[..at], "compressed: {compressed}");
            assert!(frames.take().is_empty(), "nothing was added since");
        }
    }

    #[test]
    fn a_frame_that_was_changed_is_noticed() {
        let mut frames = Frames::new(true);
        frames.bytes(&bytes(100));
        let sent = frames.take();
        assert_eq!(unframed(std::slice::from_ref(&sent)).unwrap(), bytes(100));
        for at in 0..sent.len() {
            let mut changed = sent.to_vec();
            changed[at] ^= 1;
            assert_eq!(unframed(&[changed.into()]), Err(FrameError), "at {at}");
            assert_eq!(unframed(&[sent.slice(..at)]).is_err(), at > 0, "cut at {at}");
        }
    }

    /// Views of texts of every length, the last of which ends where its buffer ends, at every place of a
    /// frame.
    #[test]
    fn texts_are_gathered_whatever_their_length_and_place() {
        let text = |len: usize| "abcdefghij".repeat(1 + len / 10)[..len].to_owned();
        let long = [127, 128, 129, 1_000, 2 * FRAME];
        let texts: Vec<String> = (0..70).chain(long).chain((0..70).rev()).map(text).collect();
        let mut builder = StringViewBuilder::new().with_fixed_block_size(150);
        texts.iter().for_each(|text| builder.append_value(text));
        let views: StringViewArray = builder.finish();
        assert!(views.data_buffers().len() > 1);
        for before in (0..64).chain(FRAME - 200..FRAME) {
            let mut frames = Frames::new(false);
            frames.bytes(&vec![b'-'; before]);
            frames.views(views.views().iter().copied(), views.data_buffers());
            frames.display(&1.5);
            let sent = frames.take();
            let mut reading = BlockReader(&sent[before..]);
            let expected = texts.iter().map(String::as_str).chain(["1.5"]);
            assert!(expected.eq(std::iter::from_fn(|| reading.text().ok())), "after {before} bytes");
        }
    }

    #[test]
    fn numbers_of_any_width_end_where_frames_end() {
        let numbers: Vec<u32> = (0..50_000).collect();
        let mut frames = Frames::new(false);
        frames.bytes(b"-");
        frames.fixed(&numbers, |number| number.to_le_bytes());
        frames.number(7);
        let sent = frames.take();
        let (found, rest) = sent[1..].split_at(4 * numbers.len());
        assert!(found.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).eq(numbers));
        assert_eq!(rest, 7u64.to_le_bytes());
    }
}
