//! What every component is made of.
//!
//! * [`Receiver`] opens [`Lane`]s and sends [`LaneMessage`]s down them.
//! * [`Processor`] is a blueprint: a [`Stage`] for each lane, and one for the trunk where lanes meet.
//! * [`Exporter`] delivers batches; the [`exporter_helper`] in front of it queues, batches and retries.
//! * An [`Extension`] stands beside the pipelines, such as the [`storage`] of queues on disk.
//! * [`factory`] builds components from configuration, with the help of [`Check`], and [`Registry`] lists those of a program.
//!
//! Stages are state machines without I/O: they take messages and return messages. Time comes from a
//! [`Clock`], so that tests choose it.

mod alignment;
pub mod budget;
mod check;
pub mod clock;
mod context;
pub mod dead_letter;
pub mod delivery;
mod exporter;
pub mod exporter_helper;
mod extension;
pub mod factory;
pub mod failpoint;
mod lane;
mod lane_set;
mod log_limit;
mod message;
pub mod offsets;
mod processor;
pub mod progress;
mod receiver;
mod receiver_readiness;
pub mod storage;
pub mod telemetry;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;
pub mod watermark;

pub use alignment::{Aligned, Alignment, Alignments};
pub use check::Check;
pub use clock::{Clock, SystemClock};
pub use context::Context;
pub use dead_letter::DeadLetters;
pub use exporter::{ExportError, Exporter, StartError};
pub use extension::Extension;
pub use factory::{ExporterFactory, ExtensionFactory, ProcessorFactory, ReceiverFactory, Registry, Settings};
pub use lane::{Lane, LaneClosed, LaneSink, LaneSpec, Lanes, Rejects};
pub use lane_set::{LaneSet, LaneTrunk};
pub use log_limit::LogLimit;
pub use message::{LaneId, LaneMessage, TrunkMessage};
pub use processor::{Outlet, Processor, Stage};
pub use receiver::{BACKWARDS, Receiver, ReceiverError, ReceiverHost};
pub use receiver_readiness::ReceiverReadiness;
pub use storage::{Appending, DiskQueue, Storage, StorageError, Storages};
pub use telemetry::Telemetry;
pub use watermark::Watermark;
