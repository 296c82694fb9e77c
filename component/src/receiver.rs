//! Receivers: where events come from.

use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;
use weir_pdata::SharedProjection;

use crate::telemetry::{Metric, MetricKind};
use crate::{Context, Lane, LaneSpec, Lanes};

/// Counted where records are decoded: on lanes, and in receivers that decode by themselves.
pub const BACKWARDS: Metric = Metric {
    name: "weir_receiver_backwards_spans",
    help: "Spans that end before they start. Their times stay as they came, their duration is 0.",
    kind: MetricKind::Counter,
    labels: &["receiver"],
};

/// Brings events in.
#[async_trait]
pub trait Receiver: Send + Sync {
    /// Runs until the input ends or `stop` is cancelled, then drains its lanes and returns.
    ///
    /// An input that cannot be reached is retried and logged, not an error.
    ///
    /// # Errors
    /// Only what no retry can cure (a file that does not exist). The program then ends with this error.
    async fn run(self: Box<Self>, host: ReceiverHost, stop: CancellationToken) -> Result<(), ReceiverError>;

    /// Sends a dead letter of this receiver back to its input.
    ///
    /// # Errors
    /// When the input cannot take it, now or ever.
    async fn replay(&self, _letter: &Map<String, Value>) -> Result<(), ReceiverError> {
        Err(ReceiverError::new(
            "this receiver's input takes nothing back: correct the input itself and send it again",
        ))
    }

    /// Whether it may bring windows that were made elsewhere. What columns they have is then not known
    /// before.
    fn brings_windows(&self) -> bool {
        false
    }

    /// The label `transport` of the items that its lanes bring, in the metrics of the Collector. `None`: it
    /// counts them by itself.
    fn transport(&self) -> Option<&'static str>;

    /// Bytes that it may keep for itself before its lanes have taken them. They come off
    /// `service.memory.limit`.
    fn reserve(&self) -> u64 {
        0
    }
}

/// The host of a running receiver.
#[derive(Clone)]
pub struct ReceiverHost {
    /// Identity, metrics, dead letters, clock.
    pub context: Context,
    /// The columns that the pipelines read. Only for receivers that decode by themselves.
    pub projection: SharedProjection,
    /// Opens lanes into the receiver's pipelines.
    pub lanes: Arc<dyn Lanes>,
}

impl ReceiverHost {
    /// Opens a lane into every pipeline of this receiver.
    #[must_use]
    pub fn open_lane(&self, spec: LaneSpec) -> Lane {
        self.lanes.open(spec)
    }

    /// Every lane that the receiver has for now is open; there may be none. Windows of its pipelines wait
    /// until it says so: what it brings belongs into them. They wait again when lanes are closed before their
    /// stream has ended. Its status is no longer `Starting`.
    pub fn ready(&self) {
        self.context.health.started();
        self.lanes.ready();
    }
}

/// Why a receiver cannot go on. The message says what happened, to which input, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ReceiverError {
    /// The whole message.
    pub message: String,
    /// Its cause.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl ReceiverError {
    /// An error with this message.
    pub fn new(message: impl Into<String>) -> ReceiverError {
        ReceiverError { message: message.into(), source: None }
    }
}
