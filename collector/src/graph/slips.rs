//! Names that are probably slips.

use weir_config::{Diagnostic, Diagnostics, Document, Section, nearest};
use weir_pdata::{Demand, Signal, schema};

/// A warning for each attribute that is read and is named almost like a column: it may be a slip, and
/// then what reads it sees NULL.
pub(super) fn slips(document: &Document, section: &Section, demand: &Demand, found: &mut Diagnostics) {
    let columns = || {
        let signals = [Signal::Traces, Signal::Logs, Signal::Metrics];
        signals.into_iter().flat_map(|signal| schema::fixed(signal).iter().map(|field| field.name().as_str()))
    };
    for name in &demand.names {
        if name.contains('.') || columns().any(|column| column == name) {
            continue;
        }
        if let Some(near) = nearest(name, columns()) {
            let warning =
                Diagnostic::warning(format!("`{name}` is read as an attribute: there is no such column"))
                    .with_label(format!("did you mean `{near}`?"));
            found.push(document.at(section.key_span, &section.path, warning));
        }
    }
}
