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

use weir_config::{Diagnostics, Document, SourceText};

use imported::read_again;

pub use imported::Imported;

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
    if imported.rules > 0 {
        imported.rules = read_again(&imported.yaml)?;
    }
    Ok(imported)
}
