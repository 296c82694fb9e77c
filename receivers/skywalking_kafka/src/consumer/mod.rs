//! The Kafka client and the thread that polls it.

pub(crate) mod client;
pub(crate) mod context;
pub(crate) mod lost_records;
pub(crate) mod native;
pub(crate) mod partition_queue;
pub(crate) mod poll_loop;
pub(crate) mod statistics;
pub(crate) mod wakeup;
