//! Bytes to lines, in bounded memory.

use std::io::{self, BufRead, BufReader, Read};
use std::ops::Range;

/// Lines of a file, one behind the other in one buffer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chunk {
    /// The lines' bytes.
    bytes: Vec<u8>,
    /// The number of each line, from 1, and where it is in `bytes`.
    lines: Vec<(i64, Range<usize>)>,
    /// Lines that are too long to be read, in order.
    pub too_long: Vec<TooLong>,
}

/// A line that is longer than allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooLong {
    /// Its number, from 1.
    pub line: i64,
    /// Its length in bytes, without the line end.
    pub bytes: u64,
    /// How it begins.
    pub beginning: Vec<u8>,
}

impl Chunk {
    /// How many lines there are, too long ones not counted.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is nothing at all.
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.too_long.is_empty()
    }

    /// The number of line `index` of the chunk in its file, from 1.
    pub fn number(&self, index: usize) -> i64 {
        self.lines.get(index).map_or(0, |(number, _)| *number)
    }

    /// The bytes of line `index`, without the line end.
    pub fn line(&self, index: usize) -> &[u8] {
        self.lines.get(index).and_then(|(_, range)| self.bytes.get(range.clone())).unwrap_or_default()
    }

    /// The bytes of all lines.
    pub fn size(&self) -> usize {
        self.bytes.len()
    }

    fn push(&mut self, number: i64, line: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(line);
        self.lines.push((number, start..self.bytes.len()));
    }
}

/// How much of a line that is too long is kept.
const BEGINNING: usize = 1024;
/// How much of it is read at a time.
const STEP: u64 = 64 << 10;

/// Splits what `input` gives into lines. Keeps at most `max_line` bytes and one read buffer.
pub struct Lines<R> {
    input: BufReader<R>,
    max_line: usize,
    /// The beginning of the line whose end has not come yet.
    partial: Vec<u8>,
    /// Set while such a line is too long: it is skipped, not kept.
    skipped: Option<TooLong>,
    /// The number of that line.
    number: i64,
    consumed: u64,
}

impl<R: Read> Lines<R> {
    /// The lines of `input`, which stands at its beginning.
    pub fn new(input: R, max_line: usize) -> Lines<R> {
        Lines {
            input: BufReader::with_capacity(STEP as usize, input),
            max_line,
            partial: Vec::new(),
            skipped: None,
            number: 1,
            consumed: 0,
        }
    }

    /// How many bytes were read since the beginning.
    pub fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Adds lines to `chunk` until it has `max_lines` of them or more than `max_bytes` bytes. False when the input had
    /// no more. After an error nothing read so far is lost, and it can be called again.
    pub fn fill(&mut self, chunk: &mut Chunk, max_lines: usize, max_bytes: usize) -> io::Result<bool> {
        while chunk.len() + chunk.too_long.len() < max_lines && chunk.size() <= max_bytes {
            if !self.step()? {
                return Ok(false);
            }
            if self.partial.last() == Some(&b'\n') {
                self.partial.pop();
                self.end_line(chunk);
            }
        }
        Ok(true)
    }

    /// The input will give no more: what has no line end yet is a line too.
    pub fn finish(&mut self, chunk: &mut Chunk) {
        if !self.partial.is_empty() || self.skipped.is_some() {
            self.end_line(chunk);
        }
    }

    /// Reads up to the end of the line, or as much as may be kept of it. False when there was nothing to read.
    fn step(&mut self) -> io::Result<bool> {
        let room = match self.skipped {
            Some(_) => STEP,
            None => (self.max_line - self.partial.len()) as u64 + 1,
        };
        let before = self.partial.len();
        let result = (&mut self.input).take(room).read_until(b'\n', &mut self.partial);
        // Also after an error: what came before it is in `partial`.
        let read = self.partial.len() - before;
        self.consumed += read as u64;
        let ended = self.partial.last() == Some(&b'\n');
        if let Some(skipped) = &mut self.skipped {
            skipped.bytes += (read - usize::from(ended)) as u64;
            self.partial.clear();
            if ended {
                self.partial.push(b'\n');
            }
        } else if !ended && self.partial.len() > self.max_line {
            self.skipped = Some(TooLong {
                line: self.number,
                bytes: self.partial.len() as u64,
                beginning: self.partial[..self.partial.len().min(BEGINNING)].to_vec(),
            });
            self.partial = Vec::new();
        }
        result.map(|_| read > 0)
    }

    fn end_line(&mut self, chunk: &mut Chunk) {
        match self.skipped.take() {
            Some(skipped) => chunk.too_long.push(skipped),
            None => {
                // Some editors begin a file with the byte order mark.
                let mark: &[u8] = if self.number == 1 { b"\xef\xbb\xbf" } else { b"" };
                chunk.push(self.number, self.partial.strip_prefix(mark).unwrap_or(&self.partial));
            }
        }
        self.partial.clear();
        self.number += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Gives at most `step` bytes at a time, and an error before each where `errors` says so.
    struct Slow<'a> {
        bytes: &'a [u8],
        step: usize,
        errors: bool,
        failed: bool,
    }

    impl Read for Slow<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            if self.errors && !self.failed {
                self.failed = true;
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.failed = false;
            let count = self.step.min(into.len()).min(self.bytes.len());
            into[..count].copy_from_slice(&self.bytes[..count]);
            self.bytes = &self.bytes[count..];
            Ok(count)
        }
    }

    /// Number and text of each line, and number and length of each that is too long.
    type Read2 = (Vec<(i64, Vec<u8>)>, Vec<(i64, u64)>);

    fn read(input: Slow<'_>, max_line: usize, max_lines: usize) -> Read2 {
        let mut lines = Lines::new(input, max_line);
        let (mut whole, mut long) = (Vec::new(), Vec::new());
        loop {
            let mut chunk = Chunk::default();
            let more = loop {
                match lines.fill(&mut chunk, max_lines, 1000) {
                    Ok(more) => break more,
                    Err(error) => assert_eq!(error.kind(), io::ErrorKind::TimedOut),
                }
            };
            if !more {
                lines.finish(&mut chunk);
            }
            assert!(chunk.len() + chunk.too_long.len() <= max_lines.max(1) + 1);
            whole.extend((0..chunk.len()).map(|index| (chunk.number(index), chunk.line(index).to_vec())));
            long.extend(chunk.too_long.iter().map(|line| (line.line, line.bytes)));
            if !more {
                return (whole, long);
            }
        }
    }

    fn all_at_once(bytes: &[u8]) -> Slow<'_> {
        Slow { bytes, step: 1 << 20, errors: false, failed: false }
    }

    #[test]
    fn lines_are_numbered_from_one_and_the_last_needs_no_end() {
        let (whole, long) = read(all_at_once(b"a\n\nbb"), 10, 99);
        assert_eq!(whole, [(1, b"a".to_vec()), (2, vec![]), (3, b"bb".to_vec())]);
        assert_eq!(long, []);
        assert_eq!(read(all_at_once(b""), 10, 99), (vec![], vec![]));
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped_and_the_next_one_read() {
        let input = [b"ok\n", "x".repeat(300_000).as_bytes(), b"\n12345\n123456"].concat();
        let (whole, long) = read(all_at_once(&input), 5, 99);
        assert_eq!(whole, [(1, b"ok".to_vec()), (3, b"12345".to_vec())]);
        assert_eq!(long, [(2, 300_000), (4, 6)]);
    }

    #[test]
    fn a_line_that_is_too_long_is_never_in_memory_whole() {
        let mut lines = Lines::new(io::repeat(b'x').take(100 << 20), 10);
        let mut chunk = Chunk::default();
        assert!(!lines.fill(&mut chunk, 9, 9).unwrap(), "there is no whole line");
        assert!(lines.partial.capacity() <= 2 * STEP as usize, "{}", lines.partial.capacity());
        lines.finish(&mut chunk);
        assert_eq!(
            (chunk.too_long[0].bytes, chunk.too_long[0].beginning.len()),
            (100 << 20, BEGINNING.min(11))
        );
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_line() {
        let (whole, _) = read(all_at_once(b"\xef\xbb\xbf{}\n\xef\xbb\xbf"), 10, 99);
        assert_eq!(whole, [(1, b"{}".to_vec()), (2, b"\xef\xbb\xbf".to_vec())]);
    }

    #[test]
    fn a_chunk_ends_when_it_has_enough_bytes() {
        let mut lines = Lines::new(&b"aaaa\nbbbb\ncccc\n"[..], 10);
        let mut chunk = Chunk::default();
        assert!(lines.fill(&mut chunk, 99, 5).unwrap());
        assert_eq!((chunk.len(), chunk.size(), lines.consumed()), (2, 8, 10));
    }

    proptest! {
        #[test]
        fn lines_are_the_same_however_the_bytes_come(
            pieces in proptest::collection::vec("[ab\u{e9}]{0,12}\r?", 0..8),
            end in any::<bool>(), step in 1..9usize, max_lines in 1..4usize, errors in any::<bool>(),
        ) {
            let mut text = pieces.join("\n");
            if end {
                text.push('\n');
            }
            let (mut whole, mut long) = (Vec::new(), Vec::new());
            let bytes = text.as_bytes();
            let mut expected: Vec<&[u8]> = bytes.split(|byte| *byte == b'\n').collect();
            // What is behind the last line end is a line only when there is something.
            expected.pop_if(|last| last.is_empty());
            for (number, line) in (1..).zip(expected) {
                if line.len() > 8 { long.push((number, line.len() as u64)) } else { whole.push((number, line.to_vec())) }
            }
            let slow = Slow { bytes, step, errors, failed: false };
            prop_assert_eq!(read(slow, 8, max_lines), (whole, long));
        }
    }
}
