//! Talking to a server: inserts, questions, and what its answers mean.

pub(crate) mod answer;
pub(crate) mod dedup_token;
pub(crate) mod failure;
pub(crate) mod server;
pub(crate) mod version;
