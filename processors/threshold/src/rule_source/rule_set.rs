//! The rules of one epoch, and where the newest ones are found.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use weir_alarms::Labels;

use crate::rule::glob::Glob;
use crate::rule::{Classic, InlineRule, Kind, Rule};
use crate::rule_source::rule_index::RuleIndex;

/// The rules of one epoch.
#[derive(Debug, Default)]
pub(crate) struct RuleSet {
    pub(crate) epoch: i64,
    /// In the order of the configuration.
    pub(crate) inline: Arc<[Arc<Rule>]>,
    /// Of the inline rules.
    pub(crate) index: Arc<RuleIndex>,
    /// Windows of other operators are not evaluated by classic rules.
    pub(crate) classic_operator: Option<Glob>,
    /// By service, then by operation; the empty text is the wildcard.
    pub(crate) classic: HashMap<Arc<str>, ByOperation>,
    pub(crate) by_name: HashMap<Arc<str>, Arc<Rule>>,
}

pub(crate) type ByOperation = HashMap<Arc<str>, Vec<Arc<Rule>>>;

impl RuleSet {
    /// The rules of the configuration.
    pub(crate) fn inline_rules(&self) -> impl Iterator<Item = (&Arc<Rule>, &InlineRule)> {
        self.inline.iter().filter_map(|rule| Some((rule, rule.inline()?)))
    }

    /// The most specific classic rules for an endpoint: service and operation, else service, else operation,
    /// else any.
    pub(crate) fn classic(
        &self,
        operator: &str,
        service: Option<&str>,
        operation: Option<&str>,
    ) -> impl Iterator<Item = (&Arc<Rule>, &Classic)> {
        let (service, operation) = (service.unwrap_or_default(), operation.unwrap_or_default());
        let wanted = self.classic_operator.as_ref().is_none_or(|glob| glob.is_match(operator));
        let choices = [(service, operation), (service, ""), ("", operation), ("", "")];
        let found =
            choices.into_iter().find_map(|(service, operation)| self.classic.get(service)?.get(operation));
        found.into_iter().filter(move |_| wanted).flatten().filter_map(|rule| match &rule.kind {
            Kind::Classic(classic) => Some((rule, classic)),
            Kind::Inline(_) => None,
        })
    }

    /// Whether there is any classic rule.
    pub(crate) fn has_classic(&self) -> bool {
        !self.classic.is_empty()
    }

    /// The rule of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&Arc<Rule>> {
        self.by_name.get(name)
    }

    /// Whether this rule, which is in the set, evaluates windows of this operator with these labels.
    pub(crate) fn applies(&self, rule: &Rule, operator: &str, labels: &Labels) -> bool {
        match &rule.kind {
            Kind::Inline(inline) => inline.covers(operator, labels),
            Kind::Classic(_) => {
                let label =
                    |name| labels.iter().find(|(known, _)| &**known == name).map(|(_, value)| value.as_str());
                self.classic(operator, label("service"), label("operation"))
                    .any(|(known, _)| known.name == rule.name)
            }
        }
    }
}

/// The newest rule set. Cheap to clone; clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct SharedRules(Arc<RwLock<Arc<RuleSet>>>);

impl SharedRules {
    /// The newest rule set.
    pub(crate) fn load(&self) -> Arc<RuleSet> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Gives the one before, so that a large one is not dropped where windows are evaluated.
    pub(crate) fn store(&self, set: RuleSet) -> Arc<RuleSet> {
        let mut newest = self.0.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *newest, Arc::new(set))
    }
}
