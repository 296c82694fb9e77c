//! The messages on a lane and along the trunk.

use std::sync::Arc;
use std::time::Duration;

use weir_pdata::EventBatch;

use super::id::LaneId;
use crate::Watermark;
use crate::delivery::LaneStart;

/// A message on a lane, in order.
#[allow(clippy::large_enum_variant, reason = "almost all messages are batches")]
#[derive(Clone, Debug)]
pub enum LaneMessage {
    /// Events.
    Batch(EventBatch),
    /// No more events at or before this time are expected. Sources that know (the end of a file) send it;
    /// `aggregate` derives its own from the events.
    Watermark(Watermark),
    /// The source is read to its end and gave nothing for this long. Sent about once a second while idle,
    /// not while the source waits for back-pressure.
    Idle(Duration),
    /// The lane ends: hand on what can be handed on now. What is still open is given up, its inputs fail
    /// and are read again by the next owner.
    Drain,
}

/// A message at a stage of the trunk.
#[derive(Clone, Debug)]
pub enum TrunkMessage {
    /// A lane of this pipeline began. Until it says otherwise its watermark is [`Watermark::MIN`], or what
    /// the operator's windows have been delivered up to.
    LaneOpened(LaneStart),
    /// Sent by this processor's own half on a lane, with [`Outlet::to_trunk`](crate::Outlet::to_trunk).
    FromLane(LaneId, LaneMessage),
    /// Lanes ended, all at this moment (a [`LaneSet`](crate::LaneSet)). Nothing more comes from them.
    LanesClosed(Arc<[LaneId]>),
    /// This receiver has opened every lane that it has for now: windows need not wait for more of it. They do
    /// again when lanes of it are closed before their stream has ended, until it says so again.
    ReceiverReady(Arc<str>),
    /// Forwarded by the stage before this one on the trunk: derived batches and their watermark.
    Derived(LaneMessage),
}
