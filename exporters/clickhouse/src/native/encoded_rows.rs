//! The rows of some batches, encoded as the columns of a table have them. Blocks are put together from them.
//!
//! Values of fixed size and texts are in frames, as a block has them. What depends on earlier rows of the
//! block is not: where lists end, and the numbers of a dictionary's texts.

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::native::dictionary::{Dictionary, PackedDictionary};
use crate::native::frames::{Frames, add_fixed};
use crate::native::scratch::Scratch;

/// How many columns usually have values.
const LIKELY_COLUMNS: usize = 24;

/// Rows that can be part of a block.
#[derive(Debug)]
pub(crate) struct EncodedRows {
    /// How many rows there are.
    pub(crate) count: usize,
    columns: Vec<EncodedColumn>,
    substreams: Vec<Substream>,
    /// All substreams, end to end.
    bytes: Bytes,
}

/// The values of one column.
#[derive(Debug)]
pub(crate) struct EncodedColumn {
    pub(crate) name: Arc<str>,
    /// The type of its values.
    pub(crate) kind: Cow<'static, str>,
    substreams: Range<usize>,
}

/// One of the parts that a column's type consists of, and where it is among the bytes.
#[derive(Debug)]
pub(crate) enum Substream {
    /// Frames of values, and the bytes of a value that is missing.
    Values(Range<usize>, Filler),
    /// Where the list of each row ends, in four bytes. The following substreams hold the entries of all
    /// lists.
    Ends(Range<usize>),
    /// The values of a `LowCardinality(String)`.
    Dictionary(PackedDictionary),
}

/// The bytes of a value that is missing: one byte, repeated.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Filler {
    pub(crate) byte: u8,
    pub(crate) times: usize,
}

impl Filler {
    /// The mark of NULL.
    pub(crate) const NULL: Filler = Filler { byte: 1, times: 1 };

    /// The zeros of a number with this many bytes, or of an empty text.
    pub(crate) const fn zeros(times: usize) -> Filler {
        Filler { byte: 0, times }
    }
}

impl EncodedRows {
    /// The memory that the rows take, in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.bytes.len() + size_of_val(&self.columns[..]) + size_of_val(&self.substreams[..])
    }

    /// The columns and their substreams. A column that is not among them has the table's default, or that of
    /// its type.
    pub(crate) fn columns(&self) -> impl Iterator<Item = (&EncodedColumn, &[Substream])> {
        self.columns.iter().map(|column| (column, &self.substreams[column.substreams.clone()]))
    }

    /// The substreams of the column of this name.
    pub(crate) fn substreams(&self, name: &str) -> Option<&[Substream]> {
        self.columns().find(|(column, _)| &*column.name == name).map(|(_, substreams)| substreams)
    }

    /// The bytes of a substream.
    pub(crate) fn bytes(&self, range: &Range<usize>) -> &[u8] {
        self.bytes.get(range.clone()).unwrap_or_default()
    }

    /// The bytes of all substreams.
    pub(crate) fn all_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Writes rows: column after column, substream after substream.
pub(crate) struct Writer<'a> {
    frames: &'a mut Frames,
    spare: &'a mut Dictionary,
    columns: Vec<EncodedColumn>,
    substreams: Vec<Substream>,
}

impl<'a> Writer<'a> {
    /// Begins without columns.
    pub(crate) fn new(Scratch { frames, dictionary }: &'a mut Scratch) -> Writer<'a> {
        Writer {
            frames,
            spare: dictionary,
            columns: Vec::with_capacity(LIKELY_COLUMNS),
            substreams: Vec::with_capacity(2 * LIKELY_COLUMNS),
        }
    }

    /// Begins a column.
    pub(crate) fn column(&mut self, name: &Arc<str>, kind: impl Into<Cow<'static, str>>) {
        let substreams = self.substreams.len()..self.substreams.len();
        self.columns.push(EncodedColumn { name: Arc::clone(name), kind: kind.into(), substreams });
    }

    /// Adds the values that `write` writes.
    pub(crate) fn values(&mut self, filler: Filler, write: impl FnOnce(&mut Frames)) {
        let begin = self.frames.cut();
        write(self.frames);
        let end = self.frames.cut();
        self.push(Substream::Values(begin..end, filler));
    }

    /// Adds where lists end.
    pub(crate) fn ends(&mut self, ends: &[u32]) {
        let range = self.frames.plain(|bytes| add_fixed(bytes, ends, |end| end.to_le_bytes()));
        self.push(Substream::Ends(range));
    }

    /// An empty dictionary, to be filled and [added](Self::dictionary).
    pub(crate) fn take_dictionary(&mut self) -> Dictionary {
        let mut dictionary = std::mem::take(self.spare);
        dictionary.clear();
        dictionary
    }

    /// Adds a dictionary and the texts that it was filled with.
    pub(crate) fn dictionary(&mut self, dictionary: Dictionary) {
        let packed = dictionary.pack(self.frames);
        self.push(Substream::Dictionary(packed));
        *self.spare = dictionary;
    }

    /// The rows, which are this many. `None` without columns.
    pub(crate) fn finish(self, count: usize) -> Option<EncodedRows> {
        let Writer { frames, columns, substreams, .. } = self;
        (!columns.is_empty()).then(|| EncodedRows { count, columns, substreams, bytes: frames.take() })
    }

    fn push(&mut self, substream: Substream) {
        self.substreams.push(substream);
        if let Some(column) = self.columns.last_mut() {
            column.substreams.end = self.substreams.len();
        }
    }
}
