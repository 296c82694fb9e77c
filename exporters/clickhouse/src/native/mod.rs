//! ClickHouse's `Native` format: rows to bytes, and back.

pub(crate) mod block;
pub(crate) mod decode;
pub(crate) mod dictionary;
pub(crate) mod encoded_rows;
pub(crate) mod frames;
pub(crate) mod scratch;
