//! Bytes to lines, in bounded memory.

use std::io::{self, BufRead, BufReader, Read};
use std::ops::Range;

/// Lines of a file, one behind the other in one buffer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Chunk {
    /// The lines' bytes.
    bytes: Vec<u8>,
    /// The number of each line, from 1, and where it is in `bytes`.
    lines: Vec<(i64, Range<usize>)>,
    /// Lines that are too long to be read, in order.
    pub too_long: Vec<TooLong>,
}

/// A line that is longer than allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TooLong {
    /// Its number, from 1.
    pub line: i64,
    /// Its length in bytes, without the line end.
    pub bytes: u64,
    /// How it begins.
    pub beginning: Vec<u8>,
}

impl Chunk {
    /// How many lines there are, too long ones not counted.
    pub(crate) fn len(&self) -> usize {
        self.lines.len()
    }

    /// Whether there is nothing at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.too_long.is_empty()
    }

    /// The number of line `index` of the chunk in its file, from 1.
    pub(crate) fn number(&self, index: usize) -> i64 {
        self.lines.get(index).map_or(0, |(number, _)| *number)
    }

    /// The bytes of line `index`, without the line end.
    pub(crate) fn line(&self, index: usize) -> &[u8] {
        self.lines.get(index).and_then(|(_, range)| self.bytes.get(range.clone())).unwrap_or_default()
    }

    /// The bytes of all lines.
    pub(crate) fn size(&self) -> usize {
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
pub(crate) struct Lines<R> {
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
    pub(crate) fn new(input: R, max_line: usize) -> Lines<R> {
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
    pub(crate) fn consumed(&self) -> u64 {
        self.consumed
    }

    /// Adds lines to `chunk` until it has `max_lines` of them or more than `max_bytes` bytes. False when the
    /// input had no more. After an error nothing read so far is lost, and it can be called again.
    pub(crate) fn fill(&mut self, chunk: &mut Chunk, max_lines: usize, max_bytes: usize) -> io::Result<bool> {
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
    pub(crate) fn finish(&mut self, chunk: &mut Chunk) {
        if !self.partial.is_empty() || self.skipped.is_some() {
            self.end_line(chunk);
        }
    }

    /// Reads up to the end of the line, or as much as may be kept of it. False when there was nothing to
    /// read.
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
mod tests;
