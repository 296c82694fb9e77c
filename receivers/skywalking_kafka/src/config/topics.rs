//! `topics`, `mirrormaker` and `create_topics`: which topics there are, and how they are named.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, Deserializer, SeqAccess, Visitor};

use crate::topics::Content;

/// What topics are named, by what they have, when nothing else is said.
const DEFAULTS: [(&str, Content, &str); 7] = [
    ("segments", Content::Segments, "skywalking-segments"),
    ("metrics", Content::Metrics, "skywalking-metrics"),
    ("meters", Content::Meters, "skywalking-meters"),
    ("logs", Content::Logs, "skywalking-logs"),
    ("logs_json", Content::LogsJson, "skywalking-logs-json"),
    ("managements", Content::Managements, "skywalking-managements"),
    ("profilings", Content::Profilings, "skywalking-profilings"),
];

/// `topics`: the topics to read. Without it, segments are read.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Topics {
    segments: Names,
    metrics: Names,
    meters: Names,
    logs: Names,
    logs_json: Names,
    managements: Names,
    profilings: Names,
}

/// The topics of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
enum Names {
    /// None: what is not listed is not read.
    #[default]
    NotListed,
    /// `false`.
    No,
    /// `true`: the one that agents write to by default.
    Default,
    /// These.
    Some(Vec<String>),
}

impl Default for Topics {
    fn default() -> Topics {
        let none = || Names::NotListed;
        Topics {
            segments: none(),
            metrics: none(),
            meters: none(),
            logs: none(),
            logs_json: none(),
            managements: none(),
            profilings: none(),
        }
    }
}

impl Topics {
    fn names(&self) -> [&Names; 7] {
        let Topics { segments, metrics, meters, logs, logs_json, managements, profilings } = self;
        [segments, metrics, meters, logs, logs_json, managements, profilings]
    }

    /// The key, the content and the name of each topic to read.
    pub(crate) fn listed(&self) -> impl Iterator<Item = (&'static str, Content, &str)> {
        let names = self.names();
        let nothing = names.iter().all(|names| **names == Names::NotListed);
        let each = DEFAULTS.into_iter().zip(names).map(move |((key, content, default), names)| {
            let names: Vec<&str> = match names {
                Names::NotListed if nothing && content == Content::Segments => vec![default],
                Names::NotListed | Names::No => Vec::new(),
                Names::Default => vec![default],
                Names::Some(names) => names.iter().map(String::as_str).collect(),
            };
            (key, content, names)
        });
        each.flat_map(|(key, content, names)| names.into_iter().map(move |name| (key, content, name)))
    }

    /// The name of each topic to read, and the default ones of the other kinds that the Java agent looks for.
    pub(crate) fn with_defaults(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.listed().map(|(_, _, name)| name).collect();
        for (_, content, default) in DEFAULTS {
            let is_read = self.listed().any(|(_, of, _)| of == content);
            if !is_read && content != Content::LogsJson {
                names.push(default);
            }
        }
        names
    }
}

/// `true`, `false`, a name, or a list of names.
impl<'de> Deserialize<'de> for Names {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Names, D::Error> {
        struct Form;
        impl<'de> Visitor<'de> for Form {
            type Value = Names;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a topic, a list of names, or `true` for the agents' default name")
            }

            fn visit_bool<E: de::Error>(self, read: bool) -> Result<Names, E> {
                Ok(if read { Names::Default } else { Names::No })
            }

            fn visit_str<E: de::Error>(self, name: &str) -> Result<Names, E> {
                Ok(Names::Some(vec![name.to_owned()]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Names, A::Error> {
                let mut names = Vec::new();
                while let Some(name) = list.next_element()? {
                    names.push(name);
                }
                Ok(Names::Some(names))
            }
        }
        deserializer.deserialize_any(Form)
    }
}

/// `mirrormaker`: how MirrorMaker 2 names the topics that it copies.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MirrorMaker {
    /// The alias of the source cluster.
    pub(crate) alias: String,
    /// What stands between it and the topic's name.
    #[serde(default = "dot")]
    pub(crate) separator: String,
}

impl MirrorMaker {
    /// What stands before the names of topics.
    pub(crate) fn prefix(&self) -> String {
        format!("{}{}", self.alias, self.separator)
    }
}

fn dot() -> String {
    ".".to_owned()
}

/// `create_topics`: `true`, `false`, or how.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(untagged)]
pub(crate) enum CreateTopics {
    /// Not at all.
    #[default]
    #[serde(skip)]
    No,
    /// `true` or `false`.
    Plain(bool),
    /// With these numbers.
    With(NewTopics),
}

/// Topics that are made.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct NewTopics {
    /// Partitions of each.
    pub(crate) partitions: i32,
    /// Replicas of each partition; `None`: as the brokers do by default.
    pub(crate) replication: Option<i32>,
}

impl Default for NewTopics {
    fn default() -> NewTopics {
        NewTopics { partitions: 3, replication: None }
    }
}

impl CreateTopics {
    /// How topics are made, if at all.
    pub(crate) fn wanted(self) -> Option<NewTopics> {
        match self {
            CreateTopics::No | CreateTopics::Plain(false) => None,
            CreateTopics::Plain(true) => Some(NewTopics::default()),
            CreateTopics::With(how) => Some(how),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;
    use weir_config::{Document, SourceText};

    fn config(yaml: &str) -> Config {
        let text = format!("brokers: [\"a:9092\"]\n{yaml}");
        let document = Document::load(vec![SourceText::new("test.yaml", text)], &[], &|_| None).unwrap();
        document.read(document.root(), "").unwrap()
    }

    fn read(yaml: &str) -> Vec<String> {
        config(yaml).topic_set().iter().map(|topic| topic.name.to_string()).collect()
    }

    #[test]
    fn only_listed_topics_are_read_and_segments_when_none_is() {
        assert_eq!(read(""), ["skywalking-segments"]);
        assert_eq!(read("topics: {}"), ["skywalking-segments"]);
        assert_eq!(read("topics: {segments: s}"), ["s"]);
        assert_eq!(read("topics: {logs: true, metrics: m}"), ["m", "skywalking-logs"]);
        assert_eq!(
            read("topics: {segments: true, logs: [skywalking-logs, skywalking-logging], meters: false}"),
            ["skywalking-segments", "skywalking-logs", "skywalking-logging"]
        );
        assert_eq!(config("topics: {meters: false}").problems(0)[0].0, "topics");
        assert_eq!(config("topics: {meters: x, metrics: x}").problems(0)[0].0, "topics.meters");
    }

    #[test]
    fn the_namespace_and_the_mirror_stand_before_the_names() {
        assert_eq!(read("namespace: bj"), ["bj-skywalking-segments"]);
        assert_eq!(read("mirrormaker: {alias: dc1}"), ["dc1.skywalking-segments"]);
        let both = "namespace: bj\nmirrormaker: {alias: dc1, separator: _}\ntopics: {meters: true}";
        assert_eq!(read(both), ["dc1_bj-skywalking-meters"]);
    }

    #[test]
    fn the_java_agent_finds_all_topics_that_it_looks_for() {
        let create = |yaml: &str| config(yaml).topics_to_create();
        let all = ["segments", "metrics", "meters", "logs", "managements", "profilings"];
        assert_eq!(create("create_topics: true"), all.map(|name| format!("skywalking-{name}")));
        let named = create("namespace: n\ntopics: {logs: [a, b], logs_json: true}");
        assert_eq!(named[..3], ["n-a", "n-b", "n-skywalking-logs-json"]);
        assert_eq!(named.len(), 3 + 5);
        let how =
            |yaml: &str| config(yaml).create_topics.wanted().map(|how| (how.partitions, how.replication));
        assert_eq!(how("create_topics: {partitions: 12, replication: 2}"), Some((12, Some(2))));
        assert_eq!((how("create_topics: true"), how("create_topics: false")), (Some((3, None)), None));
        assert_eq!(config("create_topics: true\nmirrormaker: {alias: a}").problems(0)[0].0, "create_topics");
    }

    #[test]
    fn a_time_to_begin_at_is_read() {
        use crate::config::InitialOffset;
        let config = config("initial_offset: {timestamp: 2026-11-01T00:00:00Z}");
        assert_eq!(config.initial_offset, InitialOffset::Timestamp(1_793_491_200_000));
    }
}
