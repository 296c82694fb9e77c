//! Exchanges and figures as rows of the data model.

mod attributes;
mod metrics;
mod table;
mod traces;

pub(crate) use metrics::MetricRows;
pub(crate) use traces::{Span, SpanRows};

/// `scope_name` of every row: what tells rows of the kernel from those of agents.
pub(crate) const SCOPE: &str = "weir.ebpf";
