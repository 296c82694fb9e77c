//! Partitions come and go: where reading begins, how lanes end, and what is committed.

pub(crate) mod awaiting;
pub(crate) mod committer;
pub(crate) mod ownership;
pub(crate) mod questions;
pub(crate) mod start_offsets;
