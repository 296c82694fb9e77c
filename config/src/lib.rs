//! YAML to typed configuration, with diagnostics.
//!
//! The way of a configuration through this crate:
//! 1. [`Document::load`] parses every source, merges them in order, applies the `--set` options and expands
//!    `${env:NAME}`. The result is one tree of [`Node`]s; every node and key knows where it was written.
//! 2. [`Topology::read`] splits the tree into components, pipelines and service settings, and checks that
//!    they fit.
//! 3. [`Document::read`] turns the section of one component into the component's own type.
//! 4. [`Document::error_at`] reports what only the component can see (an expression that does not parse,
//!    ...).
//!
//! Every step reports all the errors it finds at once, as [`Diagnostics`] with file, line, column and
//! excerpt. Nothing here reads the environment or the clock by itself: [`Document::load`] is a function of
//! its arguments.
//!
//! Guaranteed: no panic on any input; bounded memory (see [`limits`]); secrets ([`Secret`], and everything
//! below keys that [`is_secret_key`] knows) appear neither in diagnostics nor in redacted output.

mod diagnostic;
mod document;
pub mod limits;
mod print;
mod read;
mod section;
mod service;
mod suggest;
mod topology;
mod tree;
mod values;

pub use diagnostic::{Diagnostic, Diagnostics, Excerpt, Severity};
pub use document::Document;
pub use print::print_config;
pub use section::Section;
pub use service::{
    DeadLetter, LogFormat, LogLevel, LogSettings, Memory, MetricSettings, ServiceConfig, Telemetry,
};
pub use suggest::nearest;
pub use topology::{Pipeline, PipelineId, PipelineSignal, Reference, Topology};
pub use tree::node::{Entry, Key, Node, Scalar, Value};
pub use tree::scalar::Typed;
pub use tree::source::{SourceId, SourceText, Span};
pub use values::byte_size::{ByteSize, ByteSizeError};
pub use values::component_id::{ComponentId, ComponentIdError};
pub use values::duration::{Duration, DurationError};
pub use values::listen::check_listen;
pub use values::memory_limit::{MemoryLimit, MemoryLimitError};
pub use values::secret::{Secret, is_secret_key};
pub use values::tls::Tls;
