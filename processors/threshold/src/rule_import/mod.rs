//! Rules of others as rules of Weir: SkyWalking's `alarm-settings.yml`, and rule files of Prometheus. What is
//! written is read again before it is given out, and what could not be taken is said with its line.

mod expression;
mod imported;
mod metric;
mod prometheus;
mod settings;
#[cfg(test)]
mod tests;
mod writing;

use std::path::PathBuf;

use weir_config::{Diagnostics, Document, SourceText};

pub use imported::Imported;

use crate::rule_source::files::RuleFiles;
use crate::rule_tests::id;

/// Makes rules out of SkyWalking's `alarm-settings.yml`, or out of a file with `groups` of rules of
/// Prometheus. `name` is that of the file.
///
/// # Errors
/// The text is no YAML, or has no rules.
pub fn import_rules(name: &str, text: &str) -> Result<Imported, Diagnostics> {
    // Variables mean nothing there.
    let source = SourceText::new(name, text.replace('$', "$$"));
    let document = Document::load(vec![source], &[], &|_| None)?;
    let is_prometheus = document.root().get("groups").is_some();
    let import = if is_prometheus { prometheus::import } else { settings::import };
    let mut imported = import(name, &document)?;
    imported.remarks.sort();
    let written = RuleFiles { id: id()?, paths: vec![PathBuf::from("the imported rules")] };
    let count = written.rules(&vec![imported.yaml.clone()]).map(|rules| rules.len());
    imported.rules = count.or_else(|wrong| if imported.rules == 0 { Ok(0) } else { Err(wrong) })?;
    Ok(imported)
}
