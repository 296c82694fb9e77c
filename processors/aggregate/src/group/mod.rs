//! Groups: their keys, and the table that finds them.

pub mod groups;
pub mod key;
