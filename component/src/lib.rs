//! The parts of every component.
//!
//! * [`Receiver`] opens [`Lane`]s and sends [`LaneMessage`]s down them.
//! * [`Processor`] is a blueprint: a [`Stage`] for each lane, and one for the trunk where lanes meet.
//! * [`Exporter`] delivers batches; the [`exporter_helper`] in front of it queues, batches and retries.
//! * An [`Extension`] stands beside the pipelines, such as the [`storage`] of queues on disk.
//! * Each component reports its [`health`].
//! * [`factory`] builds components from configuration, with the help of [`Check`], and [`Registry`] lists
//!   those of a program.
//!
//! Stages are state machines without I/O: they take messages and return messages. Time comes from a
//! [`Clock`], so that tests choose it.

mod bare_counter;
pub mod budget;
mod build;
pub mod clock;
pub mod collector_names;
mod context;
pub mod dead_letter;
pub mod delivery;
mod event_time;
mod exporter;
pub mod exporter_helper;
mod extension;
pub mod failpoint;
pub mod health;
mod host_name;
mod lane;
mod log_limit;
pub mod notifications;
mod outgoing;
mod processor;
mod receiver;
pub mod records;
pub mod storage;
pub mod telemetry;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;

pub use build::factory::{
    self, ExporterFactory, ExtensionFactory, ProcessorFactory, ReceiverFactory, Registry,
};
pub use build::{Check, Settings, WindowProblem, WindowSchema, WindowSources};
pub use clock::{Clock, SystemClock};
pub use context::Context;
pub use dead_letter::DeadLetters;
pub use event_time::{
    Aligned, Alignment, Alignments, ClosedLane, EventTime, EventTimeKeys, IdleDetector, LaneWatermark,
    LanesHold, ReceiverReadiness, ShardWatermarks, SharedWatermarks, TrunkWatermark, Watermark, event_clocks,
    watermark,
};
pub use exporter::{ExportError, Exporter, StartError};
pub use extension::Extension;
pub use health::{Health, HealthBoard, Status};
pub use host_name::host_name;
pub use lane::{
    Lane, LaneClosed, LaneId, LaneMessage, LaneSet, LaneSink, LaneSpec, LaneTrunk, Lanes, Rejects,
    TrunkMessage,
};
pub use log_limit::LogLimit;
pub use notifications::Notifications;
pub use outgoing::Outgoing;
pub use processor::{Outlet, Processor, Stage};
pub use receiver::{BACKWARDS, Receiver, ReceiverError, ReceiverHost};
pub use records::{RecordCounters, RejectedRecords};
pub use storage::{Appending, DiskQueue, Storage, StorageError, Storages};
pub use telemetry::Telemetry;
