//! The configured parts and their connections: component sections, pipelines, service settings.

mod reader;

use std::fmt;

use crate::diagnostic::Diagnostics;
use crate::section::Section;
use crate::service::ServiceConfig;
use crate::tree::source::Span;
use crate::values::component_id::ComponentId;

/// The whole configuration except the insides of components. Its references are checked: every one names a
/// section.
#[derive(Debug, Clone)]
pub struct Topology {
    /// `receivers`, in the order written.
    pub receivers: Vec<Section>,
    /// `processors`, in the order written.
    pub processors: Vec<Section>,
    /// `exporters`, in the order written.
    pub exporters: Vec<Section>,
    /// `extensions`, in the order written.
    pub extensions: Vec<Section>,
    /// `service.pipelines`, in the order written; at least one.
    pub pipelines: Vec<Pipeline>,
    /// `service.extensions`: extensions to start, in this order.
    pub started_extensions: Vec<Reference>,
    /// The rest of `service`.
    pub service: ServiceConfig,
    /// Things that work but are probably not meant, such as a component that no pipeline uses.
    pub warnings: Diagnostics,
}

/// One chain of components.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// Its id, the key.
    pub id: PipelineId,
    /// Where the key is.
    pub key_span: Span,
    /// Key path, such as `service.pipelines.main`.
    pub path: String,
    /// At least one, no repeats.
    pub receivers: Vec<Reference>,
    /// In the order they run, no repeats.
    pub processors: Vec<Reference>,
    /// At least one, no repeats.
    pub exporters: Vec<Reference>,
}

/// A component named in a pipeline.
#[derive(Debug, Clone)]
pub struct Reference {
    /// Which component.
    pub id: ComponentId,
    /// Where it is named.
    pub span: Span,
    /// Key path, such as `service.pipelines.main.receivers[0]`.
    pub path: String,
}

/// Id of a pipeline: `type` or `type/name` like a component's.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PipelineId(pub ComponentId);

/// The signals that a pipeline accepts from its receivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PipelineSignal {
    /// Everything.
    Any,
    /// Only traces.
    Traces,
    /// Only logs.
    Logs,
    /// Only metrics.
    Metrics,
}

impl PipelineId {
    /// By the type part of the id: `traces`, `logs` and `metrics` accept only that signal, all others
    /// everything.
    #[must_use]
    pub fn signal(&self) -> PipelineSignal {
        match self.0.kind() {
            "traces" => PipelineSignal::Traces,
            "logs" => PipelineSignal::Logs,
            "metrics" => PipelineSignal::Metrics,
            _ => PipelineSignal::Any,
        }
    }
}

impl fmt::Display for PipelineId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
