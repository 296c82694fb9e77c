//! `docs/windows.md` and `examples/windows/` say what the program does: every example gives the rows of its
//! `.expected.jsonl`, and the page shows settings and rows of the examples.
//! `WEIR_BLESS=1 cargo test -p weir --test windows_examples` writes the expected rows again; check them by
//! hand against `docs/semantics.md` §1.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use weir_config::Document;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn folder() -> PathBuf {
    root().join("examples/windows")
}

fn page() -> String {
    std::fs::read_to_string(root().join("docs/windows.md")).unwrap()
}

/// The names of all files in the folder that end so, without that end.
fn files(end: &str) -> BTreeSet<String> {
    let names = std::fs::read_dir(folder()).unwrap().map(|file| file.unwrap().file_name());
    names.filter_map(|name| Some(name.to_str().unwrap().strip_suffix(end)?.to_owned())).collect()
}

fn rows(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn expected(name: &str) -> Vec<Value> {
    let path = folder().join(name).with_extension("expected.jsonl");
    rows(&std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// The output of the program, started as the head of the example says: from the root of the repository, or
/// from its folder.
fn run(name: &str) -> String {
    let place = tempfile::tempdir().unwrap();
    let examples = place.path().join("examples/windows");
    std::fs::create_dir_all(&examples).unwrap();
    for end in ["yaml", "jsonl"] {
        let file = format!("{name}.{end}");
        std::fs::copy(folder().join(&file), examples.join(&file)).unwrap();
    }
    let text = std::fs::read_to_string(examples.join(format!("{name}.yaml"))).unwrap();
    let from_root = format!("weir run --exit-on-end -c examples/windows/{name}.yaml");
    let from_folder = format!("weir run --exit-on-end --config {name}.yaml");
    let (start, argument, output) = if text.contains(&from_root) {
        (place.path(), format!("examples/windows/{name}.yaml"), "out.jsonl".to_owned())
    } else {
        assert!(text.contains(&from_folder), "{name}.yaml does not say how it is run");
        (examples.as_path(), format!("{name}.yaml"), format!("{name}-alarms.jsonl"))
    };
    let done = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["run", "--exit-on-end", "--config", &argument])
        .current_dir(start)
        .env("OUT", &output)
        .output()
        .unwrap();
    assert!(done.status.success(), "{name}: {}", String::from_utf8_lossy(&done.stderr));
    assert!(!start.join("weir-dead-letter").exists(), "{name}: a line of the input is no event");
    std::fs::read_to_string(start.join(output)).unwrap()
}

#[test]
fn every_example_gives_the_expected_rows() {
    let bless = std::env::var_os("WEIR_BLESS").is_some();
    let mut wrong = Vec::new();
    for name in files(".yaml") {
        let found = run(&name);
        if bless {
            std::fs::write(folder().join(format!("{name}.expected.jsonl")), found).unwrap();
        } else if rows(&found) != expected(&name) {
            wrong.push(format!("{name}: found\n{found}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_example_is_whole_and_on_the_page() {
    let names = files(".yaml");
    let inputs: BTreeSet<_> =
        files(".jsonl").into_iter().filter(|name| !name.ends_with(".expected")).collect();
    assert!(!names.is_empty());
    assert_eq!(names, inputs);
    assert_eq!(names, files(".expected.jsonl"));
    let shown: BTreeSet<_> = blocks().into_iter().filter_map(|block| block.example).collect();
    assert_eq!(names, shown, "the page has a line `Example:` with a block for each");
}

/// A block of code of the page.
struct Block {
    language: String,
    lines: Vec<String>,
    /// The example that the section is about.
    example: Option<String>,
    line: usize,
}

/// The blocks of the page. Those behind a line ``Example: `examples/windows/NAME.yaml` `` are of that
/// example, until the next one or a heading.
fn blocks() -> Vec<Block> {
    let (mut blocks, mut example, mut open) = (Vec::new(), None, None::<Block>);
    for (at, line) in page().lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(language)) => {
                let language = language.to_owned();
                open = Some(Block { language, lines: Vec::new(), example: example.clone(), line: at + 1 });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some(block), None) => block.lines.push(line.to_owned()),
            (None, None) if line.starts_with('#') => example = None,
            (None, None) => {
                if let Some(path) = line.strip_prefix("Example: `examples/windows/") {
                    example = Some(path.split_once(".yaml`").unwrap().0.to_owned());
                }
            }
        }
    }
    assert!(open.is_none(), "the last block of docs/windows.md is not closed");
    blocks
}

#[test]
fn the_page_shows_the_settings_of_the_examples() {
    for block in blocks().iter().filter(|block| block.language == "yaml") {
        let place = format!("docs/windows.md:{}", block.line);
        match &block.example {
            Some(name) => {
                let text = std::fs::read_to_string(folder().join(format!("{name}.yaml"))).unwrap();
                let indented: Vec<_> = block.lines.iter().map(|line| format!("  {line}")).collect();
                assert!(text.contains(&indented.join("\n")), "{place}: not in {name}.yaml");
            }
            None => {
                let indented: String = block.lines.iter().map(|line| format!("  {line}\n")).collect();
                let id = block.lines[0].trim_end_matches(':');
                let text = format!(
                    "receivers:\n  generator:\nprocessors:\n{indented}exporters:\n  nop:\nservice:\n  pipelines:\n    main: {{receivers: [generator], processors: [{id}], exporters: [nop]}}\n"
                );
                let source = weir_config::SourceText::new("windows.md".to_owned(), text);
                let built = Document::load(vec![source], &[], &|_| None)
                    .and_then(|document| weir::graph::build(&document, &weir::components::STANDARD));
                assert!(built.is_ok(), "{place}: {}", built.err().unwrap());
            }
        }
    }
}

#[test]
fn the_page_shows_the_rows_of_the_examples() {
    let mut with_rows = BTreeSet::new();
    for block in blocks().iter().filter(|block| block.language == "json") {
        let place = format!("docs/windows.md:{}", block.line);
        let name = block.example.as_ref().unwrap_or_else(|| panic!("{place}: rows of no example"));
        let (shown, all) = (rows(&block.lines.join("\n")), expected(name));
        assert_eq!(shown.len(), all.len(), "{place}: every row of {name} and no other");
        for (shown, row) in shown.iter().zip(&all) {
            for (column, value) in shown.as_object().unwrap() {
                assert_eq!(value, &row[column], "{place}: {name}, {column} of {row}");
            }
        }
        with_rows.insert(name.clone());
    }
    assert_eq!(with_rows, files(".yaml"), "the page shows the rows of every example");
}

#[test]
fn the_page_explains_every_key_of_aggregate() {
    let readme = std::fs::read_to_string(root().join("processors/aggregate/README.md")).unwrap();
    let table = readme.split_once("## Keys").unwrap().1.split_once("\n## ").unwrap().0;
    let keys: Vec<_> = table.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
    assert!(keys.len() > 15, "{keys:?}");
    let page = page();
    for key in keys {
        let key = key.rsplit('.').next().unwrap();
        assert!(page.contains(&format!("`{key}`")), "docs/windows.md does not explain `{key}`");
    }
}
