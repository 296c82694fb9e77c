//! What an import gives.

use std::path::PathBuf;

use weir_config::{Diagnostic, Diagnostics};

use crate::rule_source::files::RuleFiles;
use crate::rule_tests::id;

/// Rules that were imported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Imported {
    /// A file of rules.
    pub yaml: String,
    /// How many there are.
    pub rules: usize,
    /// What could not be taken, or means something else: lines, and why.
    pub remarks: Vec<(usize, String)>,
}

/// One fault alone.
pub(super) fn one(wrong: Diagnostic) -> Diagnostics {
    let mut all = Diagnostics::new();
    all.push(wrong);
    all
}

/// How many rules there are in a file that was written.
pub(super) fn read_again(yaml: &str) -> Result<usize, Diagnostics> {
    let written = RuleFiles { id: id()?, paths: vec![PathBuf::from("the imported rules")] };
    Ok(written.rules(&vec![yaml.to_owned()])?.len())
}

/// The rule, when Weir can read it: one that it cannot read must not take the others with it.
pub(super) fn readable(rule: String) -> Result<String, String> {
    read_again(&format!("rules:\n{rule}")).map_err(|wrong| first(&wrong))?;
    Ok(rule)
}

/// The first thing that is wrong, in one line.
pub(super) fn first(wrong: &Diagnostics) -> String {
    let message = wrong.iter().next().map_or_else(String::new, |wrong| wrong.message.clone());
    message.lines().next().unwrap_or_default().to_owned()
}
