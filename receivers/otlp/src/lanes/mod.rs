//! From requests to lanes, and from acks to answers.
//!
//! Each lane has a task. A request is offered to the lane that has the least to do, and can be taken back
//! until its lane takes it. Small requests that wait are put together; a large one goes down the lane as it
//! came.

mod batch;
mod offer;
mod rejects;
mod task;

pub(crate) use offer::{Mailbox, Mailboxes, Request};
pub(crate) use rejects::LaneRejects;
pub(crate) use task::LaneTask;
