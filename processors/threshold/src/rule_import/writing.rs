//! Rules as they are written in a file.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::metric::Scope;

/// A rule.
pub(super) struct Written<'a> {
    pub(super) name: &'a str,
    pub(super) scope: Scope,
    pub(super) severity: &'static str,
    pub(super) condition: String,
    pub(super) fire_after: u32,
    pub(super) resolve_after: u32,
    /// In minutes.
    pub(super) silence: u32,
    pub(super) message: Option<String>,
    pub(super) labels: BTreeMap<String, String>,
}

impl Written<'_> {
    /// The entry of the list.
    pub(super) fn text(&self) -> String {
        let mut text = format!(
            "  - name: {}\n    operator: {}\n    when: {{{}: {}}}\n",
            quoted(self.name),
            self.scope.operator(),
            self.severity,
            quoted(&self.condition)
        );
        for (key, windows) in [("for", self.fire_after), ("resolve_after", self.resolve_after)] {
            if windows > 1 {
                text.push_str(&format!("    {key}: {windows}\n"));
            }
        }
        if self.silence > 0 {
            text.push_str(&format!("    silence: {}m\n", self.silence));
        }
        if let Some(message) = &self.message {
            text.push_str(&format!("    message: {}\n", quoted(message)));
        }
        if !self.labels.is_empty() {
            let labels: Vec<String> = self
                .labels
                .iter()
                .map(|(name, value)| format!("{}: {}", quoted(name), quoted(value)))
                .collect();
            text.push_str(&format!("    labels: {{{}}}\n", labels.join(", ")));
        }
        text
    }
}

/// The whole file.
pub(super) fn file(name: &str, scopes: &BTreeSet<Scope>, rules: &[String]) -> String {
    let name: String = name.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let mut text = format!("# From {name} by `weir rules import`.\n");
    if !scopes.is_empty() {
        text.push_str("# These rules evaluate the windows of\n#   processors:\n");
    }
    for scope in scopes {
        let (operator, group_by) = (scope.operator(), scope.group_by());
        text.push_str(&format!("#     {operator}: {{window: {{tumbling: 1m}}, group_by: {group_by}}}\n"));
    }
    match rules {
        [] => text.push_str("rules: []\n"),
        rules => text.push_str(&format!("rules:\n{}", rules.concat())),
    }
    text
}

/// A text in quotes, without what means something in a file of Weir.
fn quoted(text: &str) -> String {
    let json = Value::from(text.replace('$', "$$")).to_string();
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        // JSON takes these as they are, and YAML does not.
        let is_odd = ('\u{7f}'..='\u{9f}').contains(&c) || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}');
        if is_odd {
            out.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            out.push(c);
        }
    }
    out
}
