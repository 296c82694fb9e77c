//! The rules in force, and how they change.
//!
//! * A [`RuleSet`] never changes. [`SharedRules`] holds the newest one; the trunk takes it up at a window boundary.
//! * The [`RuleBook`] is where rules are kept. Every accepted change adds one to the epoch of the next set that it
//!   publishes. What is not a rule is refused, and the last good version of that rule stays.

pub(crate) mod client;
pub(crate) mod topic_reader;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use weir_alarms::Labels;
use weir_component::WindowSources;

use crate::rule::classic::{self, ClassicError, Record};
use crate::rule::glob::Glob;
use crate::rule::window_names;
use crate::rule::{Classic, InlineRule, Kind, Rule};

/// The rules of one epoch.
#[derive(Debug, Default)]
pub(crate) struct RuleSet {
    pub(crate) epoch: i64,
    /// In the order of the configuration.
    inline: Vec<Arc<Rule>>,
    /// Windows of other operators are not evaluated by classic rules.
    classic_operator: Option<Glob>,
    /// By service, then by operation; the empty text is the wildcard.
    classic: HashMap<Arc<str>, ByOperation>,
    by_name: HashMap<Arc<str>, Arc<Rule>>,
}

type ByOperation = HashMap<Arc<str>, Vec<Arc<Rule>>>;

impl RuleSet {
    /// The rules of the configuration.
    pub(crate) fn inline_rules(&self) -> impl Iterator<Item = (&Arc<Rule>, &InlineRule)> {
        self.inline.iter().filter_map(|rule| match &rule.kind {
            Kind::Inline(inline) => Some((rule, inline)),
            Kind::Classic(_) => None,
        })
    }

    /// The most specific classic rules for an endpoint: service and operation, else service, else operation, else any.
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

    fn store(&self, set: RuleSet) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(set);
    }
}

/// Why a record does not change the rules.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum Refused {
    #[error(transparent)]
    NotARule(#[from] ClassicError),
    #[error("the configuration has a rule of this name")]
    NameTaken,
    #[error("there are {0} rules already; remove some, or raise `rules.kafka.max_rules`")]
    TooMany(usize),
}

/// What a record did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    Changed,
    /// It says what was known before.
    Same,
}

/// Most unknown keys that are remembered. A topic with more names them no more, and counts them still.
const MAX_UNKNOWN: usize = 1_000;

/// All rules of all sources.
#[derive(Debug)]
pub(crate) struct RuleBook {
    shared: SharedRules,
    inline: Vec<Arc<Rule>>,
    classic_operator: Option<Glob>,
    classic: BTreeMap<Arc<str>, Arc<Rule>>,
    max_classic: usize,
    epoch: i64,
    /// Keys of records that mean nothing, all that were met.
    unknown: BTreeSet<String>,
    /// Those among them that have not been reported, each with a rule that has it.
    unreported: Vec<(String, Arc<str>)>,
    /// The windows that rules evaluate, as far as the configuration tells.
    sources: Option<WindowSources>,
    /// Rules that can never hold, with the reason, that have not been reported.
    idle: Vec<(Arc<str>, String)>,
}

impl RuleBook {
    /// A book with the rules of the configuration, published as epoch 1. `max_classic` bounds the others.
    pub(crate) fn new(inline: Vec<Rule>, classic_operator: Option<Glob>, max_classic: usize) -> RuleBook {
        let inline = inline.into_iter().map(Arc::new).collect();
        let shared = SharedRules::default();
        let book = RuleBook {
            shared,
            inline,
            classic_operator,
            classic: BTreeMap::new(),
            max_classic,
            epoch: 1,
            unknown: BTreeSet::new(),
            unreported: Vec::new(),
            sources: None,
            idle: Vec::new(),
        };
        book.publish();
        book
    }

    /// Rules are for these windows.
    pub(crate) fn expect_windows(&mut self, sources: WindowSources) {
        self.sources = Some(sources);
    }

    /// Rules taken since this was last asked that can never hold, each with the reason.
    pub(crate) fn take_idle(&mut self) -> Vec<(Arc<str>, String)> {
        std::mem::take(&mut self.idle)
    }

    /// Where the published sets are found.
    pub(crate) fn shared(&self) -> SharedRules {
        self.shared.clone()
    }

    /// Takes a record of the rules' topic. It counts from the next [`publish`](Self::publish) on.
    pub(crate) fn apply(&mut self, key: Option<&[u8]>, value: Option<&[u8]>) -> Result<Applied, Refused> {
        match classic::read(key, value)? {
            Record::Remove(name) => match self.classic.remove(&name) {
                Some(_) => self.epoch += 1,
                None => return Ok(Applied::Same),
            },
            Record::Put { rule, unknown } => {
                self.note_unknown(unknown, &rule.name);
                if self.inline.iter().any(|rule_of_config| rule_of_config.name == rule.name) {
                    return Err(Refused::NameTaken);
                }
                match self.classic.get(&rule.name) {
                    Some(known) if *known == rule => return Ok(Applied::Same),
                    None if self.classic.len() >= self.max_classic => {
                        return Err(Refused::TooMany(self.max_classic));
                    }
                    _ => {}
                }
                let operator = self.classic_operator.as_ref();
                let sources = self.sources.as_ref();
                let idle = sources.and_then(|sources| window_names::check_classic(&rule, operator, sources));
                self.idle.extend(idle.map(|why| (rule.name.clone(), why)));
                self.classic.insert(rule.name.clone(), rule);
                self.epoch += 1;
            }
        }
        Ok(Applied::Changed)
    }

    fn note_unknown(&mut self, keys: Vec<String>, rule: &Arc<str>) {
        for key in keys {
            if self.unknown.len() < MAX_UNKNOWN && !self.unknown.contains(&key) {
                self.unknown.insert(key.clone());
                self.unreported.push((key, rule.clone()));
            }
        }
    }

    /// Keys of records that mean nothing and were not met before, each with a rule that has it.
    pub(crate) fn take_unknown(&mut self) -> Vec<(String, Arc<str>)> {
        std::mem::take(&mut self.unreported)
    }

    /// What was read before the first evaluation is the first epoch.
    pub(crate) fn publish_first(&mut self) {
        self.epoch = 1;
        self.publish();
    }

    /// Makes the rules as they are now the newest set.
    pub(crate) fn publish(&self) {
        let mut set = RuleSet {
            epoch: self.epoch,
            inline: self.inline.clone(),
            classic_operator: self.classic_operator.clone(),
            ..RuleSet::default()
        };
        for rule in self.inline.iter().chain(self.classic.values()) {
            set.by_name.insert(rule.name.clone(), rule.clone());
            if let Kind::Classic(Classic { endpoint, .. }) = &rule.kind {
                let key = |part: &Option<Arc<str>>| part.clone().unwrap_or_else(|| "".into());
                let operations = set.classic.entry(key(&endpoint.service)).or_default();
                operations.entry(key(&endpoint.operation)).or_default().push(rule.clone());
            }
        }
        self.shared.store(set);
    }

    /// The epoch that the next set has.
    pub(crate) fn epoch(&self) -> i64 {
        self.epoch
    }

    /// Rules of the configuration, and of the topic.
    pub(crate) fn counts(&self) -> (usize, usize) {
        (self.inline.len(), self.classic.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_component::WindowSchema;

    fn book() -> RuleBook {
        RuleBook::new(Vec::new(), None, 5)
    }

    fn put(
        book: &mut RuleBook,
        key: &str,
        service: &str,
        operation: &str,
        max: i64,
    ) -> Result<Applied, Refused> {
        let value =
            serde_json::json!({"service": service, "operatorName": operation, "maxThresholdHigh": max});
        let applied = book.apply(Some(key.as_bytes()), Some(value.to_string().as_bytes()));
        book.publish();
        applied
    }

    fn winners(book: &RuleBook, service: &str, operation: &str) -> Vec<String> {
        let set = book.shared().load();
        set.classic("aggregate", Some(service), Some(operation))
            .map(|(rule, _)| rule.name.to_string())
            .collect()
    }

    #[test]
    fn the_most_specific_classic_rule_wins() {
        let mut book = book();
        put(&mut book, "any", "*", "*", 1).unwrap();
        put(&mut book, "operation", "*", "/pay", 1).unwrap();
        put(&mut book, "service", "pay", "", 1).unwrap();
        put(&mut book, "both", "pay", "/pay", 1).unwrap();
        assert_eq!(winners(&book, "pay", "/pay"), ["both"]);
        assert_eq!(winners(&book, "pay", "/other"), ["service"]);
        assert_eq!(winners(&book, "shop", "/pay"), ["operation"]);
        assert_eq!(winners(&book, "shop", "/"), ["any"]);
        book.apply(Some(b"both"), None).unwrap();
        book.publish();
        assert_eq!(winners(&book, "pay", "/pay"), ["service"]);
    }

    #[test]
    fn two_rules_for_one_endpoint_both_evaluate_it() {
        let mut book = book();
        put(&mut book, "b", "pay", "/pay", 1).unwrap();
        put(&mut book, "a", "pay", "/pay", 2).unwrap();
        assert_eq!(winners(&book, "pay", "/pay"), ["a", "b"]);
    }

    #[test]
    fn classic_rules_can_be_kept_to_some_operators() {
        let mut book = RuleBook::new(Vec::new(), Some(Glob::new("aggregate/7*")), 5);
        put(&mut book, "a", "*", "*", 1).unwrap();
        let set = book.shared().load();
        assert_eq!(set.classic("aggregate/7s", None, None).count(), 1);
        assert_eq!(set.classic("aggregate/60s", None, None).count(), 0);
    }

    #[test]
    fn every_accepted_change_adds_one_to_the_epoch_and_nothing_else_does() {
        let mut book = book();
        assert_eq!(book.shared().load().epoch, 1);
        assert_eq!(put(&mut book, "a", "pay", "", 1), Ok(Applied::Changed));
        assert_eq!(book.shared().load().epoch, 2);
        assert_eq!(put(&mut book, "a", "pay", "", 1), Ok(Applied::Same));
        assert_eq!(book.apply(Some(b"b"), None), Ok(Applied::Same), "there was no such rule");
        assert!(book.apply(Some(b"a"), Some(b"{")).is_err());
        book.publish();
        assert_eq!(book.shared().load().epoch, 2);
        put(&mut book, "a", "pay", "", 2).unwrap();
        book.apply(Some(b"a"), None).unwrap();
        book.publish();
        assert_eq!(book.shared().load().epoch, 4);
        book.publish_first();
        assert_eq!(book.shared().load().epoch, 1);
    }

    #[test]
    fn a_bad_version_leaves_the_last_good_one() {
        let mut book = book();
        put(&mut book, "a", "pay", "", 1).unwrap();
        assert!(book.apply(Some(b"a"), Some(b"not json")).is_err());
        book.publish();
        assert_eq!(winners(&book, "pay", "/pay"), ["a"]);
    }

    #[test]
    fn names_of_the_configuration_cannot_be_taken() {
        let rule = classic::read(Some(b"mine"), Some(br#"{"service":"a"}"#)).unwrap();
        let Record::Put { rule, .. } = rule else { panic!("removed") };
        let mut book = RuleBook::new(vec![(*rule).clone()], None, 5);
        assert_eq!(put(&mut book, "mine", "b", "", 1), Err(Refused::NameTaken));
    }

    #[test]
    fn the_number_of_rules_is_bounded_and_known_ones_can_still_change() {
        let mut book = book();
        for key in ["a", "b", "c", "d", "e"] {
            put(&mut book, key, key, "", 1).unwrap();
        }
        assert_eq!(put(&mut book, "f", "f", "", 1), Err(Refused::TooMany(5)));
        assert_eq!(put(&mut book, "e", "e", "", 2), Ok(Applied::Changed));
    }

    #[test]
    fn a_rule_for_windows_that_do_not_exist_is_taken_and_reported() {
        let mut book = book();
        let labels = vec!["service".to_owned(), "http.route".to_owned()];
        let columns = [labels.clone(), vec!["max_duration_ns".to_owned()]].concat();
        let operators = vec![WindowSchema { operator: "aggregate".into(), labels, columns }];
        book.expect_windows(WindowSources { operators, others: false });
        for (key, value, reason) in [
            ("a", r#"{"service":"pay","maxThresholdHigh":1}"#, None),
            (
                "b",
                r#"{"service":"pay","operator_name":"/pay","maxThresholdHigh":1}"#,
                Some("is grouped by `operation`"),
            ),
            ("c", r#"{"service":"pay","avgThresholdLow":1}"#, Some("column `avg_duration_ns`; did you mean")),
            ("d", r#"{"service":"*"}"#, None),
        ] {
            assert_eq!(book.apply(Some(key.as_bytes()), Some(value.as_bytes())), Ok(Applied::Changed));
            let idle = book.take_idle();
            let said = idle.first().map(|(rule, why)| (&**rule, why.as_str()));
            match (reason, said) {
                (None, None) => {}
                (Some(reason), Some((rule, why))) => assert!(rule == key && why.contains(reason), "{why}"),
                (expected, found) => panic!("{key}: {found:?}, not {expected:?}"),
            }
        }
    }

    #[test]
    fn an_unknown_key_is_reported_once_and_not_more_than_can_be_kept() {
        let mut book = book();
        let mut read = |key: &str, value: &str| {
            book.apply(Some(key.as_bytes()), Some(value.as_bytes())).unwrap();
            book.take_unknown()
        };
        assert_eq!(read("r", r#"{"service":"a","remark":"x"}"#), [("remark".to_owned(), "r".into())]);
        assert_eq!(read("r", r#"{"service":"a","remark":"y"}"#), []);
        assert_eq!(read("s", r#"{"service":"a","remark":"x","by":1}"#), [("by".to_owned(), "s".into())]);
        let many: String = (0..1_500).map(|n| format!(r#","k{n}":1"#)).collect();
        assert_eq!(read("t", &format!(r#"{{"service":"a"{many}}}"#)).len(), MAX_UNKNOWN - 2);
    }

    #[test]
    fn a_rule_without_key_is_the_one_whose_key_names_its_endpoint() {
        let mut book = book();
        let rule = br#"{"service":"pay","operator_name":"/pay","maxThresholdHigh":1}"#;
        assert_eq!(book.apply(None, Some(rule)), Ok(Applied::Changed));
        assert_eq!(book.apply(Some(b"pay|/pay"), Some(rule)), Ok(Applied::Same));
        let other = br#"{"service":"pay","operator_name":"/pay","maxThresholdHigh":2}"#;
        assert_eq!(book.apply(None, Some(other)), Ok(Applied::Changed));
        assert_eq!(book.counts().1, 1);
        assert!(matches!(book.apply(None, None), Err(Refused::NotARule(ClassicError::Nothing))));
        assert_eq!(book.apply(Some(b"pay|/pay"), None), Ok(Applied::Changed));
        assert_eq!(book.counts().1, 0);
    }

    #[test]
    fn a_set_in_use_does_not_change() {
        let mut book = book();
        let before = book.shared().load();
        put(&mut book, "a", "*", "*", 1).unwrap();
        assert!(!before.has_classic() && book.shared().load().has_classic());
    }
}
