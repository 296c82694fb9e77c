//! JSON lines: one event an object, in Weir's own form.
//!
//! ```json
//! {"signal":"traces","time":1749088705000,"service":"pay","status":"ok","attributes":{"http.method":"GET"}}
//! ```
//!
//! * Fields are the columns of the data model. Missing fields are null.
//! * Times are integer milliseconds, or RFC 3339 text. Text is written where milliseconds are not exact.
//! * `attributes` and `resource` are objects. Values keep their type: text, integer, float (with a fraction
//!   or exponent), boolean, null; arrays and maps. What is nested deeper than 30 levels in one is a text of
//!   its JSON. A key that comes twice is two attributes. `scope` and `metadata` have the same form.
//! * An integer beyond 64 bits with sign is a text of its digits among attributes, and an error in a column
//!   of integers that cannot have it.
//! * Half a surrogate pair in a text becomes U+FFFD. A byte order mark before the object is skipped.
//! * `links` and `events` are arrays of objects, `labels` an object of texts.
//! * A float that JSON has no number for is the text `NaN`, `Infinity` or `-Infinity`.
//! * Windows have further fields, for keys and measures. They are columns of the value's type; averages,
//!   rates and percentiles are always floats.
//!
//! [`JsonLines::read`] also reads SkyWalking segments, and [requests of OTLP](crate::otlp::from_json). What
//! [`write_rows`] writes reads back as the same events, but for what JSON cannot tell: bytes become
//! lower-case hexadecimal text, empty lists become null, and times among a window's further fields become
//! numbers.

mod cell;
mod line_error;
pub(crate) mod nested;
pub(crate) mod parse;
mod protobuf;
mod read;
pub(crate) mod segment;
mod table;
pub(crate) mod value;
mod write;

pub(crate) use cell::float;
pub use line_error::LineError;
pub use protobuf::{instance_pings, instance_properties, log_data, segments};
pub use read::{JsonLines, RejectedLine};
pub use write::{write_rows, write_value};
