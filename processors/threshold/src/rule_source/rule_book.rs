//! All rules of all sources, and how they change.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use weir_component::WindowSources;

use crate::rule::classic::{self, ClassicError, Record};
use crate::rule::glob::Glob;
use crate::rule::{Classic, Kind, Rule, window_names};
use crate::rule_source::rule_index::RuleIndex;
use crate::rule_source::rule_set::{RuleSet, SharedRules};

/// Why a record does not change the rules.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum Refused {
    #[error(transparent)]
    NotARule(#[from] ClassicError),
    #[error("the configuration or a file has a rule of this name")]
    NameTaken,
    #[error("another source has a rule of the name `{0}`; names must differ")]
    NameOfAnother(Arc<str>),
    #[error("{0}: {1}")]
    Columns(String, String),
    #[error("there are {0} rules already; remove some, or raise `rules.kafka.max_rules`")]
    TooMany(usize),
}

/// The effect of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Applied {
    Changed,
    /// It says what was known before.
    Same,
}

/// What became of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RuleChange {
    pub(crate) rule: Arc<str>,
    pub(crate) change: &'static str,
}

/// Most unknown keys that are remembered. A topic with more names them no more, and counts them still.
pub(crate) const MAX_UNKNOWN: usize = 1_000;

/// All rules of all sources.
#[derive(Debug)]
pub(crate) struct RuleBook {
    shared: SharedRules,
    /// Sets that may still be in use.
    replaced: Vec<Arc<RuleSet>>,
    /// Of the configuration.
    own: Vec<Arc<Rule>>,
    files: Vec<Arc<Rule>>,
    /// Both.
    inline: Arc<[Arc<Rule>]>,
    index: Arc<RuleIndex>,
    names: HashSet<Arc<str>>,
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
        let mut book = RuleBook {
            shared: SharedRules::default(),
            replaced: Vec::new(),
            own: inline.into_iter().map(Arc::new).collect(),
            files: Vec::new(),
            inline: Arc::default(),
            index: Arc::default(),
            names: HashSet::new(),
            classic_operator,
            classic: BTreeMap::new(),
            max_classic,
            epoch: 1,
            unknown: BTreeSet::new(),
            unreported: Vec::new(),
            sources: None,
            idle: Vec::new(),
        };
        book.list_inline();
        book.publish();
        book
    }

    fn list_inline(&mut self) {
        self.inline = self.own.iter().chain(&self.files).cloned().collect();
        self.names = self.inline.iter().map(|rule| rule.name.clone()).collect();
        self.index = Arc::new(RuleIndex::new(self.inline.iter().filter_map(|rule| rule.inline())));
    }

    /// These are the rules of the files now. They count from the next [`publish`](Self::publish) on. Gives
    /// what is new.
    pub(crate) fn set_files(&mut self, rules: Vec<Rule>) -> Result<Vec<RuleChange>, Refused> {
        let of_others = |rule: &&Rule| {
            self.classic.contains_key(&rule.name) || self.own.iter().any(|own| own.name == rule.name)
        };
        if let Some(taken) = rules.iter().find(of_others) {
            return Err(Refused::NameOfAnother(taken.name.clone()));
        }
        let certain = self.sources.as_ref().map_or(Vec::new(), |sources| {
            let rules = rules.iter().filter_map(Rule::inline).enumerate();
            window_names::check("rules", rules, sources)
        });
        if let Some(wrong) = certain.into_iter().find(|problem| problem.certain) {
            return Err(Refused::Columns(wrong.key, wrong.message));
        }
        let mut known: BTreeMap<Arc<str>, Arc<Rule>> =
            self.files.drain(..).map(|rule| (rule.name.clone(), rule)).collect();
        let mut changes = Vec::new();
        for rule in rules {
            let change = match known.remove(&rule.name) {
                // The same one: its series keep their state.
                Some(same) if *same == rule => {
                    self.files.push(same);
                    continue;
                }
                Some(_) => "changed",
                None => "added",
            };
            changes.push(RuleChange { rule: rule.name.clone(), change });
            self.files.push(Arc::new(rule));
        }
        changes.extend(known.into_keys().map(|rule| RuleChange { rule, change: "removed" }));
        self.list_inline();
        if !changes.is_empty() {
            self.epoch += 1;
        }
        Ok(changes)
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
                if self.names.contains(&rule.name) {
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

    /// The rules that were read before the first evaluation are the first epoch.
    pub(crate) fn publish_first(&mut self) {
        self.epoch = 1;
        self.publish();
    }

    /// Makes the rules as they are now the newest set.
    pub(crate) fn publish(&mut self) {
        let mut set = RuleSet {
            epoch: self.epoch,
            inline: self.inline.clone(),
            index: self.index.clone(),
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
        self.replaced.push(self.shared.store(set));
        self.replaced.retain(|set| Arc::strong_count(set) > 1);
    }

    /// The epoch that the next set has.
    pub(crate) fn epoch(&self) -> i64 {
        self.epoch
    }

    /// Rules of the configuration, of files, and of the topic.
    pub(crate) fn counts(&self) -> (usize, usize, usize) {
        (self.own.len(), self.files.len(), self.classic.len())
    }
}
