//! The section of one component.

use crate::tree::node::Node;
use crate::tree::source::Span;
use crate::values::component_id::ComponentId;

/// The section of one component, not yet read by the component.
#[derive(Debug, Clone)]
pub struct Section {
    /// Its id, the key.
    pub id: ComponentId,
    /// Its content; null when nothing is written below the key.
    pub node: Node,
    /// Where the key is.
    pub key_span: Span,
    /// Key path, such as `exporters.clickhouse/main`.
    pub path: String,
}
