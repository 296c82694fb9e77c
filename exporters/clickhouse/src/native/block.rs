//! A block of ClickHouse's `Native` format: the rows of one insert, column after column.
//!
//! A block is the number of its columns, the number of its rows, and for each column its name, its type and
//! its values. Numbers of fixed size are little endian; a text has its length before it; a nullable column
//! has a byte a row that is 1 for NULL before its values; lists have where each ends among the entries of all
//! rows, then the entries as columns; `LowCardinality` is described in
//! [`dictionary`](crate::native::dictionary). See "Native" among the formats in ClickHouse's documentation.
//! The server casts a column whose type is not the table's.
//!
//! An insert has one block, whatever it is made of: the server would not recognise it when it comes again in
//! other blocks.

use std::sync::Arc;

use bytes::Bytes;

use crate::native::dictionary::{Dictionary, LOW_CARDINALITY};
use crate::native::encoded_rows::{EncodedColumn, EncodedRows, Filler, Substream};
use crate::native::frames::Frames;
use crate::native::scratch::Scratch;

/// How many bytes a chunk has, at least.
const CHUNK: usize = 256 << 10;
/// The type of texts.
const TEXT: &str = "String";

/// A block ready to be sent.
#[derive(Debug)]
pub(crate) struct Body {
    /// The names of its columns.
    pub(crate) columns: Vec<Arc<str>>,
    /// Its bytes.
    pub(crate) chunks: Vec<Bytes>,
}

/// The block of all these rows, in this order.
pub(crate) fn block(encoded: &[&EncodedRows], scratch: &mut Scratch) -> Body {
    block_of(encoded, |_| true, scratch)
}

/// The block of some columns of these rows.
pub(crate) fn block_of(
    encoded: &[&EncodedRows],
    wanted: impl Fn(&str) -> bool,
    Scratch { frames, dictionary }: &mut Scratch,
) -> Body {
    let mut columns = columns(encoded);
    columns.retain(|(column, _)| wanted(&column.name));
    let mut ready = Vec::new();
    frames.length(columns.len());
    frames.length(encoded.iter().map(|rows| rows.count).sum());
    for (EncodedColumn { name, kind, .. }, layout) in &columns {
        frames.text(name.as_bytes());
        frames.text(kind.as_bytes());
        kind.matches(LOW_CARDINALITY).for_each(|_| Dictionary::write_version(frames));
        // Of rows at first, then of the entries of lists.
        let mut sources: Vec<ColumnOfRows<'_>> = encoded
            .iter()
            .map(|rows| ColumnOfRows {
                rows,
                substreams: rows.substreams(name).unwrap_or_default(),
                count: rows.count,
            })
            .collect();
        for (at, substream) in layout.iter().enumerate() {
            match substream {
                Substream::Values(_, filler) => {
                    for source in &sources {
                        source.write_values(at, *filler, frames);
                        ready.extend(frames.take_if(CHUNK));
                    }
                }
                Substream::Ends(_) => write_ends(at, &mut sources, frames),
                Substream::Dictionary(_) => {
                    dictionary.clear();
                    sources.iter().for_each(|source| source.add_texts(at, dictionary));
                    dictionary.write(frames);
                }
            }
        }
    }
    ready.push(frames.take());
    Body { columns: columns.into_iter().map(|(column, _)| Arc::clone(&column.name)).collect(), chunks: ready }
}

/// All columns, each with the substreams that it is written as. A column that has a dictionary in some rows
/// and plain texts in others is written as plain texts.
fn columns<'a>(encoded: &[&'a EncodedRows]) -> Vec<(&'a EncodedColumn, &'a [Substream])> {
    let mut columns: Vec<(&EncodedColumn, &[Substream])> = Vec::new();
    for (column, substreams) in encoded.iter().flat_map(|rows| rows.columns()) {
        match columns.iter_mut().find(|(known, _)| known.name == column.name) {
            None => columns.push((column, substreams)),
            Some(known) if column.kind == TEXT => *known = (column, substreams),
            Some(_) => {}
        }
    }
    columns
}

/// The values of some rows in a column.
struct ColumnOfRows<'a> {
    rows: &'a EncodedRows,
    /// None when it does not have the column.
    substreams: &'a [Substream],
    /// How many values there are.
    count: usize,
}

impl ColumnOfRows<'_> {
    fn write_values(&self, at: usize, filler: Filler, frames: &mut Frames) {
        match self.substreams.get(at) {
            Some(Substream::Values(range, _)) => frames.append(self.rows.bytes(range)),
            Some(Substream::Dictionary(dictionary)) => {
                dictionary.texts(self.rows.all_bytes()).for_each(|text| frames.text(text));
            }
            Some(Substream::Ends(_)) | None => frames.bytes(&vec![filler.byte; filler.times * self.count]),
        }
    }

    fn add_texts(&self, at: usize, dictionary: &mut Dictionary) {
        match self.substreams.get(at) {
            Some(Substream::Dictionary(packed)) => dictionary.add(packed, self.rows.all_bytes()),
            _ => dictionary.add_empty(self.count),
        }
    }
}

/// Writes where lists end. The lists of earlier rows come first, so their entries are counted.
fn write_ends(at: usize, sources: &mut [ColumnOfRows<'_>], frames: &mut Frames) {
    let mut before = 0;
    for source in sources {
        let ends = match source.substreams.get(at) {
            Some(Substream::Ends(range)) => source.rows.bytes(range).as_chunks().0,
            _ => &vec![[0; 4]; source.count],
        };
        frames.fixed(ends, |end| (before + u64::from(u32::from_le_bytes(*end))).to_le_bytes());
        source.count = ends.last().map_or(0, |end| u32::from_le_bytes(*end) as usize);
        before += source.count as u64;
    }
}
