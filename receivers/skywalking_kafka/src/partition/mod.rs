//! One partition that this gateway owns: the way of its records from librdkafka's queue to its lane.

pub(crate) mod assignment;
pub(crate) mod batching;
pub(crate) mod idle_timer;
pub(crate) mod inbox;
pub(crate) mod position;
pub(crate) mod rejects;
pub(crate) mod task;
