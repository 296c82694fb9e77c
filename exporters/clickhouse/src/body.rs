//! The body of an insert, ready to be sent: in the frames that ClickHouse takes under `decompress=1`, or plain.
//!
//! A frame is the checksum of what follows (16 bytes, CityHash128 of version 1.0.2), the method (1 byte), the frame's size without the
//! checksum (4 bytes), the size of its data (4 bytes), and the data compressed; numbers are little endian. See "Native format, frame
//! format" in ClickHouse's documentation.

use bytes::Bytes;
use cityhash_rs::cityhash_102_128;
use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};

/// Data of one frame: below 64 KiB the compressor's table is half as large.
const FRAME: usize = 60 << 10;
/// A buffer of this many bytes is compressed where it lies, without a copy.
const ALONE: usize = 16 << 10;
/// What is sent together.
const SEND: usize = 256 << 10;

const CHECKSUM: usize = 16;
const HEAD: usize = CHECKSUM + 9;
const LZ4: u8 = 0x82;

/// Bytes of a body on their way out.
pub(crate) struct Body {
    /// `None`: as they are.
    compressor: Option<Compressor>,
    /// What waits for company.
    waiting: Vec<u8>,
    ready: Vec<u8>,
}

impl Body {
    /// An empty body.
    pub fn new(compressed: bool) -> Body {
        Body { compressor: compressed.then(Compressor::new), waiting: Vec::new(), ready: Vec::new() }
    }

    /// Adds bytes; returns what is to be sent now, if that is enough.
    pub fn push(&mut self, bytes: &[u8]) -> Option<Bytes> {
        if bytes.len() < ALONE {
            if self.waiting.len() + bytes.len() > FRAME {
                self.flush();
            }
            self.waiting.extend_from_slice(bytes);
        } else {
            self.flush();
            bytes.chunks(FRAME).for_each(|data| self.frame(data));
        }
        (self.ready.len() >= SEND).then(|| self.take())
    }

    /// What is left to be sent.
    pub fn finish(mut self) -> Bytes {
        self.flush();
        self.take()
    }

    fn take(&mut self) -> Bytes {
        std::mem::take(&mut self.ready).into()
    }

    fn flush(&mut self) {
        let mut waiting = std::mem::take(&mut self.waiting);
        if !waiting.is_empty() {
            self.frame(&waiting);
        }
        waiting.clear();
        self.waiting = waiting;
    }

    fn frame(&mut self, data: &[u8]) {
        let data = match &mut self.compressor {
            Some(compressor) => compressor.frame(data),
            None => data,
        };
        if self.ready.is_empty() {
            self.ready.reserve(SEND + data.len());
        }
        self.ready.extend_from_slice(data);
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
        frame[CHECKSUM + 1..CHECKSUM + 5].copy_from_slice(&length(HEAD - CHECKSUM + size));
        frame[CHECKSUM + 5..HEAD].copy_from_slice(&length(data.len()));
        // ClickHouse writes the lower half first.
        let checksum = cityhash_102_128(&frame[CHECKSUM..]).rotate_right(64);
        frame[..CHECKSUM].copy_from_slice(&checksum.to_le_bytes());
        frame
    }
}

/// A length in a frame, all of which are below 64 KiB.
fn length(bytes: usize) -> [u8; 4] {
    u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that compress a little, from a fixed sequence.
    fn bytes(count: usize) -> Vec<u8> {
        let mut state = 1u32;
        let next = |_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 28) as u8
        };
        (0..count).map(next).collect()
    }

    /// What a server reads out of frames.
    fn read(mut frames: &[u8]) -> Vec<u8> {
        let mut found = Vec::new();
        let number = |bytes: &[u8]| u32::from_le_bytes(bytes.try_into().unwrap()) as usize;
        while !frames.is_empty() {
            let (size, data) = (number(&frames[17..21]), number(&frames[21..25]));
            let (frame, rest) = frames.split_at(CHECKSUM + size);
            let checksum = cityhash_102_128(&frame[CHECKSUM..]);
            assert_eq!(frame[..8], ((checksum >> 64) as u64).to_le_bytes());
            assert_eq!(frame[8..16], (checksum as u64).to_le_bytes());
            assert_eq!(frame[16], LZ4);
            found.extend(lz4_flex::block::decompress(&frame[HEAD..], data).unwrap());
            frames = rest;
        }
        found
    }

    #[test]
    fn what_is_pushed_is_what_is_read_whatever_the_sizes() {
        let all = bytes(1 << 21);
        let sizes = [1, 100, ALONE - 1, ALONE, FRAME, FRAME + 1, 3, SEND, 2 * SEND + 7, 5];
        for compressed in [true, false] {
            let (mut body, mut sent, mut at) = (Body::new(compressed), Vec::new(), 0);
            for size in sizes {
                let piece = body.push(&all[at..at + size]);
                assert!(piece.as_ref().is_none_or(|piece| piece.len() >= SEND));
                sent.extend(piece.into_iter().flatten());
                at += size;
            }
            sent.extend(body.finish());
            let found = if compressed { read(&sent) } else { sent };
            assert!(found == all[..at], "compressed: {compressed}");
        }
    }

    #[test]
    fn an_empty_body_has_no_frame() {
        assert!(Body::new(true).finish().is_empty());
    }
}
