//! Building components from configuration.
//!
//! A component crate exports one `const FACTORY`. A program is a [`Registry`] of factories. `create` reads
//! and checks the settings and does nothing else: no I/O, no tasks. `weir validate` calls it too.

use weir_config::Diagnostics;

use super::Settings;
use crate::exporter_helper::HelperConfig;
use crate::telemetry::Metric;
use crate::{Context, Exporter, Extension, Processor, Receiver};

/// The facts that all factories give about their component.
#[derive(Clone, Copy, Debug)]
pub struct Info {
    /// The type part of the component's ids.
    pub kind: &'static str,
    /// One line for `weir components`.
    pub summary: &'static str,
    /// The metrics it adds to the standard ones.
    pub metrics: &'static [Metric],
}

/// Makes receivers of one type.
#[derive(Clone, Copy)]
pub struct ReceiverFactory {
    /// Type, summary, metrics.
    pub info: Info,
    /// Reads the settings and builds the receiver.
    pub create: fn(Settings<'_>, Context) -> Result<Box<dyn Receiver>, Diagnostics>,
}

/// Makes processors of one type.
#[derive(Clone, Copy)]
pub struct ProcessorFactory {
    /// Type, summary, metrics.
    pub info: Info,
    /// Reads the settings and builds the processor. Called once per pipeline that names it.
    pub create: fn(Settings<'_>, Context) -> Result<Box<dyn Processor>, Diagnostics>,
}

/// Makes exporters of one type.
#[derive(Clone, Copy)]
pub struct ExporterFactory {
    /// Type, summary, metrics.
    pub info: Info,
    /// Reads the settings and builds the exporter with the settings of its queue.
    pub create: fn(Settings<'_>, Context) -> Result<BuiltExporter, Diagnostics>,
}

/// Makes extensions of one type.
#[derive(Clone, Copy)]
pub struct ExtensionFactory {
    /// Type, summary, metrics.
    pub info: Info,
    /// Reads the settings and builds the extension.
    pub create: fn(Settings<'_>, Context) -> Result<Box<dyn Extension>, Diagnostics>,
}

/// An exporter and how the helper in front of it works.
pub struct BuiltExporter {
    /// The exporter.
    pub exporter: Box<dyn Exporter>,
    /// Queue, batches, retry, timeout.
    pub helper: HelperConfig,
}

/// The components that a program can use.
#[derive(Clone, Copy)]
pub struct Registry {
    /// Its receivers.
    pub receivers: &'static [ReceiverFactory],
    /// Its processors.
    pub processors: &'static [ProcessorFactory],
    /// Its exporters.
    pub exporters: &'static [ExporterFactory],
    /// Its extensions.
    pub extensions: &'static [ExtensionFactory],
}
