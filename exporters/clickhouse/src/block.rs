//! A block of ClickHouse's `Native` format: the rows of one insert, column after column.
//!
//! A block is the number of its columns, the number of its rows, and for each column its name, its type and its values. Numbers of fixed
//! size are little endian; a text has its length before it; a nullable column has a byte a row that is 1 for NULL before its values; lists
//! have where each ends among the entries of all rows, then the entries as columns; `LowCardinality` is in [`words`](crate::words).
//! See "Native" among the formats in ClickHouse's documentation. The server casts a column whose type is not the table's.

use bytes::Bytes;

use crate::frames::Frames;

/// A block being written.
pub(crate) struct Block {
    frames: Frames,
    columns: Vec<String>,
}

/// A block ready to be sent.
#[derive(Debug)]
pub(crate) struct Body {
    /// The names of its columns.
    pub columns: Vec<String>,
    /// Its bytes.
    pub parts: [Bytes; 2],
}

impl Block {
    /// A block without columns.
    pub fn new(compressed: bool) -> Block {
        Block { frames: Frames::new(compressed), columns: Vec::new() }
    }

    /// Begins a column. Its values are to be written before the next begins.
    pub fn column(&mut self, name: &str, kind: &str) -> &mut Frames {
        self.columns.push(name.to_owned());
        self.frames.text(name.as_bytes());
        self.frames.text(kind.as_bytes());
        &mut self.frames
    }

    /// The block, which has so many rows. `None` without columns.
    pub fn finish(self, rows: usize) -> Option<Body> {
        let Block { mut frames, columns } = self;
        if columns.is_empty() {
            return None;
        }
        // How many columns there are is known only now.
        let values = frames.take();
        frames.length(columns.len());
        frames.length(rows);
        Some(Body { columns, parts: [frames.take(), values] })
    }
}
