//! Lanes as a receiver sees them.

mod id;
mod message;
mod set;

use std::sync::Arc;

use async_trait::async_trait;
use weir_pdata::{Encoded, Signal};

use crate::delivery::Ledger;

pub use id::LaneId;
pub use message::{LaneMessage, TrunkMessage};
pub use set::{LaneSet, LaneTrunk};

/// An ordered stream with one owner. Sending runs the processors of the pipeline in the caller's task.
///
/// Dropping a lane ends it. The trunk lets it go, with all others of its [`LaneSet`], when the last of them
/// is dropped: until then it holds the trunk's watermark. Send [`LaneMessage::Drain`] first to end it in an
/// orderly way.
pub struct Lane {
    id: LaneId,
    sink: Box<dyn LaneSink>,
}

/// The pipelines behind a lane. The collector implements it; tests record with it.
#[async_trait]
pub trait LaneSink: Send {
    /// Takes one message, waits while an exporter or the trunk is full.
    async fn send(&mut self, message: LaneMessage) -> Result<(), LaneClosed>;

    /// Returns when the lane may take its next batch. May be cancelled.
    async fn ready(&mut self) {}
}

/// The pipelines behind a lane have stopped. The receiver should stop too; the message was not delivered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the pipeline has stopped")]
pub struct LaneClosed;

impl Lane {
    /// A lane in front of `sink`.
    #[must_use]
    pub fn new(id: LaneId, sink: Box<dyn LaneSink>) -> Lane {
        Lane { id, sink }
    }

    /// The lane's number.
    #[must_use]
    pub fn id(&self) -> LaneId {
        self.id
    }

    /// Sends one message down the lane. Waits while something below is full: this is the back-pressure.
    ///
    /// # Errors
    /// [`LaneClosed`] when the pipeline has stopped; a batch's ack has then failed.
    pub async fn send(&mut self, message: LaneMessage) -> Result<(), LaneClosed> {
        self.sink.send(message).await
    }

    /// Waits while the lane is too far ahead of others in event time ([`Alignment`](crate::Alignment)). Call
    /// it before each batch, together with what ends the lane: it may take as long as the others need, and
    /// may be cancelled.
    pub async fn ready(&mut self) {
        self.sink.ready().await;
    }
}

/// Opens lanes.
pub trait Lanes: Send + Sync {
    /// Opens a lane into every pipeline of the receiver.
    fn open(&self, spec: LaneSpec) -> Lane;

    /// Every lane that the receiver has for now is open; there may be none.
    fn ready(&self) {}
}

/// A receiver's description of a lane that it opens.
#[derive(Clone)]
pub struct LaneSpec {
    /// For logs and metrics: `skywalking-segments/3`, a file's path, …
    pub name: Arc<str>,
    /// Told about records that cannot be decoded.
    pub rejects: Arc<dyn Rejects>,
    /// Where the delivery of the lane's events is entered, when the receiver can write down what it says. The
    /// positions of the lane's batches then rise without overlapping.
    pub ledger: Option<Ledger>,
    /// The lanes that end at one moment with this one: all whose windows are added up.
    pub set: LaneSet,
    /// The signal of its batches, when that is always the same: windows of other signals do not wait for it.
    pub signal: Option<Signal>,
}

/// Where records go that cannot be decoded: the receiver counts, logs and dead-letters them.
pub trait Rejects: Send + Sync {
    /// Record `index` of `encoded`, at `position` in the lane (offset, line), is not decodable, because of
    /// `reason`.
    fn reject(&self, encoded: &Encoded, index: usize, position: i64, reason: &str);

    /// This many items of record `index`, at `position` in the lane, are not decodable, the first of them
    /// because of `reason`. The others go on.
    fn reject_items(&self, encoded: &Encoded, index: usize, position: i64, items: usize, reason: &str) {
        let _ = items;
        self.reject(encoded, index, position, reason);
    }

    /// A text of record `index`, at `position` in the lane, is not UTF-8; the record's events have it
    /// escaped. `key` names it.
    fn escaped(&self, encoded: &Encoded, index: usize, position: i64, key: &str) {
        let _ = (encoded, index, position, key);
    }

    /// A valid record without any event was skipped.
    fn empty(&self, count: usize);
}
