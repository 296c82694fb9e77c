//! Partitions come and go: where reading begins, how lanes end, and what is committed.
//!
//! [`ownership`] is the state machine. [`questions`] asks Kafka, [`awaiting`] keeps the partitions without
//! an answer, and [`start_offsets`] decides where each begins. [`shares`] and [`window_inputs`] say over
//! which lanes windows are added up, and whose they are. [`committer`] is the thread that commits.

pub(crate) mod awaiting;
pub(crate) mod client_assignment;
pub(crate) mod committer;
pub(crate) mod known_topic;
pub(crate) mod ownership;
pub(crate) mod questions;
pub(crate) mod reports;
pub(crate) mod shares;
pub(crate) mod start_offsets;
pub(crate) mod window_inputs;
