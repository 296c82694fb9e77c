//! Rules as they are written in a file.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::metric::Scope;

/// The spans of which SkyWalking makes its metrics.
const ENTRIES: &str = "kind IN ('server', 'consumer')";

/// A rule.
pub(super) struct Written<'a> {
    pub(super) name: &'a str,
    pub(super) operator: Option<&'a str>,
    pub(super) severity: &'static str,
    pub(super) condition: String,
    /// Further keys, with their values in YAML.
    pub(super) more: Vec<(&'static str, String)>,
}

impl Written<'_> {
    /// The entry of the list.
    pub(super) fn text(&self) -> String {
        let mut text = format!("  - name: {}\n", quoted(self.name));
        let operator = self.operator.map(|operator| ("operator", operator.to_owned()));
        let when = ("when", format!("{{{}: {}}}", self.severity, quoted(&self.condition)));
        for (key, value) in operator.iter().chain([&when]).chain(&self.more) {
            text.push_str(&format!("    {key}: {value}\n"));
        }
        text
    }
}

/// A map of texts in one line.
pub(super) fn quoted_map(texts: &BTreeMap<String, String>) -> String {
    let texts: Vec<String> =
        texts.iter().map(|(name, value)| format!("{}: {}", quoted(name), quoted(value))).collect();
    format!("{{{}}}", texts.join(", "))
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
        text.push_str(&format!(
            "#     {operator}: {{window: {{tumbling: 1m}}, group_by: {group_by}, where: \"{ENTRIES}\"}}\n"
        ));
    }
    match rules {
        [] => text.push_str("rules: []\n"),
        rules => text.push_str(&format!("rules:\n{}", rules.concat())),
    }
    text
}

/// A text in quotes, without what means something in a file of Weir.
pub(super) fn quoted(text: &str) -> String {
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
