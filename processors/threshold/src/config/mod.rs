//! The settings, and their way to rules that have been checked.

pub(crate) mod rule_keys;

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use weir_component::Check;
use weir_config::{ComponentId, Tls};
use weir_kafka::{Properties, Sasl, Security};

use crate::config::rule_keys::RuleKeys;
use crate::rule::Rule;

/// The section of a threshold processor.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) rules: Rules,
    #[serde(default = "max_series")]
    pub(crate) max_series: usize,
    #[serde(default = "max_past_windows")]
    pub(crate) max_past_windows: usize,
    #[serde(default)]
    pub(crate) storage: Option<ComponentId>,
}

fn max_series() -> usize {
    100_000
}

fn max_past_windows() -> usize {
    2_000_000
}

/// `rules`: a list is short for `inline`.
pub(crate) struct Rules {
    pub(crate) inline: Vec<RuleKeys>,
    pub(crate) files: Vec<PathBuf>,
    pub(crate) kafka: Option<KafkaConfig>,
    /// The key path of the list.
    pub(crate) path: &'static str,
}

/// `rules` as a map.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sources {
    #[serde(default)]
    inline: Vec<RuleKeys>,
    #[serde(default)]
    files: Vec<PathBuf>,
    #[serde(default)]
    kafka: Option<KafkaConfig>,
}

/// Where the rules' topic is.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct KafkaConfig {
    pub(crate) brokers: Vec<String>,
    pub(crate) topic: String,
    pub(crate) operator: Option<String>,
    pub(crate) max_rules: usize,
    pub(crate) tls: Option<Tls>,
    pub(crate) sasl: Option<Sasl>,
    pub(crate) properties: Properties,
}

impl Default for KafkaConfig {
    fn default() -> KafkaConfig {
        KafkaConfig {
            brokers: vec!["localhost:9092".to_owned()],
            topic: "alarm_rule_topic".to_owned(),
            operator: None,
            max_rules: 100_000,
            tls: None,
            sasl: None,
            properties: Properties::default(),
        }
    }
}

impl KafkaConfig {
    /// Encryption and login.
    pub(crate) fn security(&self) -> Security<'_> {
        Security { tls: self.tls.as_ref(), sasl: self.sasl.as_ref() }
    }
}

impl<'de> Deserialize<'de> for Rules {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Rules, D::Error> {
        struct ListOrSources;
        impl<'de> Visitor<'de> for ListOrSources {
            type Value = Rules;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of rules, or a map with `inline`, `files` and `kafka`")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Rules, A::Error> {
                let inline = Vec::deserialize(SeqAccessDeserializer::new(list))?;
                Ok(Rules { inline, files: Vec::new(), kafka: None, path: "rules" })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Rules, A::Error> {
                let Sources { inline, files, kafka } = Sources::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Rules { inline, files, kafka, path: "rules.inline" })
            }
        }
        deserializer.deserialize_any(ListOrSources)
    }
}

impl Config {
    /// The rules of the configuration that are enabled, each with its place in the list; what is wrong with
    /// them and with the keys beside them goes to `check`.
    pub(crate) fn check(&self, check: &mut Check<'_>) -> Vec<(usize, Rule)> {
        if self.rules.inline.is_empty() && self.rules.files.is_empty() && self.rules.kafka.is_none() {
            let why =
                "there are no rules: write some, or say where they are with `rules.files` or `rules.kafka`";
            check.wrong("rules", why);
        }
        if self.max_series == 0 {
            check.wrong("max_series", "`max_series` must be at least 1");
        }
        let mut names = BTreeMap::new();
        let mut checked = Vec::new();
        for (index, rule) in self.rules.inline.iter().enumerate() {
            let path = format!("{}[{index}]", self.rules.path);
            match names.entry(rule.name()) {
                Entry::Vacant(free) => drop(free.insert(index)),
                Entry::Occupied(first) => {
                    let (first, name) = (first.get() + 1, rule.name());
                    let message = format!("rule {first} has the name `{name}` too; names must differ");
                    check.wrong(&format!("{path}.name"), message);
                }
            }
            let rule_of_config = rule.check(check, &path).filter(|_| rule.is_enabled());
            checked.extend(rule_of_config.map(|rule| (index, rule)));
        }
        checked
    }
}
