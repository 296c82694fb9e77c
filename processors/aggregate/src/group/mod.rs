//! Groups: their keys, and the table that finds them.

pub(crate) mod groups;
pub(crate) mod key;
