//! `collector/tests/config_keys.txt` has every key of every component's section, as the program takes them.
//! `scripts/check-docs` compares it with the key tables of the READMEs, in both directions.
//! `WEIR_BLESS=1 cargo test -p weir --test config_keys` writes it again.
//!
//! The keys are found by asking: a section with an unknown key is an error that lists the valid ones. Below
//! each of them the same is done with a map and with a list of one map. Keys that a type chooses itself, such
//! as the names of measures, are not found, and neither are those of an untagged choice.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fmt::Write;
use std::path::Path;

use weir_config::{Document, SourceText};

/// No component has a key of this name, or one that is near it.
const UNKNOWN: &str = "qqqqqqqqqqqqqqqqqqqq";

/// The keys that the error of the unknown key in `section` lists; none when it is no error there.
fn valid_keys(kind: &str, component: &str, section: &str) -> Vec<String> {
    let mut text = String::new();
    for (title, standard) in
        [("receivers", "generator: "), ("processors", ""), ("exporters", "nop: "), ("extensions", "")]
    {
        let probe = if title == kind { format!("{component}/probe: {section}") } else { String::new() };
        let _ =
            writeln!(text, "{title}: {{{standard}{}{probe}}}", if standard.is_empty() { "" } else { ", " });
    }
    text += "service: {pipelines: {main: {receivers: [generator], exporters: [nop]}}}\n";
    let document = Document::load(vec![SourceText::new("probe.yaml", text)], &[], &|_| None).unwrap();
    let Err(errors) = weir::graph::build(&document, &weir::components::STANDARD) else { return Vec::new() };
    let error = errors.iter().find(|error| error.message.contains(UNKNOWN));
    let lists = error.into_iter().flat_map(|error| &error.help);
    let keys = lists.filter_map(|help| help.strip_prefix("valid keys: "));
    keys.flat_map(|keys| keys.split(", ")).map(str::to_owned).collect()
}

/// Notes the keys of the section below `path`, which is written as `open` and `close` around it.
fn note(kind: &str, component: &str, path: &str, [open, close]: [&str; 2], found: &mut Vec<String>) {
    let mut keys = valid_keys(kind, component, &format!("{open}{{{UNKNOWN}: 1}}{close}"));
    keys.sort();
    for key in keys {
        let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        found.push(below.clone());
        let (map, close_map) = (format!("{open}{{{key}: "), format!("}}{close}"));
        note(kind, component, &below, [&map, &close_map], found);
        let (list, close_list) = (format!("{map}["), format!("]{close_map}"));
        note(kind, component, &format!("{below}[]"), [&list, &close_list], found);
    }
}

#[test]
fn the_list_of_keys_is_the_one_that_the_components_take() {
    let registry = &weir::components::STANDARD;
    let mut kinds: Vec<(&str, &str)> = Vec::new();
    kinds.extend(registry.receivers.iter().map(|factory| ("receivers", factory.info.kind)));
    kinds.extend(registry.processors.iter().map(|factory| ("processors", factory.info.kind)));
    kinds.extend(registry.exporters.iter().map(|factory| ("exporters", factory.info.kind)));
    kinds.extend(registry.extensions.iter().map(|factory| ("extensions", factory.info.kind)));
    let mut text = String::new();
    for (kind, component) in kinds {
        let mut keys = Vec::new();
        note(kind, component, "", ["", ""], &mut keys);
        let _ = writeln!(text, "{kind}/{component}");
        for key in keys {
            let _ = writeln!(text, "  {key}");
        }
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config_keys.txt");
    if std::env::var_os("WEIR_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), text);
}
