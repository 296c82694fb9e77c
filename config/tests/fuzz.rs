//! YAML: any text is a document, or refused with messages.
#![allow(missing_docs, clippy::unwrap_used)]

use weir_config::{Document, SourceText, Topology, print_config};

#[test]
fn fuzz_yaml() {
    let seeds = [
        "receivers:\n  a: {b: 1, c: [x, 'y', \"z\"]}\nservice:\n  pipelines:\n    main: {receivers: [a], exporters: []}\n",
        "a: &x\n  - 1.5\n  - ~\nb: *x\nc: |\n  text\n  more\nd: >-\n  folded\n",
        "a: ${env:A:-1}\nb: \"$${c}\"\n? complex\n: !!str 1\n",
    ];
    let seeds = seeds.map(|seed| seed.as_bytes().to_vec());
    let tokens = [
        "&a",
        "*a",
        "<<: *a",
        "- ",
        ": ",
        "\n",
        "\n  ",
        "|",
        ">",
        "{",
        "}",
        "[",
        "]",
        "? ",
        "!!map ",
        "\t",
        "#",
        "---",
        "...",
        "${env:A}",
        "${env:A:-${env:B}}",
        "$$",
        "\"\\x",
        "'",
        "\u{feff}",
        "\u{2028}",
        ".inf",
        "0o7",
        "1_000",
        "2026-01-01",
    ];
    weir_fuzz::fuzz("yaml", &seeds, &tokens, |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        let value = |name: &str| (name == "A").then(|| "a: [1, 2]".to_owned());
        let set = ["x.y=1".to_owned()];
        let Ok(document) = Document::load(vec![SourceText::new("a.yaml", text)], &set, &value) else {
            return;
        };
        let (_, errors) = Topology::examine(&document);
        drop(errors.to_string());
        drop(print_config(&document, true));
    });
}
