//! The result of decoding.

use arrow::array::RecordBatch;
use thiserror::Error;
use weir_proto::wire::WireError;

/// The decoded form of a batch of wire bytes.
#[derive(Clone, Debug)]
pub struct Decoded {
    /// The rows of every record that could be decoded, in order.
    pub columns: RecordBatch,
    /// The records that could not. Nothing of such a record is in `columns`.
    pub rejected: Vec<Rejected>,
    /// The records of which only some items could be decoded. `columns` has the others.
    pub rejected_items: Vec<RejectedItems>,
    /// How many records are well formed but hold no event.
    pub empty: usize,
    /// How many spans end before they start. Their times stay as they came, their duration is 0.
    pub backwards: usize,
    /// Texts in `columns` that were not UTF-8, and are escaped there.
    pub escaped: Vec<Escaped>,
}

/// A text that was escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Escaped {
    /// The record's index in [`Encoded::records`](crate::Encoded::records)(crate::Encoded::records).
    pub record: usize,
    /// The key of the tag or log field, or the name of the span's field.
    pub key: String,
}

/// A record that could not be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Its index in [`Encoded::records`](crate::Encoded::records).
    pub record: usize,
    /// Why.
    pub reason: DecodeError,
}

/// The items (spans, log records or data points) of a record that could not be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RejectedItems {
    /// The record's index in [`Encoded::records`](crate::Encoded::records).
    pub record: usize,
    /// How many there are.
    pub items: usize,
    /// Why the first of them could not.
    pub reason: DecodeError,
}

/// Why a record or an item cannot be decoded. Offsets count from the beginning of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// The bytes are not protobuf, or not of this message's type.
    #[error("not a valid protobuf message: {0}")]
    Protobuf(#[from] WireError),
    /// A text is not UTF-8.
    #[error("the text that starts at byte {offset} is not valid UTF-8")]
    Utf8 {
        /// Where the text starts.
        offset: usize,
    },
    /// A time is later than 2262, where nanoseconds of 64 bits with sign end.
    #[error("the time {nanoseconds} ns after 1970 at byte {offset} is later than the year 2262")]
    Time {
        /// The time.
        nanoseconds: u64,
        /// Where it ends.
        offset: usize,
    },
    /// The text is not JSON, or not of this message's type.
    #[error("not a `LogData` in protobuf's JSON form: {what}")]
    Json {
        /// The fault.
        what: &'static str,
    },
    /// The record would take far more memory as columns than as bytes.
    #[error("{count} {what} in {bytes} bytes are more than a real record has")]
    Swollen {
        /// The thing of which there is too much.
        what: &'static str,
        /// How much.
        count: usize,
        /// The size of the record.
        bytes: usize,
    },
    /// The record's place in the batch is not within the batch's bytes, or beyond 2 GiB.
    #[error("the record lies outside of its batch's bytes")]
    OutOfBounds,
    /// The batch has no room left for the record's rows.
    #[error("the batch is full: decode fewer records at a time")]
    BatchFull,
    /// The columns do not fit together.
    #[error("the decoded columns do not fit together: this is a mistake in Weir, please report it")]
    Columns,
}
