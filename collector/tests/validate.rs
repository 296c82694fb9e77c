//! `weir validate` on every configuration in the `testdata/` folders and in `examples/`: valid ones pass, and
//! the message for each invalid one is the snapshot beside it (`<name>.txt`).
//! `WEIR_BLESS=1 cargo test -p weir --test validate` rewrites them.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::{Path, PathBuf};

use weir_config::Document;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The YAML files of every component's testdata, sorted, relative to the repository.
fn testdata() -> Vec<PathBuf> {
    let mut found = Vec::new();
    for kind in ["receivers", "processors", "exporters", "extensions"] {
        for component in std::fs::read_dir(root().join(kind)).unwrap() {
            let folder = component.unwrap().path().join("testdata");
            let Ok(files) = std::fs::read_dir(&folder) else { continue };
            found.extend(
                files
                    .map(|file| file.unwrap().path())
                    .filter(|path| path.extension() == Some("yaml".as_ref())),
            );
        }
    }
    found.sort();
    found
}

/// The errors of a configuration; none when it is valid. Independent of the machine: no environment,
/// short file names.
fn complaint(path: &Path) -> Option<String> {
    let name = path.file_name().unwrap().to_string_lossy().into_owned();
    let source = weir_config::SourceText::new(name, std::fs::read_to_string(path).unwrap());
    Document::load(vec![source], &[], &|_| None)
        .and_then(|document| weir::graph::build(&document, &weir::components::STANDARD))
        .err()
        .map(|errors| errors.to_string() + "\n")
}

#[test]
fn every_component_has_valid_and_invalid_examples() {
    let files = testdata();
    for kind in ["receivers", "processors", "exporters", "extensions"] {
        for component in std::fs::read_dir(root().join(kind)).unwrap() {
            let component = component.unwrap().path();
            if !component.is_dir() {
                continue;
            }
            let has = |start: &str| {
                files.iter().any(|file| {
                    file.starts_with(&component)
                        && file.file_name().unwrap().to_string_lossy().starts_with(start)
                })
            };
            assert!(has("valid") && has("invalid"), "{}", component.display());
        }
    }
}

#[test]
fn valid_configurations_pass_and_invalid_ones_give_the_expected_message() {
    let bless = std::env::var_os("WEIR_BLESS").is_some();
    let mut wrong = Vec::new();
    for path in testdata() {
        let (complaint, expected_file) = (complaint(&path), path.with_extension("txt"));
        let valid = path.file_name().unwrap().to_string_lossy().starts_with("valid");
        match complaint {
            None if valid => {}
            None => wrong.push(format!("{}: no error", path.display())),
            Some(text) if valid => wrong.push(format!("{}: {text}", path.display())),
            Some(text) if bless => std::fs::write(expected_file, text).unwrap(),
            Some(text) => {
                let expected = std::fs::read_to_string(&expected_file).unwrap_or_default();
                if text != expected {
                    wrong.push(format!("{}: expected\n{expected}\nfound\n{text}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn the_examples_are_valid() {
    for folder in ["examples", "examples/windows"] {
        let files = std::fs::read_dir(root().join(folder)).unwrap().map(|file| file.unwrap().path());
        for path in files.filter(|path| path.extension() == Some("yaml".as_ref())) {
            assert_eq!(complaint(&path), None, "{}", path.display());
        }
    }
}

#[test]
fn one_run_shows_the_errors_of_the_wiring_and_of_the_sections() {
    let text = "receivers:
  generator: {rate: fast}
processors:
  threshold:
    rules:
      - {name: a, when: {high: \"count >\"}, message: \"{{ service | indent(9) }}\"}
exporters:
  nop:
  debgu:
service:
  telemetry: {metrics: {address: 8888}}
  pipelines:
    main: {receivers: [generator], processors: [threshhold], exporters: [nop]}
";
    let document =
        Document::load(vec![weir_config::SourceText::new("weir.yaml", text)], &[], &|_| None).unwrap();
    let errors = weir::graph::build(&document, &weir::components::STANDARD).err().unwrap();
    let paths: Vec<&str> = errors.iter().map(|error| &*error.path).collect();
    assert_eq!(
        paths,
        [
            "exporters.debgu",
            "processors.threshold.rules[0].when.high",
            "processors.threshold.rules[0].message",
            "receivers.generator.rate",
            "service.telemetry.metrics.address",
            "service.pipelines.main.processors[0]",
        ],
        "{errors}"
    );
    let shown = errors.to_string();
    assert!(shown.contains("it is only a port: write `127.0.0.1:8888`"), "{shown}");
}

#[test]
fn an_attribute_named_almost_like_a_column_gets_a_warning() {
    let text = "receivers: {generator: }\nprocessors: {aggregate: {window: {tumbling: 7s}, where: 'durations_ns > 5 AND shop.id = 7'}}\n\
                exporters: {nop: }\nservice: {pipelines: {main: {receivers: [generator], processors: [aggregate], exporters: [nop]}}}\n";
    let document =
        Document::load(vec![weir_config::SourceText::new("test.yaml", text.to_owned())], &[], &|_| None)
            .unwrap();
    let graph = weir::graph::build(&document, &weir::components::STANDARD).unwrap();
    let warnings = graph.warnings.to_string();
    assert!(warnings.contains("`durations_ns` is read as an attribute"), "{warnings}");
    assert!(
        warnings.contains("did you mean `duration_ns`?") && warnings.matches("warning:").count() == 1,
        "{warnings}"
    );
}
