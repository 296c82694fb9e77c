//! The generated reference pages are those of the code.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

#[test]
fn the_pages_that_are_made_from_the_code_are_those_of_the_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let pages = weir::reference::pages(&root, &weir::components::STANDARD).unwrap();
    assert_eq!(pages.len(), 5, "metrics, and one README for each kind of component");
    for (path, made) in pages {
        assert_eq!(std::fs::read_to_string(&path).unwrap(), made, "{}: run `make docs`", path.display());
    }
}

#[test]
fn every_component_is_listed_with_its_summary() {
    let list = weir::reference::components(&weir::components::STANDARD);
    for kind in
        ["skywalking_kafka", "generator", "file", "enrich", "aggregate", "threshold", "clickhouse", "webhook"]
    {
        assert!(list.lines().any(|line| line.trim_start().starts_with(kind)), "{kind}: {list}");
    }
}
