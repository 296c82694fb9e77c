//! The YAML in the README of each component is what the program takes: each piece, completed by what it
//! lacks, is a valid configuration. `tests/tests/readme_examples.rs` runs those that talk to others.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::path::{Path, PathBuf};

use weir_config::{Document, SourceText};

#[path = "../../http/tests/support/mod.rs"]
#[allow(dead_code, reason = "the tests of exporters use the rest")]
mod certificates;

const KINDS: [&str; 4] = ["receivers", "processors", "exporters", "extensions"];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The YAML blocks of a page.
fn blocks(page: &str) -> Vec<String> {
    let parts = page.split("```yaml\n").skip(1);
    parts.map(|part| part.split("\n```").next().unwrap().to_owned() + "\n").collect()
}

/// The ids in a section of a configuration.
fn ids(document: &Document, section: &str) -> Vec<String> {
    let entries = document.root().entries().unwrap_or_default();
    let found = entries.iter().find(|entry| entry.key.text == section);
    let entries = found.and_then(|entry| entry.value.entries()).unwrap_or_default();
    entries.iter().map(|entry| entry.key.text.clone()).collect()
}

fn load(texts: Vec<String>) -> Result<Document, weir_config::Diagnostics> {
    let sources = texts.into_iter().enumerate();
    let sources = sources.map(|(at, text)| SourceText::new(format!("{at}.yaml"), text)).collect();
    Document::load(sources, &[], &|_| Some("x".to_owned()))
}

/// Components that pipelines of a page name without showing them.
const OTHERS: [(&str, &str, &str); 5] = [
    ("receivers", "skywalking_kafka", "{brokers: [localhost], group_id: weir}"),
    ("processors", "aggregate", "{window: {tumbling: 10s}, out_of_orderness: 5s}"),
    ("processors", "threshold", "{rules: {inline: [{name: a, when: {high: 'count > 1'}, message: a}]}}"),
    ("exporters", "clickhouse", "{endpoint: 'http://localhost:8123', database: weir}"),
    ("exporters", "webhook", "{url: 'http://localhost:9093'}"),
];

/// What a piece needs to be a whole configuration.
fn rest(piece: &Document, block: &str) -> String {
    let [mut receivers, processors, mut exporters, extensions] = KINDS.map(|kind| ids(piece, kind));
    let pipelines = block.split_once("pipelines:").map_or("", |(_, pipelines)| pipelines);
    let named = |list: &str, id: &str| {
        let mut names = list.split([',', '[', ']', ' ', '}']);
        names.any(|name| name == id)
    };
    let mut text = String::new();
    for kind in KINDS {
        let missing = OTHERS.iter().filter(|(of, id, _)| {
            *of == kind && named(pipelines, id) && !ids(piece, kind).iter().any(|known| known == id)
        });
        let missing: Vec<String> = missing.map(|(_, id, keys)| format!("  {id}: {keys}\n")).collect();
        if !missing.is_empty() {
            text += &format!("{kind}:\n{}", missing.concat());
        }
    }
    if !pipelines.is_empty() {
        return text;
    }
    if receivers.is_empty() {
        text += "receivers: {generator: {}}\n";
        receivers.push("generator".to_owned());
    }
    if exporters.is_empty() {
        text += "exporters: {nop: {}}\n";
        exporters.push("nop".to_owned());
    }
    let service = ids(piece, "service");
    text += "service:\n";
    if !service.iter().any(|key| key == "extensions") {
        text += &format!("  extensions: [{}]\n", extensions.join(", "));
    }
    if !service.iter().any(|key| key == "pipelines") {
        let [receivers, processors, exporters] = [receivers, processors, exporters].map(|ids| ids.join(", "));
        text += &format!(
            "  pipelines: {{main: {{receivers: [{receivers}], processors: [{processors}], exporters: [{exporters}]}}}}\n"
        );
    }
    text
}

#[test]
fn the_yaml_in_the_readme_of_each_component_is_valid() {
    let certificates = certificates::Certificates::make("readme");
    for name in ["clients.pem", "bank-ca.pem"] {
        std::fs::copy(certificates.path("ca.pem"), certificates.path(name)).unwrap();
    }
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for kind in KINDS {
        for component in std::fs::read_dir(root().join(kind)).unwrap() {
            let page = component.unwrap().path().join("README.md");
            let Ok(text) = std::fs::read_to_string(&page) else { continue };
            for (number, block) in blocks(&text).into_iter().enumerate() {
                let block = block.replace("/etc/weir/", &certificates.path(""));
                let of_weir = |line: &str| KINDS.iter().any(|kind| line.starts_with(kind));
                if !block.lines().any(of_weir) {
                    // Kubernetes' or another program's.
                    continue;
                }
                seen += 1;
                let checked = load(vec![block.clone()]).and_then(|piece| {
                    let whole = load(vec![block.clone(), rest(&piece, &block)])?;
                    weir::graph::build(&whole, &weir::components::STANDARD).map(drop)
                });
                if let Err(errors) = checked {
                    wrong.push(format!("{}, block {}:\n{errors}", page.display(), number + 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(seen > 20, "{seen} blocks");
}
