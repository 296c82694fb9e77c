//! The rules that cover each group of windows. A group is looked up once for each set of rules.

use std::collections::HashMap;
use std::sync::Arc;

use crate::evaluation::windows::Window;
use crate::rule::Rule;
use crate::rule_source::rule_set::RuleSet;

/// The rules that cover each group, for one set of rules.
#[derive(Default)]
pub(crate) struct Matches {
    rules: Option<Arc<RuleSet>>,
    /// By the hash of a group.
    groups: HashMap<u64, Group>,
    most: usize,
}

struct Group {
    operator: String,
    labels: Vec<(Arc<str>, String)>,
    rules: Arc<[u32]>,
}

impl Matches {
    /// Remembers at most so many groups.
    pub(crate) fn new(most: usize) -> Matches {
        Matches { most: most.max(1), ..Matches::default() }
    }

    /// Places of the rules that cover a window, beside those that cover every one, in order.
    pub(crate) fn of(&mut self, rules: &Arc<RuleSet>, window: &Window) -> Arc<[u32]> {
        if !self.rules.as_ref().is_some_and(|known| Arc::ptr_eq(known, rules)) {
            self.groups.clear();
            self.rules = Some(rules.clone());
        }
        let is_same = |group: &&Group| group.operator == window.operator && group.labels == window.labels;
        if let Some(group) = self.groups.get(&window.group).filter(is_same) {
            return group.rules.clone();
        }
        let covers = |place: &u32| {
            let rule: Option<&Arc<Rule>> = rules.inline.get(*place as usize);
            rule.and_then(|rule| rule.inline())
                .is_some_and(|rule| rule.covers(&window.operator, &window.labels))
        };
        let mut found: Vec<u32> = rules.index.candidates(&window.labels).filter(covers).collect();
        found.sort_unstable();
        let found: Arc<[u32]> = found.into();
        if self.groups.len() >= self.most {
            self.groups.clear();
        }
        let (operator, labels) = (window.operator.clone(), window.labels.clone());
        self.groups.insert(window.group, Group { operator, labels, rules: found.clone() });
        found
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher, RandomState};

    use proptest::prelude::*;
    use weir_alarms::Message;

    use super::*;
    use crate::evaluation::alarm_state::Patience;
    use crate::rule::InlineRule;
    use crate::rule::glob::Glob;
    use crate::rule::{Extras, Kind, PerSeverity};
    use crate::rule_source::rule_book::RuleBook;

    type Globs = Vec<(&'static str, &'static str)>;

    fn rule(place: usize, labels: &Globs, operator: Option<&str>) -> Rule {
        let labels = labels.iter().map(|(name, glob)| ((*name).to_owned(), Glob::new(*glob))).collect();
        let operator = operator.map(Glob::new);
        Rule {
            name: format!("rule-{place}").into(),
            kind: Kind::Inline(InlineRule {
                operator,
                labels,
                when: PerSeverity::default(),
                earlier: Vec::new(),
                look_back: None,
            }),
            patience: Patience::default(),
            min_count: 0,
            message: Message::default(),
            silence: 0,
            no_data: None,
            resolve_without_data: None,
            active: None,
            extras: Extras::default(),
        }
    }

    fn globs() -> impl Strategy<Value = (Globs, Option<&'static str>)> {
        let name = prop::sample::select(vec!["service", "operation", "zone"]);
        let glob = prop::sample::select(vec!["pay", "ship", "", "*", "p*", "/a", "s?ip", "east"]);
        let operator = prop::option::of(prop::sample::select(vec!["aggregate", "other", "agg*"]));
        (prop::collection::vec((name, glob), 0..3), operator)
    }

    fn group() -> impl Strategy<Value = (Globs, &'static str)> {
        let value = || prop::sample::select(vec!["pay", "ship", "", "/a", "east", "other"]);
        let label = |name: &'static str| prop::option::of(value().prop_map(move |value| (name, value)));
        let labels = (label("operation"), label("service"), label("zone"));
        let labels = labels.prop_map(|(a, b, c)| [a, b, c].into_iter().flatten().collect());
        (labels, prop::sample::select(vec!["aggregate", "other"]))
    }

    proptest! {
        /// By the definition of `match`: every rule is tried.
        #[test]
        fn a_group_has_the_rules_that_cover_it(
            rules in prop::collection::vec(globs(), 0..20),
            groups in prop::collection::vec(group(), 1..10),
        ) {
            let of = |(at, (globs, operator)): (usize, &(Globs, _))| rule(at, globs, *operator);
            let rules: Vec<Rule> = (0..).zip(&rules).map(of).collect();
            let set = RuleBook::new(rules.clone(), None, 0).shared().load();
            let (mut matches, hasher) = (Matches::new(4), RandomState::new());
            for (labels, operator) in groups.iter().chain(&groups) {
                let labels: Vec<(Arc<str>, String)> =
                    labels.iter().map(|(name, value)| (Arc::from(*name), (*value).to_owned())).collect();
                let window = Window {
                    row: 0, start: None, end: 7, operator: (*operator).to_owned(), shard: 0, again: false,
                    // Two groups in three have the hash of another one.
                    group: hasher.hash_one(&labels) % 3, labels,
                };
                let mut found: Vec<u32> = matches.of(&set, &window).to_vec();
                found.extend(set.index.everywhere());
                found.sort_unstable();
                let covers = |(at, rule): (u32, &Rule)| {
                    rule.inline().is_some_and(|rule| rule.covers(operator, &window.labels)).then_some(at)
                };
                let expected: Vec<u32> = (0..).zip(&rules).filter_map(covers).collect();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
