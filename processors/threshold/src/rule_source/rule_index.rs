//! Which inline rules cover a window, without trying each of them.
//!
//! A rule that names the whole value of a label is found by that value: the first such label of its `match`.
//! The others are tried for each group.

use std::collections::HashMap;

use weir_alarms::Labels;

use crate::rule::InlineRule;

/// Places of inline rules in their list.
#[derive(Debug, Default)]
pub(crate) struct RuleIndex {
    /// By label and value.
    by_label: HashMap<String, HashMap<String, Vec<u32>>>,
    /// Rules without such a label, which cover some windows.
    tried: Vec<u32>,
    /// Rules that cover every window.
    everywhere: Vec<u32>,
}

impl RuleIndex {
    /// Of rules in the order of their list.
    pub(crate) fn new<'a>(rules: impl Iterator<Item = &'a InlineRule>) -> RuleIndex {
        let mut index = RuleIndex::default();
        for (place, rule) in (0_u32..).zip(rules) {
            let exact = rule.labels.iter().find_map(|(name, glob)| Some((name, glob.exact()?)));
            match exact {
                Some((name, value)) => {
                    let values = index.by_label.entry(name.clone()).or_default();
                    values.entry(value.to_owned()).or_default().push(place);
                }
                None if rule.labels.is_empty() && rule.operator.is_none() => index.everywhere.push(place),
                None => index.tried.push(place),
            }
        }
        index
    }

    /// Rules that cover every window.
    pub(crate) fn everywhere(&self) -> &[u32] {
        &self.everywhere
    }

    /// Rules that may cover a window with these labels, beside those that cover every one.
    pub(crate) fn candidates(&self, labels: &Labels) -> impl Iterator<Item = u32> {
        let named = self.by_label.iter().filter_map(|(name, values)| {
            let label = labels.iter().find(|(known, _)| **known == **name);
            values.get(label.map_or("", |(_, value)| value))
        });
        named.flatten().chain(&self.tried).copied()
    }
}
