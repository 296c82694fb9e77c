//! Processors: what happens to events on their way.

use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use weir_pdata::{Demand, SignalSet};

use crate::delivery::{LaneStart, TrunkStart};
use crate::{Alignment, LaneMessage, StartError, TrunkMessage, WindowProblem, WindowSchema, WindowSources};

/// One processor of one pipeline: makes a stage for every lane, and at most one for the trunk.
///
/// Events run down the lane's stages. What a lane's half sends [to the trunk](Outlet::to_trunk) goes to the
/// same processor's trunk stage, and what that forwards goes on to the trunk stages of the processors to its
/// right. So a processor that neither merges nor reads derived batches has no trunk stage.
#[async_trait]
pub trait Processor: Send + Sync {
    /// The columns and attributes that the processor reads.
    fn demand(&self) -> Demand;

    /// The signals whose batches its lane stages look at. Batches of other signals pass these untouched, and
    /// need not be decoded for it.
    fn signals(&self) -> SignalSet {
        SignalSet::ALL
    }

    /// The half that runs on a lane. `None`: messages pass this processor on lanes.
    fn lane_stage(&self, start: &LaneStart) -> Option<Box<dyn Stage<LaneMessage>>>;

    /// The half that runs once, on the trunk. `None`: derived batches pass this processor.
    fn trunk_stage(&self, trunk: &TrunkStart) -> Option<Box<dyn Stage<TrunkMessage>>>;

    /// The windows that it emits. `None`: it emits none.
    fn emitted_windows(&self) -> Option<WindowSchema> {
        None
    }

    /// Faults in the names that it reads of windows, when these reach it. Called once, before it is started.
    fn check_windows(&self, _sources: &WindowSources) -> Vec<WindowProblem> {
        Vec::new()
    }

    /// The alignment of the watermarks of its lanes. Its lane stages join it. `None`: lanes go as far as
    /// they like.
    fn alignment(&self) -> Option<Arc<Alignment>> {
        None
    }

    /// Starts background work (a reader of rules) and returns when stages of this pipeline may run. Retries
    /// what can be retried.
    ///
    /// # Errors
    /// A fault that no retry can cure.
    async fn start(&self, _pipeline: &str, _stop: CancellationToken) -> Result<(), StartError> {
        Ok(())
    }
}

/// A state machine without I/O: takes messages of type `M`, returns messages.
///
/// A stage forwards what it does not read. It never fails: what it cannot process it counts, logs and
/// passes on or dead-letters. Acks of batches that it keeps are kept as [`Held`](weir_pdata::Held).
pub trait Stage<M>: Send {
    /// Handles one message.
    fn handle(&mut self, message: M, out: &mut Outlet);
}

/// Where a stage puts its results.
#[derive(Debug, Default)]
pub struct Outlet {
    forward: Vec<LaneMessage>,
    to_trunk: Vec<LaneMessage>,
}

impl Outlet {
    /// Hands a message to the next stage: down the lane, or along the trunk.
    pub fn forward(&mut self, message: LaneMessage) {
        self.forward.push(message);
    }

    /// Hands a message to this processor's trunk stage. On the trunk itself this does nothing.
    pub fn to_trunk(&mut self, message: LaneMessage) {
        self.to_trunk.push(message);
    }

    /// Takes what was forwarded, in order.
    pub fn take_forwarded(&mut self) -> std::vec::Drain<'_, LaneMessage> {
        self.forward.drain(..)
    }

    /// Takes what was sent to the trunk, in order.
    pub fn take_to_trunk(&mut self) -> std::vec::Drain<'_, LaneMessage> {
        self.to_trunk.drain(..)
    }
}
