//! Sections into types of every shape, and topologies that are right.

#![allow(missing_docs, clippy::unwrap_used, dead_code)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;
use weir_config::{
    ByteSize, Diagnostics, Document, Duration, LogFormat, LogLevel, PipelineSignal, Severity, SourceText,
    Topology,
};

fn load(text: &str) -> Document {
    Document::load(vec![SourceText::new("a.yaml", text)], &[], &|_| None).unwrap()
}

fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Diagnostics> {
    let document = load(text);
    document.read(document.root(), "")
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Window {
    None,
    Tumbling(Duration),
    Sliding { size: Duration, slide: Duration },
    Pair(u8, u8),
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum Tagged {
    File { path: String },
    Kafka { topic: String },
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// A condition may hold conditions: making one up must end.
#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Condition {
    Not(Box<Condition>),
    All(Vec<Condition>),
    Above(f64),
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Inner {
    limit: Option<ByteSize>,
    names: Vec<String>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Everything {
    window: Window,
    source: Tagged,
    hosts: OneOrMany,
    condition: Condition,
    inner: Inner,
    ports: BTreeMap<u16, bool>,
    point: (i8, f32),
    letter: char,
    largest: u64,
    smallest: i64,
    nothing: Option<u8>,
}

const EVERYTHING: &str = "window: {sliding: {size: 10s, slide: 1s}}\nsource: {type: file, path: /x}\nhosts: [a, b]\n\
    condition: {not: {all: [{above: 1}]}}\ninner:\nports: {80: true}\npoint: [-1, .5]\nletter: x\n\
    largest: 18446744073709551615\nsmallest: -9223372036854775808\nnothing: ~\n";

#[test]
fn every_shape_of_type_can_be_read() {
    let read: Everything = read(EVERYTHING).unwrap();
    assert_eq!(read.window, Window::Sliding { size: Duration::from_secs(10), slide: Duration::from_secs(1) });
    assert_eq!(read.source, Tagged::File { path: "/x".to_owned() });
    assert_eq!(read.hosts, OneOrMany::Many(vec!["a".to_owned(), "b".to_owned()]));
    assert_eq!(read.condition, Condition::Not(Box::new(Condition::All(vec![Condition::Above(1.0)]))));
    assert_eq!(read.inner, Inner::default());
    assert_eq!(read.ports, BTreeMap::from([(80, true)]));
    assert_eq!((read.point, read.letter), ((-1, 0.5), 'x'));
    assert_eq!((read.largest, read.smallest, read.nothing), (u64::MAX, i64::MIN, None));
}

#[test]
fn every_error_in_every_shape_is_found_at_once() {
    let wrong = "window: {tumblin: 7s}\nsource: {type: file, pth: /x}\nhosts: {a: 1}\ncondition: {above: high}\n\
        inner: {limits: 1, names: x}\nports: {eighty: true}\npoint: [1]\nletter: xy\nlargest: -1\n";
    let errors = read::<Everything>(wrong).unwrap_err();
    let found: Vec<(u32, &str)> =
        errors.iter().map(|error| (error.span.unwrap().line, error.path.as_str())).collect();
    assert_eq!(
        found,
        [
            (1, "smallest"),
            (1, "window"),
            (2, "source.path"),
            (2, "source.pth"),
            (3, "hosts"),
            (4, "condition.above"),
            (5, "inner.limits"),
            (5, "inner.names"),
            (6, "ports.eighty"),
            (7, "point"),
            (8, "letter"),
            (9, "largest"),
        ]
    );
}

#[test]
fn a_check_over_the_whole_section_is_not_blamed_for_other_errors() {
    #[derive(Debug, Deserialize)]
    #[serde(try_from = "Raw")]
    struct Range(u8, u8);
    #[derive(Deserialize)]
    struct Raw {
        low: u8,
        high: u8,
    }
    impl TryFrom<Raw> for Range {
        type Error = String;
        fn try_from(raw: Raw) -> Result<Self, String> {
            if raw.low < raw.high {
                Ok(Self(raw.low, raw.high))
            } else {
                Err("low must be below high".to_owned())
            }
        }
    }
    #[derive(Debug, Deserialize)]
    struct Outer {
        range: Range,
    }
    let messages = |text: &str| -> Vec<String> {
        read::<Outer>(text).unwrap_err().iter().map(|error| error.message.clone()).collect()
    };
    assert_eq!(messages("range: {low: 5, high: 4}\n"), ["low must be below high"]);
    assert_eq!(messages("range: {low: 5}\n"), ["missing key `high` in `range`"]);
    assert_eq!(
        messages("range: {low: 5, high: x}\n"),
        ["expected an integer from 0 to 255, found the string `x`"]
    );
}

#[test]
fn a_component_reports_its_own_errors_at_a_path() {
    let document = load(
        "receivers: {file: }\nexporters:\n  webhook/x:\n    rules:\n      - {when: a >}\n\
         service: {pipelines: {main: {receivers: [file], exporters: [webhook/x]}}}\n",
    );
    let topology = Topology::read(&document).unwrap();
    let error = document.error_at(&topology.exporters[0], "rules[0].when", "the expression ends too early");
    insta::assert_snapshot!(error.to_string(), @r###"
    error: the expression ends too early
     --> a.yaml:5:16
      |
    5 |       - {when: a >}
      |                ^^^
      = path: exporters.webhook/x.rules[0].when
    "###);
    let error = document.error_at(&topology.exporters[0], "url", "a URL is needed");
    assert_eq!(error.span.unwrap().line, 3);
}

#[test]
fn a_topology_keeps_order_and_settings() {
    let document = load(
        "receivers: {b: , a/1: {x: 1}}\nprocessors: {p: }\nexporters: {e: , unused: }\nextensions: {health: }\n\
         service:\n  extensions: [health]\n  telemetry: {metrics: {address: ''}, logs: {level: debug, format: json}}\n  \
         shutdown_timeout: 5s\n  dead_letter: {directory: /d, max_bytes: 1MiB}\n  pipelines:\n    \
         traces/x: {receivers: [a/1, b], processors: [p], exporters: [e]}\n    main: {receivers: [b], exporters: [e]}\n",
    );
    let topology = Topology::read(&document).unwrap();
    let ids: Vec<String> =
        topology.pipelines[0].receivers.iter().map(|reference| reference.id.to_string()).collect();
    assert_eq!(ids, ["a/1", "b"]);
    let signals: Vec<PipelineSignal> =
        topology.pipelines.iter().map(|pipeline| pipeline.id.signal()).collect();
    assert_eq!(signals, [PipelineSignal::Traces, PipelineSignal::Any]);
    assert_eq!(topology.receivers[1].path, "receivers.a/1");
    assert_eq!(document.read_section::<BTreeMap<String, u8>>(&topology.receivers[1]).unwrap()["x"], 1);
    assert_eq!(topology.started_extensions.len(), 1);
    let service = &topology.service;
    assert_eq!(service.telemetry.metrics.listen(), None);
    assert_eq!(
        (service.telemetry.logs.level, service.telemetry.logs.format),
        (LogLevel::Debug, LogFormat::Json)
    );
    assert_eq!(
        (service.shutdown_timeout, service.dead_letter.max_bytes),
        (Duration::from_secs(5), ByteSize::mib(1))
    );
    let warnings: Vec<(&str, Severity)> =
        topology.warnings.iter().map(|warning| (warning.message.as_str(), warning.severity)).collect();
    assert_eq!(warnings, [("exporter `unused` is configured but no pipeline uses it", Severity::Warning)]);
}

#[test]
fn service_settings_have_the_documented_defaults() {
    let document = load(
        "receivers: {a: }\nexporters: {e: }\nservice: {pipelines: {main: {receivers: [a], exporters: [e]}}}\n",
    );
    let service = Topology::read(&document).unwrap().service;
    assert_eq!(service.telemetry.metrics.listen(), Some("127.0.0.1:8888"));
    assert_eq!(
        (service.telemetry.logs.level, service.telemetry.logs.format),
        (LogLevel::Info, LogFormat::Auto)
    );
    assert_eq!(service.shutdown_timeout, Duration::from_secs(30));
    assert_eq!(
        (service.dead_letter.directory.as_str(), service.dead_letter.max_bytes),
        ("dead-letter", ByteSize::gib(1))
    );
}

/// Random trees whose keys often fit `Everything`.
fn tree() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("~".to_owned()),
        Just("7s".to_owned()),
        Just("file".to_owned()),
        Just("none".to_owned()),
        Just("true".to_owned()),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f32>().prop_map(|n| format!("'{n}'")),
        "[a-z]{1,3}",
    ];
    let key = prop_oneof![
        Just("window"),
        Just("source"),
        Just("hosts"),
        Just("condition"),
        Just("inner"),
        Just("ports"),
        Just("point"),
        Just("letter"),
        Just("largest"),
        Just("smallest"),
        Just("type"),
        Just("path"),
        Just("not"),
        Just("all"),
        Just("above"),
        Just("sliding"),
        Just("size"),
        Just("pair"),
        Just("names"),
        Just("limit"),
        Just("80"),
        Just("stranger"),
    ];
    let value = leaf.prop_recursive(5, 60, 6, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4)
                .prop_map(|items| format!("[{}]", items.join(", "))),
            proptest::collection::btree_map(key.clone(), inner, 0..9).prop_map(|map| {
                let entries: Vec<String> = map.iter().map(|(key, value)| format!("{key}: {value}")).collect();
                format!("{{{}}}", entries.join(", "))
            }),
        ]
    });
    value.prop_map(|value| format!("top: {value}\n"))
}

proptest! {
    #[test]
    fn reading_any_tree_ends_with_a_value_or_errors_that_point_somewhere(text in tree()) {
        let document = load(&text);
        let node = document.root().get("top").unwrap();
        if let Err(errors) = document.read::<Everything>(node, "top") {
            prop_assert!(errors.has_errors());
            let mut seen: Vec<String> = errors.iter().map(ToString::to_string).collect();
            let count = seen.len();
            seen.sort();
            seen.dedup();
            prop_assert_eq!(seen.len(), count, "an error is reported twice");
            for error in &errors {
                prop_assert!(error.excerpt.is_some());
            }
        }
    }
}
