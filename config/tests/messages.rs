//! The messages for the author of a wrong configuration.

#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;

use serde::Deserialize;
use weir_config::{ByteSize, Document, Duration, Secret, SourceText, Topology};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Kafka {
    brokers: Vec<String>,
    group_id: String,
    #[serde(default)]
    initial_offset: Offset,
    poll: Duration,
    batch: Option<Batch>,
    password: Option<Secret>,
    #[serde(default)]
    tls: bool,
    #[serde(default)]
    properties: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(dead_code)]
struct Batch {
    rows: u16,
    bytes: ByteSize,
    max_wait: Duration,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Offset {
    #[default]
    Latest,
    Earliest,
}

fn env(name: &str) -> Option<String> {
    match name {
        "LOTS" => Some("lots".to_owned()),
        "PASSWORD" => Some("hunter2".to_owned()),
        _ => None,
    }
}

fn load_error(text: &str) -> String {
    load_error_with(text, &[])
}

fn load_error_with(text: &str, sets: &[&str]) -> String {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    Document::load(vec![SourceText::new("gateway.yaml", text)], &sets, &env).unwrap_err().to_string()
}

fn topology_error(text: &str) -> String {
    let document = Document::load(vec![SourceText::new("gateway.yaml", text)], &[], &env).unwrap();
    Topology::read(&document).unwrap_err().to_string()
}

/// Reads the only receiver of a document as `Kafka`.
fn section_error(text: &str) -> String {
    let document = Document::load(vec![SourceText::new("gateway.yaml", text)], &[], &env).unwrap();
    let receivers = document.root().entry("receivers").unwrap();
    let entry = &receivers.value.entries().unwrap()[0];
    document.read::<Kafka>(&entry.value, &format!("receivers.{}", entry.key.text)).unwrap_err().to_string()
}

#[test]
fn an_unknown_key_names_the_nearest_and_all_valid_ones() {
    insta::assert_snapshot!(section_error("
receivers:
  kafka:
    brokerss: [\"localhost:9092\"]
    brokers: []
    group_id: weir
    poll: 1s
"), @r###"
    error: unknown key `brokerss`
     --> gateway.yaml:4:5
      |
    4 |     brokerss: ["localhost:9092"]
      |     ^^^^^^^^ did you mean `brokers`?
      = path: receivers.kafka.brokerss
      = help: valid keys: brokers, group_id, initial_offset, poll, batch, password, tls, properties
    "###);
}

#[test]
fn all_errors_of_a_section_come_at_once_and_only_real_ones() {
    insta::assert_snapshot!(section_error("
receivers:
  kafka:
    brokers: localhost:9092
    poll: 7
    initial_offset: latst
    tls: yes
    batch: {rows: 70000, bytes: 5XB, wait: 1s}
    properties: {linger.ms: [5]}
"), @r###"
    error: missing key `group_id` in `receivers.kafka`
     --> gateway.yaml:3:3
      |
    3 |   kafka:
      |   ^^^^^
      = path: receivers.kafka.group_id

    error: expected a list, found the string `localhost:9092`
     --> gateway.yaml:4:14
      |
    4 |     brokers: localhost:9092
      |              ^^^^^^^^^^^^^^
      = path: receivers.kafka.brokers
      = help: write `[localhost:9092]`

    error: `7` has no unit; write for example `7s` or `7ms`
     --> gateway.yaml:5:11
      |
    5 |     poll: 7
      |           ^
      = path: receivers.kafka.poll

    error: unknown choice `latst`
     --> gateway.yaml:6:21
      |
    6 |     initial_offset: latst
      |                     ^^^^^ did you mean `latest`?
      = path: receivers.kafka.initial_offset
      = help: choices: latest, earliest

    error: expected `true` or `false`, found the string `yes`
     --> gateway.yaml:7:10
      |
    7 |     tls: yes
      |          ^^^
      = path: receivers.kafka.tls
      = help: YAML 1.2 knows only `true` and `false`

    error: missing key `max_wait` in `receivers.kafka.batch`
     --> gateway.yaml:8:5
      |
    8 |     batch: {rows: 70000, bytes: 5XB, wait: 1s}
      |     ^^^^^
      = path: receivers.kafka.batch.max_wait

    error: expected an integer from 0 to 65535, found the integer `70000`
     --> gateway.yaml:8:19
      |
    8 |     batch: {rows: 70000, bytes: 5XB, wait: 1s}
      |                   ^^^^^
      = path: receivers.kafka.batch.rows

    error: `XB` in `5XB` is not a unit of size; use B, KiB, MiB, GiB, TiB, kB, MB, GB or TB
     --> gateway.yaml:8:33
      |
    8 |     batch: {rows: 70000, bytes: 5XB, wait: 1s}
      |                                 ^^^
      = path: receivers.kafka.batch.bytes

    error: unknown key `wait`
     --> gateway.yaml:8:38
      |
    8 |     batch: {rows: 70000, bytes: 5XB, wait: 1s}
      |                                      ^^^^
      = path: receivers.kafka.batch.wait
      = help: valid keys: rows, bytes, max_wait

    error: expected a string, found a list
     --> gateway.yaml:9:18
      |
    9 |     properties: {linger.ms: [5]}
      |                  ^^^^^^^^^
      = path: receivers.kafka.properties."linger.ms"
    "###);
}

#[test]
fn a_missing_key_points_at_its_section() {
    insta::assert_snapshot!(section_error("
receivers:
  kafka:
    brokers: []
"), @r###"
    error: missing key `group_id` in `receivers.kafka`
     --> gateway.yaml:3:3
      |
    3 |   kafka:
      |   ^^^^^
      = path: receivers.kafka.group_id

    error: missing key `poll` in `receivers.kafka`
     --> gateway.yaml:3:3
      |
    3 |   kafka:
      |   ^^^^^
      = path: receivers.kafka.poll
    "###);
}

#[test]
fn a_value_from_the_environment_names_its_variable() {
    insta::assert_snapshot!(section_error("
receivers:
  kafka: {brokers: [], group_id: a, poll: 1s, batch: {rows: \"${env:LOTS}\", bytes: 1KiB, max_wait: 1s}}
"), @r###"
    error: expected an integer from 0 to 65535, found the string `lots`
     --> gateway.yaml:3:61
      |
    3 |   kafka: {brokers: [], group_id: a, poll: 1s, batch: {rows: "${env:LOTS}", bytes: 1KiB, max_wait: 1s}}
      |                                                             ^^^^^^^^^^^^^
      = path: receivers.kafka.batch.rows
      = help: the value comes from the environment variable `LOTS`
    "###);
}

#[test]
fn a_secret_never_appears_in_a_message() {
    let message = section_error(
        "
receivers:
  kafka:
    brokers: []
    group_id: a
    poll: 1s
    password: [hunter2]
    properties: {sasl.password: [hunter2], client.id: [x]}
",
    );
    assert!(!message.contains("hunter2"), "{message}");
    insta::assert_snapshot!(message, @r###"
    error: expected a string, found a list
     --> gateway.yaml:7:5
      |
    7 |     password: [REDACTED]
      |     ^^^^^^^^
      = path: receivers.kafka.password

    error: expected a string, found a list
     --> gateway.yaml:8:18
      |
    8 |     properties: {sasl.password: [REDACTED]
      |                  ^^^^^^^^^^^^^
      = path: receivers.kafka.properties."sasl.password"

    error: expected a string, found a list
     --> gateway.yaml:8:44
      |
    8 |     properties: {sasl.password: [REDACTED]
      |                                 ^^^^^^^^^^
      = path: receivers.kafka.properties."client.id"
    "###);
}

#[test]
fn a_wrong_value_of_a_secret_key_is_not_shown_wherever_it_comes_from() {
    #[derive(Debug, Deserialize)]
    #[allow(dead_code)]
    struct Target {
        token: u16,
        secret: Duration,
        password: bool,
    }
    let text = "exporters:\n  webhook:\n    token: hunter2\n    secret:\n      hunter2\n    password: ${env:PASSWORD}\n";
    let document = Document::load(vec![SourceText::new("gateway.yaml", text)], &[], &env).unwrap();
    let node = document.root().get("exporters").unwrap().get("webhook").unwrap();
    let message = document.read::<Target>(node, "exporters.webhook").unwrap_err().to_string();
    assert!(!message.contains("hunter2"), "{message}");
    insta::assert_snapshot!(message, @r###"
    error: expected an integer from 0 to 65535, found a string
     --> gateway.yaml:3:12
      |
    3 |     token: [REDACTED]
      |            ^^^^^^^^^^
      = path: exporters.webhook.token

    error: this value is not valid
     --> gateway.yaml:5:7
      |
    5 |       [REDACTED]
      |       ^^^^^^^^^^
      = path: exporters.webhook.secret
      = help: the reason may hold the secret, so it is not shown

    error: expected `true` or `false`, found a string
     --> gateway.yaml:6:15
      |
    6 |     password: ${env:PASSWORD}
      |               ^^^^^^^^^^^^^^^
      = path: exporters.webhook.password
      = help: the value comes from the environment variable `PASSWORD`
    "###);
}

#[test]
fn a_section_that_is_no_map_says_so() {
    insta::assert_snapshot!(section_error("receivers:\n  kafka: localhost:9092\n"), @r###"
    error: expected a map, found the string `localhost:9092`
     --> gateway.yaml:2:10
      |
    2 |   kafka: localhost:9092
      |          ^^^^^^^^^^^^^^
      = path: receivers.kafka
    "###);
}

#[test]
fn an_unset_variable_is_named_and_underlined() {
    insta::assert_snapshot!(load_error("a: x-${env:HOME_SITE}-y\nb: ['${env:ALSO}', \"${site}\", '${env:1X:-a}', '${env:OPEN']\n"), @r###"
    error: the environment variable `HOME_SITE` is not set
     --> gateway.yaml:1:6
      |
    1 | a: x-${env:HOME_SITE}-y
      |      ^^^^^^^^^^^^^^^^
      = path: a
      = help: set it, or give a default: `${env:HOME_SITE:-default}`

    error: the environment variable `ALSO` is not set
     --> gateway.yaml:2:6
      |
    2 | b: ['${env:ALSO}', "${site}", '${env:1X:-a}', '${env:OPEN']
      |      ^^^^^^^^^^^
      = path: b[0]
      = help: set it, or give a default: `${env:ALSO:-default}`

    error: `${site}` is not a known reference
     --> gateway.yaml:2:21
      |
    2 | b: ['${env:ALSO}', "${site}", '${env:1X:-a}', '${env:OPEN']
      |                     ^^^^^^^
      = path: b[1]
      = help: write `${env:site}` for the environment variable, or `$${site}` for the text itself

    error: `1X` is not the name of an environment variable
     --> gateway.yaml:2:32
      |
    2 | b: ['${env:ALSO}', "${site}", '${env:1X:-a}', '${env:OPEN']
      |                                ^^^^^^^^^^^^
      = path: b[2]
      = help: a name begins with a letter or `_` and holds letters, digits and `_`; a default follows `:-`

    error: `${` is not closed
     --> gateway.yaml:2:48
      |
    2 | b: ['${env:ALSO}', "${site}", '${env:1X:-a}', '${env:OPEN']
      |                                                ^^^^^^^^^^
      = path: b[3]
      = help: close it with `}`, or write `$${` for the two characters
    "###);
}

#[test]
fn a_key_written_twice_is_an_error() {
    insta::assert_snapshot!(load_error("exporters:\n  file: {path: a}\n  file: {path: b}\n"), @r###"
    error: the key `file` is written twice in this map
     --> gateway.yaml:3:3
      |
    3 |   file: {path: b}
      |   ^^^^
      = help: the first is on line 2; remove one or merge them
    "###);
}

#[test]
fn broken_yaml_points_at_the_place() {
    insta::assert_snapshot!(load_error("exporters:\n\tfile: {}\n"), @r###"
    error: this is not valid YAML: tabs disallowed within this context (block indentation)
     --> gateway.yaml:2:2
      |
    2 |  file: {}
      |  ^
      = help: indent with spaces; YAML does not allow tabs there
    "###);
    insta::assert_snapshot!(load_error("exporters:\n  file: {path: a\nservice: {}\n"), @r###"
    error: this is not valid YAML: while parsing a flow mapping, did not find expected ',' or '}'
     --> gateway.yaml:3:8
      |
    3 | service: {}
      |        ^
    "###);
    insta::assert_snapshot!(load_error("a: 1\n---\nb: 2\n"), @r###"
    error: a second YAML document begins here; a file holds one
     --> gateway.yaml:2:1
      |
    2 | ---
      | ^^^
      = help: put it into a file of its own and give both with --config
    "###);
    insta::assert_snapshot!(load_error("- a\n"), @r###"
    error: a configuration must be a map, this is a list
     --> gateway.yaml:1:1
      |
    1 | - a
      | ^
      = help: begin with `receivers:`, `exporters:` and `service:`
    "###);
    insta::assert_snapshot!(load_error("a: !secret x\n? [b]\n: c\n"), @r###"
    error: this YAML tag is not known
     --> gateway.yaml:1:12
      |
    1 | a: !secret x
      |            ^
      = help: remove the tag; put text that begins with `!` into quotes

    error: a key must be text, found a list
     --> gateway.yaml:2:3
      |
    2 | ? [b]
      |   ^
      = help: put text that looks like something else into quotes
    "###);
}

#[test]
fn a_wrong_set_option_shows_itself() {
    insta::assert_snapshot!(load_error_with("a: {b: [1, 2], c: 5}\n", &["a.b", "a..c=1", "a.b.3=1", "a.c.d=1", "a.e={x: [}"]), @r###"
    error: --set needs `key.path=value`
     --> --set:1:1
      |
    1 | a.b
      | ^^^
      = help: for example `--set service.shutdown_timeout=10s`

    error: the path of --set has an empty key
     --> --set:1:1
      |
    1 | a..c=1
      | ^^^^
      = help: write keys with single dots between them; put a key that holds dots into double quotes

    error: `a.b` is a list of 2; `3` is not a position in it
     --> --set:1:1
      |
    1 | a.b.3=1
      | ^^^^^
      = help: use a number from 0 to 2 (2 appends)

    error: `a.c` is an integer, so it has no key `d`
     --> --set:1:1
      |
    1 | a.c.d=1
      | ^^^^^
      = help: replace it as a whole: --set 'a.c={d: ...}'

    error: this is not valid YAML: mismatched bracket '[' closed by '}'
     --> --set:1:9
      |
    1 | a.e={x: [}
      |         ^
    "###);
}

#[test]
fn many_values_that_are_written_are_no_bomb() {
    let rule = |index: usize| {
        let keys: String = (0..12).map(|key| format!(", k{key}: {index}")).collect();
        format!("- {{name: rule-{index}{keys}}}\n")
    };
    let text = format!("rules:\n{}", (0..10_000).map(rule).collect::<String>());
    let document = Document::load(vec![SourceText::new("rules.yaml", text)], &[], &|_| None).unwrap();
    let weir_config::Value::Map(root) = &document.root().value else { panic!("no map") };
    assert!(matches!(&root[0].value.value, weir_config::Value::Sequence(rules) if rules.len() == 10_000));
}

#[test]
fn a_yaml_bomb_is_rejected() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..10 {
        let below = level - 1;
        text.push_str(&format!("a{level}: &a{level} [{}]\n", vec![format!("*a{below}"); 10].join(", ")));
    }
    insta::assert_snapshot!(load_error(&text), @r###"
    error: the configuration is too large: anchors and aliases make more than 100000 values or 16777216 bytes here
     --> gateway.yaml:5:40
      |
    5 | a4: &a4 [*a3, *a3, *a3, *a3, *a3, *a3, *a3, *a3, *a3, *a3]
      |                                        ^^^
    "###);
    let deep = format!("a: {}{}\n", "[".repeat(70), "]".repeat(70));
    insta::assert_snapshot!(load_error(&deep), @r###"
    error: maps and lists are nested deeper than 64 here
     --> gateway.yaml:1:67
      |
    1 | a: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]
      |                                                                   ^
    "###);
}

#[test]
fn a_wrong_topology_shows_every_error_at_once() {
    insta::assert_snapshot!(topology_error("
recievers: {}
receivers:
  kafka/main: {}
  9lives: {}
processors:
  enrich: {}
exporters:
  click house: {}
  file: {}
service:
  pipeline: {}
  shutdown_timeout: 30
  telemetry: {logs: {level: loud}}
  pipelines:
    main:
      receivers: [kafka/mian, kafka/main, kafka/main]
      processors: enrich
      exporters: []
    second:
      receivers: [kafka/main]
      sinks: [file]
"), @r###"
    error: unknown key `recievers`
     --> gateway.yaml:2:1
      |
    2 | recievers: {}
      | ^^^^^^^^^ did you mean `receivers`?
      = path: recievers
      = help: valid keys: receivers, processors, exporters, extensions, service

    error: `9lives` is not a component type: it must begin with a letter and hold at most 63 letters, digits and `_`
     --> gateway.yaml:5:3
      |
    5 |   9lives: {}
      |   ^^^^^^
      = path: receivers.9lives

    error: `click house` is not a component type: it must begin with a letter and hold at most 63 letters, digits and `_`
     --> gateway.yaml:9:3
      |
    9 |   click house: {}
      |   ^^^^^^^^^^^
      = path: exporters.click house

    error: unknown key `pipeline`
      --> gateway.yaml:12:3
       |
    12 |   pipeline: {}
       |   ^^^^^^^^ did you mean `pipelines`?
       = path: service.pipeline
       = help: valid keys: extensions, pipelines, telemetry, shutdown_timeout, dead_letter, memory

    error: `30` has no unit; write for example `30s` or `30ms`
      --> gateway.yaml:13:21
       |
    13 |   shutdown_timeout: 30
       |                     ^^
       = path: service.shutdown_timeout

    error: unknown choice `loud`
      --> gateway.yaml:14:29
       |
    14 |   telemetry: {logs: {level: loud}}
       |                             ^^^^
       = path: service.telemetry.logs.level
       = help: choices: error, warn, info, debug, trace

    error: receiver `kafka/mian` is not configured
      --> gateway.yaml:17:19
       |
    17 |       receivers: [kafka/mian, kafka/main, kafka/main]
       |                   ^^^^^^^^^^ did you mean `kafka/main`?
       = path: service.pipelines.main.receivers[0]
       = help: configured receivers: kafka/main

    error: receiver `kafka/main` is named twice in this list
      --> gateway.yaml:17:43
       |
    17 |       receivers: [kafka/mian, kafka/main, kafka/main]
       |                                           ^^^^^^^^^^
       = path: service.pipelines.main.receivers[2]

    error: expected a list of processor ids, found a string
      --> gateway.yaml:18:19
       |
    18 |       processors: enrich
       |                   ^^^^^^
       = path: service.pipelines.main.processors
       = help: write `[enrich]`

    error: pipeline `main` has no exporter
      --> gateway.yaml:19:7
       |
    19 |       exporters: []
       |       ^^^^^^^^^
       = path: service.pipelines.main.exporters
       = help: configured exporters: file

    error: pipeline `second` has no exporter
      --> gateway.yaml:20:5
       |
    20 |     second:
       |     ^^^^^^
       = path: service.pipelines.second.exporters
       = help: configured exporters: file

    error: unknown key `sinks`
      --> gateway.yaml:22:7
       |
    22 |       sinks: [file]
       |       ^^^^^
       = path: service.pipelines.second.sinks
       = help: valid keys: receivers, processors, exporters
    "###);
}

#[test]
fn a_configuration_without_pipelines_is_an_error() {
    insta::assert_snapshot!(topology_error("receivers: {nop: }\n"), @r###"
    error: there is no `service` section
      = help: add `service: {pipelines: {main: {receivers: [...], exporters: [...]}}}`
    "###);
    insta::assert_snapshot!(topology_error("service:\n  pipelines:\n"), @r###"
    error: no pipeline is configured
     --> gateway.yaml:2:3
      |
    2 |   pipelines:
      |   ^^^^^^^^^
      = path: service.pipelines
      = help: add `main: {receivers: [...], processors: [...], exporters: [...]}` below `service.pipelines`
    "###);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = Document::files(&["/does/not/exist.yaml", "/proc"], &[]).unwrap_err();
    insta::assert_snapshot!(error.to_string(), @r###"
    error: cannot read the configuration file `/does/not/exist.yaml`: No such file or directory (os error 2)
      = help: check the path given with --config and that this user may read it

    error: cannot read the configuration file `/proc`: Is a directory (os error 21)
      = help: check the path given with --config and that this user may read it
    "###);
}
