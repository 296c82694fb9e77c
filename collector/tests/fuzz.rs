//! Configurations: any text is valid, or refused with messages.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use weir_config::{Document, SourceText};

#[test]
fn fuzz_configurations() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folders = [
        "examples",
        "examples/windows",
        "processors/aggregate/testdata",
        "processors/threshold/testdata",
        "processors/pattern/testdata",
        "receivers/otlp/testdata",
        "receivers/skywalking/testdata",
        "receivers/skywalking_kafka/testdata",
        "exporters/clickhouse/testdata",
        "exporters/webhook/testdata",
    ];
    let mut seeds = Vec::new();
    for folder in folders {
        for file in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = file.unwrap().path();
            if path.extension() == Some("yaml".as_ref()) {
                seeds.push(std::fs::read(path).unwrap());
            }
        }
    }
    let tokens = [
        "null",
        "~",
        "{",
        "}",
        "[",
        "]",
        "- ",
        ": ",
        "\n  ",
        "\n",
        "\"",
        "'",
        "|\n",
        "&a",
        "*a",
        "<<: *a",
        "!!str ",
        "? ",
        "#",
        "${env:X}",
        "${env:X:-y}",
        "$$",
        "${",
        "1h",
        "-1s",
        "99999999999GiB",
        "0x10",
        "1e999",
        ".nan",
        "\t",
        "---\n",
        "%YAML",
        "generator: ",
        "traces/a: ",
        "count > 1",
        "{{ service }}",
        "{% for",
    ];
    weir_fuzz::fuzz("configurations", &seeds, &tokens, |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        let checked = Document::load(vec![SourceText::new("weir.yaml", text)], &[], &|_| None)
            .and_then(|document| weir::graph::build(&document, &weir::components::STANDARD).map(drop));
        if let Err(errors) = checked {
            let shown = errors.to_string();
            assert!(shown.starts_with("error: ") || shown.starts_with("warning: "), "{shown}");
        }
    });
}
