//! `dynamic_columns`: columns for the keys of spans.

use std::collections::BTreeMap;

use serde::Deserialize;
use weir_config::Duration;

use crate::config::create_schema::CreateSchema;
use crate::dynamic::key_type::KeyType;

/// The most columns that can be asked for: each costs every insert.
const MOST_CREATED: usize = 1_000;

/// `dynamic_columns`: columns for the keys of spans.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct DynamicColumns {
    /// How many keys get a column, at most. 0: keys are counted only.
    pub(crate) max_created_columns: usize,
    /// How often keys are written down, and columns are created. A key gets one after this time, at the
    /// earliest.
    pub(crate) interval: Duration,
    /// The keys that may get a column: names, with `*` for any text.
    pub(crate) allow: Vec<String>,
    /// The keys that get none.
    pub(crate) deny: Vec<String>,
    /// The types of keys. Without one it is that of all values that were seen.
    pub(crate) types: BTreeMap<String, KeyType>,
}

impl Default for DynamicColumns {
    fn default() -> DynamicColumns {
        DynamicColumns {
            max_created_columns: 64,
            interval: Duration::from_secs(30),
            allow: vec!["*".to_owned()],
            deny: Vec::new(),
            types: BTreeMap::new(),
        }
    }
}

impl DynamicColumns {
    /// The faults: the key within the exporter's section, and why.
    pub(crate) fn problems(&self, create_schema: CreateSchema) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        let mut problem = |key: &str, why: String| problems.push((key.to_owned(), why));
        if self.max_created_columns > MOST_CREATED {
            problem(
                "dynamic_columns.max_created_columns",
                format!("must be at most {MOST_CREATED}: every column costs every insert"),
            );
        }
        if self.interval < Duration::from_secs(1) {
            problem("dynamic_columns.interval", "must be at least 1s".to_owned());
        }
        if create_schema != CreateSchema::Create && self.max_created_columns > 0 {
            problem(
                "dynamic_columns",
                "columns are created with `create_schema: true` only; `max_created_columns: 0` counts keys without it".to_owned(),
            );
        }
        problems
    }

    /// Whether a key may get a column.
    pub(crate) fn allows(&self, key: &str) -> bool {
        let among = |patterns: &[String]| patterns.iter().any(|pattern| fits(pattern, key));
        among(&self.allow) && !among(&self.deny)
    }
}

/// Whether a text is a pattern, in which `*` stands for any text.
fn fits(pattern: &str, text: &str) -> bool {
    let Some((before, rest)) = pattern.split_once('*') else { return pattern == text };
    let Some(text) = text.strip_prefix(before) else { return false };
    let (middle, last) = rest.rsplit_once('*').map_or((None, rest), |(middle, last)| (Some(middle), last));
    let Some(mut text) = text.strip_suffix(last) else { return false };
    // The first place of each part leaves the most for those behind it.
    for part in middle.into_iter().flat_map(|middle| middle.split('*')) {
        let Some(at) = text.find(part) else { return false };
        text = &text[at + part.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_allowed_and_denied_by_patterns() {
        for (pattern, text, expected) in [
            ("*", "", true),
            ("http.*", "http.method", true),
            ("http.*", "https", false),
            ("*.id", "customer.id", true),
            ("*.id", "id", false),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("a*b", "ab", true),
            ("ab*ba", "aba", false),
            ("exact", "exact", true),
            ("exact", "exactly", false),
        ] {
            assert_eq!(fits(pattern, text), expected, "{pattern} {text}");
        }
        let config = DynamicColumns { deny: vec!["*.body".into()], ..DynamicColumns::default() };
        assert!(config.allows("http.method") && !config.allows("http.body"));
    }
}
