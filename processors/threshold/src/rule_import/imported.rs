//! What an import gives.

use weir_config::{Diagnostic, Diagnostics};

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
