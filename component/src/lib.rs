//! What every component is made of.
//!
//! * [`Receiver`] opens [`Lane`]s and sends [`LaneMessage`]s down them.
//! * [`Processor`] is a blueprint: a [`Stage`] for each lane, and one for the trunk where lanes meet.
//! * [`Exporter`] delivers batches; the [`exporter_helper`] in front of it queues, batches and retries.
//! * [`factory`] builds components from configuration, and [`Registry`] lists those of a program.
//!
//! Stages are state machines without I/O: they take messages and return messages. Time comes from a
//! [`Clock`], so that tests choose it.

pub mod clock;
mod context;
pub mod dead_letter;
mod exporter;
pub mod exporter_helper;
pub mod factory;
mod lane;
mod log_limit;
mod message;
pub mod offsets;
mod processor;
mod receiver;
pub mod telemetry;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
pub mod watermark;

pub use clock::{Clock, SystemClock};
pub use context::Context;
pub use dead_letter::DeadLetters;
pub use exporter::{ExportError, Exporter, StartError};
pub use factory::{ExporterFactory, ProcessorFactory, ReceiverFactory, Registry, Settings};
pub use lane::{Lane, LaneClosed, LaneSink, LaneSpec, Lanes, Rejects};
pub use log_limit::LogLimit;
pub use message::{LaneId, LaneMessage, TrunkMessage};
pub use processor::{Outlet, Processor, Stage};
pub use receiver::{Receiver, ReceiverError, ReceiverHost};
pub use telemetry::Telemetry;
pub use watermark::Watermark;
