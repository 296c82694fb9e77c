//! The generated reference pages are those of the code.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

#[test]
fn the_metrics_page_is_made_from_the_code() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md");
    let page = std::fs::read_to_string(path).unwrap();
    let made = weir::reference::metrics(&weir::components::STANDARD);
    assert_eq!(page, made, "run `make docs`");
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
