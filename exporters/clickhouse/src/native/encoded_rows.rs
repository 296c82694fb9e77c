//! The rows of some batches, as the columns of a table have them: parts that blocks are put together of.
//!
//! Most of it is in frames already: values of fixed size, and texts. They follow each other in a block as they do here. What depends on
//! what comes before it in the block is not: where lists end, and the numbers of words.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;

use crate::native::dictionary::{Packed, Words};
use crate::native::frames::Frames;

/// About as many columns have values.
const LIKELY: usize = 24;

/// Rows that can be part of a block.
#[derive(Debug)]
pub(crate) struct Piece {
    /// How many.
    pub rows: usize,
    columns: Vec<PieceColumn>,
    parts: Vec<Part>,
    /// Everything, one after the other.
    bytes: Bytes,
}

/// The values of one column.
#[derive(Debug)]
pub(crate) struct PieceColumn {
    pub name: Arc<str>,
    /// Their type.
    pub kind: Cow<'static, str>,
    parts: Range<usize>,
}

/// What the type of a column consists of, and where it is among the bytes.
#[derive(Debug)]
pub(crate) enum Part {
    /// Frames of values, and what a value is that is not there.
    Values(Range<usize>, Missing),
    /// Where the list of each row ends, in four bytes. What follows is of the entries of all lists.
    Ends(Range<usize>),
    /// The values of a `LowCardinality(String)`.
    Words(Packed),
}

/// The bytes of a value that is not there: so many times the same.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Missing {
    pub byte: u8,
    pub times: usize,
}

impl Missing {
    /// The mark of NULL.
    pub const NULL: Missing = Missing { byte: 1, times: 1 };

    /// A number of so many bytes, or an empty text: zeros.
    pub const fn zeros(times: usize) -> Missing {
        Missing { byte: 0, times }
    }
}

impl Piece {
    /// The memory that it takes, in bytes.
    pub fn memory(&self) -> usize {
        self.bytes.len() + size_of_val(&self.columns[..]) + size_of_val(&self.parts[..])
    }

    /// Its columns and their parts. A column that is not among them has the table's default, or that of its type.
    pub fn columns(&self) -> impl Iterator<Item = (&PieceColumn, &[Part])> {
        self.columns.iter().map(|column| (column, &self.parts[column.parts.clone()]))
    }

    /// The parts of the column of this name.
    pub fn parts(&self, name: &str) -> Option<&[Part]> {
        self.columns().find(|(column, _)| &*column.name == name).map(|(_, parts)| parts)
    }

    /// Bytes of a part.
    pub fn bytes(&self, range: &Range<usize>) -> &[u8] {
        self.bytes.get(range.clone()).unwrap_or_default()
    }
}

/// A piece being written, column after column, part after part.
pub(crate) struct Writer<'a> {
    frames: &'a mut Frames,
    spare: &'a mut Words,
    columns: Vec<PieceColumn>,
    parts: Vec<Part>,
}

impl<'a> Writer<'a> {
    /// A piece without columns.
    pub fn new(Scratch { frames, words }: &'a mut Scratch) -> Writer<'a> {
        Writer {
            frames,
            spare: words,
            columns: Vec::with_capacity(LIKELY),
            parts: Vec::with_capacity(2 * LIKELY),
        }
    }

    /// Begins a column.
    pub fn column(&mut self, name: &Arc<str>, kind: impl Into<Cow<'static, str>>) {
        let parts = self.parts.len()..self.parts.len();
        self.columns.push(PieceColumn { name: Arc::clone(name), kind: kind.into(), parts });
    }

    /// Adds the values that `write` writes.
    pub fn values(&mut self, missing: Missing, write: impl FnOnce(&mut Frames)) {
        let begin = self.frames.cut();
        write(self.frames);
        let end = self.frames.cut();
        self.part(Part::Values(begin..end, missing));
    }

    /// Adds where lists end.
    pub fn ends(&mut self, ends: &[u32]) {
        let range = self.frames.plain(|bytes| ends.iter().for_each(|end| bytes.extend(end.to_le_bytes())));
        self.part(Part::Ends(range));
    }

    /// No words, to be filled and [added](Self::words).
    pub fn no_words(&mut self) -> Words {
        let mut words = std::mem::take(self.spare);
        words.clear();
        words
    }

    /// Adds words.
    pub fn words(&mut self, words: Words) {
        let packed = words.pack(self.frames);
        self.part(Part::Words(packed));
        *self.spare = words;
    }

    /// The piece, which has so many rows. `None` without columns.
    pub fn finish(self, rows: usize) -> Option<Piece> {
        let Writer { frames, columns, parts, .. } = self;
        (!columns.is_empty()).then(|| Piece { rows, columns, parts, bytes: frames.take() })
    }

    fn part(&mut self, part: Part) {
        self.parts.push(part);
        if let Some(column) = self.columns.last_mut() {
            column.parts.end = self.parts.len();
        }
    }
}

/// What is needed to write, to be used again.
pub(crate) struct Scratch {
    pub frames: Frames,
    pub words: Words,
}

impl Scratch {
    /// For frames that are compressed, or plain.
    pub fn new(compressed: bool) -> Scratch {
        Scratch { frames: Frames::new(compressed), words: Words::default() }
    }
}

/// Scratches that nobody uses now.
pub(crate) struct Room {
    compressed: bool,
    unused: Mutex<Vec<Scratch>>,
}

impl Room {
    /// For frames that are compressed, or plain.
    pub fn new(compressed: bool) -> Room {
        Room { compressed, unused: Mutex::default() }
    }

    /// Whether frames are compressed.
    pub fn compresses(&self) -> bool {
        self.compressed
    }

    /// Writes with a scratch that nobody else uses now.
    pub fn with<T>(&self, write: impl FnOnce(&mut Scratch) -> T) -> T {
        let unused = || self.unused.lock().unwrap_or_else(PoisonError::into_inner);
        let last = unused().pop();
        let mut scratch = last.unwrap_or_else(|| Scratch::new(self.compressed));
        let written = write(&mut scratch);
        unused().push(scratch);
        written
    }
}
