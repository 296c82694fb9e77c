//! A block of ClickHouse's `Native` format: the rows of one insert, column after column.
//!
//! A block is the number of its columns, the number of its rows, and for each column its name, its type and its values. Numbers of fixed
//! size are little endian; a text has its length before it; a nullable column has a byte a row that is 1 for NULL before its values; lists
//! have where each ends among the entries of all rows, then the entries as columns; `LowCardinality` is in [`words`](crate::native::dictionary).
//! See "Native" among the formats in ClickHouse's documentation. The server casts a column whose type is not the table's.
//!
//! An insert has one block, whatever it is made of: the server would not recognise it when it comes again in other blocks.

use std::sync::Arc;

use bytes::Bytes;

use crate::native::dictionary::{LOW_CARDINALITY, Words};
use crate::native::encoded_rows::{Missing, Part, Piece, PieceColumn, Scratch};
use crate::native::frames::Frames;

/// What is sent together.
const SEND: usize = 256 << 10;
/// The type of texts.
const TEXT: &str = "String";

/// A block ready to be sent.
#[derive(Debug)]
pub(crate) struct Body {
    /// The names of its columns.
    pub columns: Vec<Arc<str>>,
    /// Its bytes.
    pub parts: Vec<Bytes>,
}

/// The block of these pieces, one after the other.
pub(crate) fn block(pieces: &[&Piece], scratch: &mut Scratch) -> Body {
    block_of(pieces, |_| true, scratch)
}

/// The same of some columns.
pub(crate) fn block_of(
    pieces: &[&Piece],
    wanted: impl Fn(&str) -> bool,
    Scratch { frames, words }: &mut Scratch,
) -> Body {
    let mut columns = columns(pieces);
    columns.retain(|(column, _)| wanted(&column.name));
    let mut ready = Vec::new();
    frames.length(columns.len());
    frames.length(pieces.iter().map(|piece| piece.rows).sum());
    for (PieceColumn { name, kind, .. }, layout) in &columns {
        frames.text(name.as_bytes());
        frames.text(kind.as_bytes());
        kind.matches(LOW_CARDINALITY).for_each(|_| Words::write_version(frames));
        // Of rows at first, then of the entries of lists.
        let mut sources: Vec<Source<'_>> = pieces
            .iter()
            .map(|piece| Source { piece, parts: piece.parts(name).unwrap_or_default(), count: piece.rows })
            .collect();
        for (at, part) in layout.iter().enumerate() {
            match part {
                Part::Values(_, missing) => {
                    for source in &sources {
                        source.write_values(at, *missing, frames);
                        ready.extend(frames.take_if(SEND));
                    }
                }
                Part::Ends(_) => write_ends(at, &mut sources, frames),
                Part::Words(_) => {
                    words.clear();
                    sources.iter().for_each(|source| source.add_words(at, words));
                    words.write(frames);
                }
            }
        }
    }
    ready.push(frames.take());
    Body { columns: columns.into_iter().map(|(column, _)| Arc::clone(&column.name)).collect(), parts: ready }
}

/// The columns of all pieces, each with the parts that it is written as. Texts are words in one piece and not in another: then they are texts.
fn columns<'a>(pieces: &[&'a Piece]) -> Vec<(&'a PieceColumn, &'a [Part])> {
    let mut columns: Vec<(&PieceColumn, &[Part])> = Vec::new();
    for (column, parts) in pieces.iter().flat_map(|piece| piece.columns()) {
        match columns.iter_mut().find(|(known, _)| known.name == column.name) {
            None => columns.push((column, parts)),
            Some(known) if column.kind == TEXT => *known = (column, parts),
            Some(_) => {}
        }
    }
    columns
}

/// One piece's part of a column.
struct Source<'a> {
    piece: &'a Piece,
    /// None when it does not have the column.
    parts: &'a [Part],
    /// How many values there are.
    count: usize,
}

impl Source<'_> {
    fn write_values(&self, at: usize, missing: Missing, frames: &mut Frames) {
        match self.parts.get(at) {
            Some(Part::Values(range, _)) => frames.append(self.piece.bytes(range)),
            Some(Part::Words(words)) => words.texts(self.piece).for_each(|text| frames.text(text)),
            Some(Part::Ends(_)) | None => frames.bytes(&vec![missing.byte; missing.times * self.count]),
        }
    }

    fn add_words(&self, at: usize, words: &mut Words) {
        match self.parts.get(at) {
            Some(Part::Words(packed)) => words.add(packed, self.piece),
            _ => words.add_empty(self.count),
        }
    }
}

/// Writes where lists end, which for each piece is after those of the pieces before it.
fn write_ends(at: usize, sources: &mut [Source<'_>], frames: &mut Frames) {
    let mut before = 0;
    for source in sources {
        let ends = match source.parts.get(at) {
            Some(Part::Ends(range)) => source.piece.bytes(range).as_chunks().0,
            _ => &vec![[0; 4]; source.count],
        };
        frames.fixed(ends, |end| (before + u64::from(u32::from_le_bytes(*end))).to_le_bytes());
        source.count = ends.last().map_or(0, |end| u32::from_le_bytes(*end) as usize);
        before += source.count as u64;
    }
}
