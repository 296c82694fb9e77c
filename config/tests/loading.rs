//! Merge, `--set`, expansion; and that no text makes loading panic.

#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;
use weir_config::{Document, SourceText, Topology, Typed, Value, print_config};

fn env(name: &str) -> Option<String> {
    match name {
        "N" => Some("5".to_owned()),
        "ZEROS" => Some("0123".to_owned()),
        "LIST" => Some("[a, 'b c']".to_owned()),
        "MAP" => Some("{x: 1}".to_owned()),
        "DOLLAR" => Some("$$x${env:N}".to_owned()),
        "EMPTY" => Some(String::new()),
        "LINES" => Some("one\ntwo: [".to_owned()),
        _ => None,
    }
}

fn load(texts: &[&str], sets: &[&str]) -> Document {
    let sources = texts
        .iter()
        .enumerate()
        .map(|(index, text)| SourceText::new(format!("{index}.yaml"), *text))
        .collect();
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    Document::load(sources, &sets, &env).unwrap()
}

fn printed(texts: &[&str], sets: &[&str]) -> String {
    print_config(&load(texts, sets), false)
}

fn read<T: serde::de::DeserializeOwned>(text: &str) -> T {
    let document = load(&[text], &[]);
    document.read(document.root(), "").unwrap_or_else(|error| panic!("{error}"))
}

#[test]
fn maps_merge_and_everything_else_is_replaced() {
    let base = "a: {x: 1, m: {z: [1, 2]}}\nb: [1, 2]\nc: text\n";
    let over = "a: {m: {z: [3], w: 4}}\nb: [9]\nc: {now: map}\nd: new\n";
    assert_eq!(
        printed(&[base, over], &[]),
        "a:\n  x: 1\n  m:\n    z:\n      - 3\n    w: 4\nb:\n  - 9\nc:\n  now: map\nd: new\n"
    );
}

#[test]
fn a_null_map_in_a_later_file_wipes_nothing_but_a_null_scalar_replaces() {
    assert_eq!(
        printed(&["processors: {enrich: {a: 1}}\nx: 1\n", "processors:\nx:\n"], &[]),
        "processors:\n  enrich:\n    a: 1\nx: null\n"
    );
}

#[test]
fn a_value_that_is_replaced_is_never_expanded() {
    assert_eq!(printed(&["a: '${env:UNSET}'\n", "a: 1\n"], &[]), "a: 1\n");
}

#[test]
fn set_is_applied_last_with_yaml_values() {
    let base = "a: {b: {c: 1}, list: [1, {x: 2}]}\n";
    assert_eq!(
        printed(
            &[base],
            &["a.b.c=two", "a.list.1.x=[3]", "a.list.2=last", "a.b={d: 5}", "new.\"e.w\".k=null", "t=a=b"]
        ),
        "a:\n  b:\n    c: two\n    d: 5\n  list:\n    - 1\n    - x:\n        - 3\n    - last\nnew:\n  e.w:\n    k: null\nt: \"a=b\"\n"
    );
}

#[test]
fn set_creates_component_sections_by_id() {
    assert_eq!(
        printed(&[""], &["exporters.file/out.path=${env:N}"]),
        "exporters:\n  file/out:\n    path: 5\n"
    );
}

#[test]
fn a_substituted_value_gets_the_type_the_field_wants() {
    #[derive(Deserialize)]
    struct Target {
        integer: u8,
        text: String,
        zeros: String,
        list: Vec<String>,
        map: BTreeMap<String, u8>,
        option: Option<String>,
        empty: String,
        joined: String,
        quoted: u8,
    }
    let target: Target = read(
        "integer: ${env:N}\ntext: ${env:N}\nzeros: ${env:ZEROS}\nlist: ${env:LIST}\nmap: ${env:MAP}\n\
         option: ${env:EMPTY}\nempty: ${env:EMPTY}\njoined: a-${env:N}-${env:UNSET:-b}\nquoted: '${env:N}'\n",
    );
    assert_eq!((target.integer, target.quoted), (5, 5));
    assert_eq!((target.text.as_str(), target.zeros.as_str()), ("5", "0123"));
    assert_eq!(target.list, ["a", "b c"]);
    assert_eq!(target.map, BTreeMap::from([("x".to_owned(), 1)]));
    assert_eq!((target.option, target.empty.as_str()), (None, ""));
    assert_eq!(target.joined, "a-5-b");
}

#[test]
fn defaults_apply_only_when_the_variable_is_not_set_and_may_nest() {
    let texts: Vec<String> = read::<BTreeMap<String, Vec<String>>>(
        "a: ['${env:EMPTY:-x}', '${env:U:-x}', '${env:U:-}', '${env:U:-${env:N}}', '${env:U:-${env:V:-{deep}}}', '${env:U:-a:-b}']\n",
    )
    .remove("a")
    .unwrap();
    assert_eq!(texts, ["", "x", "", "5", "{deep}", "a:-b"]);
}

#[test]
fn dollars_are_literal_when_doubled_or_alone_and_in_variables() {
    let texts: BTreeMap<String, String> =
        read("a: $${env:N}\nb: cost $5\nc: $$$$\nd: ${env:DOLLAR}\ne: ${env:LINES}\n");
    let texts: Vec<&str> = texts.values().map(String::as_str).collect();
    assert_eq!(texts, ["${env:N}", "cost $5", "$$", "$$x${env:N}", "one\ntwo: ["]);
}

#[test]
fn text_fields_take_any_scalar_as_it_is_written() {
    let texts: BTreeMap<String, String> = read("a: no\nb: 1.10\nc: true\nd: 'x'\ne: 0x1F\nf: !!str 5\n");
    let texts: Vec<&str> = texts.values().map(String::as_str).collect();
    assert_eq!(texts, ["no", "1.10", "true", "x", "0x1F", "5"]);
}

#[test]
fn plain_scalars_have_the_types_of_yaml_1_2() {
    let document = load(
        &["[1, -2, 0x1f, 0o17, 1.5, 1e3, .inf, true, no, 1_000, '1', 2001-01-01, 18446744073709551616]\n"
            .replace('[', "a: [")
            .as_str()],
        &[],
    );
    let types: Vec<Typed> = document
        .root()
        .get("a")
        .unwrap()
        .items()
        .unwrap()
        .iter()
        .map(|item| match &item.value {
            Value::Scalar(scalar) => scalar.typed(),
            other => panic!("{other:?}"),
        })
        .collect();
    use Typed::{Bool, Float, Integer, String as Text};
    assert_eq!(
        types,
        [
            Integer(1),
            Integer(-2),
            Integer(31),
            Integer(15),
            Float(1.5),
            Float(1000.0),
            Float(f64::INFINITY),
            Bool(true),
            Text,
            Text,
            Text,
            Text,
            Float(18_446_744_073_709_551_616.0)
        ]
    );
}

#[test]
fn anchors_aliases_and_merge_keys_are_expanded() {
    assert_eq!(
        printed(&["base: &base {a: 1, b: 2}\nover:\n  <<: *base\n  b: 3\nlist: [*base]\n"], &[]),
        "base:\n  a: 1\n  b: 2\nover:\n  b: 3\n  a: 1\nlist:\n  - a: 1\n    b: 2\n"
    );
}

#[test]
fn nodes_and_keys_know_where_they_are() {
    let document = load(&["a:\n  key: {b: [1, word]}\n"], &[]);
    let entry = document.root().get("a").unwrap().entry("key").unwrap();
    assert_eq!((entry.key.span.line, entry.key.span.column, entry.key.span.length), (2, 3, 3));
    let word = &entry.value.get("b").unwrap().items().unwrap()[1];
    assert_eq!((word.span.line, word.span.column, word.span.length), (2, 16, 4));
}

#[test]
fn printing_redacts_what_secret_keys_hold_wherever_it_came_from() {
    let text = "exporters:\n  kafka:\n    properties: {sasl.password: '${env:N}', ssl.key.location: /k}\n    tokens: [a, {x: b}]\n    \
                url: http://user:pass@h:1/p?access_token=abc&x=1\n    header: $$5\n    api_key:\n  \
                webhook: {url: 'https://open.feishu.cn/open-apis/bot/v2/hook/t0k', headers: {x-robot: t0k}}\n  \
                other: {endpoint: 'https://h/send?key=t0k', properties: {sasl.oauthbearer.config: 'principal=weir clientSecret=t0k'}}\n";
    let document = load(&[text], &[]);
    insta::assert_snapshot!(print_config(&document, true), @r###"
    exporters:
      kafka:
        properties:
          sasl.password: "[REDACTED]"
          ssl.key.location: /k
        tokens:
          - "[REDACTED]"
          - x: "[REDACTED]"
        url: "http://user:[REDACTED]@h:1/[REDACTED]"
        header: "$$5"
        api_key: null
      webhook:
        url: "https://open.feishu.cn/[REDACTED]"
        headers:
          x-robot: "[REDACTED]"
      other:
        endpoint: "https://h/send?key=[REDACTED]"
        properties:
          sasl.oauthbearer.config: "[REDACTED]"
    "###);
    assert!(print_config(&document, false).contains("pass@h"));
}

#[test]
fn byte_order_marks_and_windows_line_ends_do_no_harm() {
    assert_eq!(printed(&["\u{feff}a: 1\r\nb:\r\n  - x\r\n"], &[]), "a: 1\nb:\n  - x\n");
    assert_eq!(printed(&["", "# only a comment\n", "---\n"], &[]), "{}\n");
}

#[test]
fn debug_output_shows_no_values() {
    let document = load(&["exporters: {kafka: {password: hunter2}}\n"], &["exporters.kafka.token=hunter2"]);
    assert!(!format!("{document:?}").contains("hunter2"));
}

/// Texts that look like configurations, so that random ones get past the parser.
fn yaml() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        Just("receivers".to_owned()),
        Just("service".to_owned()),
        Just("pipelines".to_owned()),
        Just("kafka/a".to_owned()),
        Just("${env:N}".to_owned()),
        Just("$".to_owned()),
        Just("&a".to_owned()),
        Just("*a".to_owned()),
        Just("<<".to_owned()),
        Just(": ".to_owned()),
        Just("\n".to_owned()),
        Just("\n  ".to_owned()),
        Just("- ".to_owned()),
        Just("[".to_owned()),
        Just("]".to_owned()),
        Just("{".to_owned()),
        Just("}".to_owned()),
        Just(", ".to_owned()),
        Just("'".to_owned()),
        Just("!!str ".to_owned()),
        Just("|\n".to_owned()),
        Just("password".to_owned()),
        "[a-z0-9:\"#\t]{0,6}",
        ".{0,3}",
    ];
    proptest::collection::vec(word, 0..40).prop_map(|words| words.concat())
}

/// Trees printed and loaded again.
fn tree() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        "[-a-z0-9.]{1,6}".prop_map(|text| format!("'{text}'")),
        any::<i32>().prop_map(|n| n.to_string()),
        "[^\\p{C}]{0,8}".prop_map(|text| format!("'{}'", text.replace('\'', "''").replace('$', "$$")))
    ];
    let value = leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5)
                .prop_map(|items| format!("[{}]", items.join(", "))),
            proptest::collection::btree_map("[a-z$. ]{1,5}", inner, 0..5).prop_map(|map| {
                let entries: Vec<String> =
                    map.iter().map(|(key, value)| format!("'{key}': {value}")).collect();
                format!("{{{}}}", entries.join(", "))
            }),
        ]
    });
    value.prop_map(|value| format!("top: {value}\n"))
}

proptest! {
    #[test]
    fn loading_any_text_ends_without_panic(text in prop_oneof![yaml(), ".{0,80}"], set in prop_oneof![yaml(), "[a-c.\"=0-9]{0,12}"]) {
        match Document::load(vec![SourceText::new("a", text.clone()), SourceText::new("b", "receivers: {kafka/a: {}}\n")], &[set], &env) {
            Err(errors) => prop_assert!(errors.has_errors() && !errors.to_string().is_empty()),
            Ok(document) => {
                if let Err(errors) = Topology::read(&document) {
                    prop_assert!(errors.has_errors() && !errors.to_string().is_empty());
                }
                let _ = print_config(&document, true);
            }
        }
    }

    #[test]
    fn a_printed_configuration_loads_to_itself(text in tree()) {
        let once = printed(&[&text], &[]);
        prop_assert_eq!(printed(&[&once], &[]), once);
    }
}
