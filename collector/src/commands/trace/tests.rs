//! What a trace looks like.

use super::tree::{Span, draw};

const MS: i64 = 1_000_000;

fn span(id: &str, parent: &str, service: &str, from: i64, millis: i64) -> Span {
    Span {
        id: id.to_owned(),
        parent: parent.to_owned(),
        service: service.to_owned(),
        operation: format!("/{id}"),
        kind: "server".to_owned(),
        start: from * MS,
        duration: millis * MS,
        ..Span::default()
    }
}

#[test]
fn spans_are_below_their_parents_with_the_time_that_is_their_own() {
    let mut failed = span("c", "a", "pay", 30, 60);
    (failed.failed, failed.message, failed.peer) = (true, "no money\nat x".to_owned(), "db:3306".to_owned());
    // Two children at the same time, and one that goes on beyond its parent.
    let spans = vec![
        failed,
        span("a", "", "shop", 0, 100),
        span("b", "a", "shop", 10, 50),
        span("d", "c", "bank", 80, 30),
    ];
    assert_eq!(
        draw("t", spans),
        "trace t: 4 spans, 3 services, 1 error, 110.0 ms\n\
         shop → pay → bank\n\n\
         shop /a              server    +     0 µs   100.0 ms  self   20.0 ms\n\
         ├─ shop /b           server    +  10.0 ms    50.0 ms  self   50.0 ms\n\
         └─ pay /c → db:3306  server    +  30.0 ms    60.0 ms  self   50.0 ms  ERROR no money\n   \
            └─ bank /d        server    +  80.0 ms    30.0 ms  self   30.0 ms\n"
    );
}

#[test]
fn every_span_is_drawn_once_whatever_the_parents_say() {
    // Without its parent, its own parent, each other's parents, and stored twice.
    let spans = vec![
        span("orphan", "gone", "a", 0, 1),
        span("own", "own", "b", 1, 1),
        span("x", "y", "c", 2, 1),
        span("y", "x", "c", 3, 1),
        span("orphan", "gone", "a", 0, 1),
    ];
    let text = draw("t", spans);
    assert!(text.starts_with("trace t: 4 spans, 3 services, 0 errors, 4.0 ms\n"), "{text}");
    for id in ["/orphan ", "/own ", "/x ", "/y "] {
        assert_eq!(text.matches(id).count(), 1, "{id} in\n{text}");
    }
    let deep: Vec<Span> =
        (0..20_000).map(|n| span(&format!("{n}"), &format!("{}", n - 1), "a", n, 1)).collect();
    assert_eq!(draw("t", deep).lines().count(), 20_003);
}

/// What spans say comes from anywhere, and a terminal obeys it.
#[test]
fn spans_cannot_move_the_cursor_or_break_the_lines() {
    let hostile = "\u{1b}]0;owned\u{7}\u{1b}[2J\r\nx\u{9b}1m";
    let row = serde_json::json!({
        "span_id": "1", "service": hostile, "operation": hostile, "kind": hostile, "status": "error",
        "status_message": hostile, "peer": hostile, "start": 0, "duration_ns": 1
    });
    let text = draw("t", vec![Span::of(&row)]);
    assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
    assert_eq!(text.lines().count(), 4, "{text:?}");
}

#[test]
fn times_at_the_edges_are_drawn() {
    let edge =
        |id: &str, start: i64, duration: i64| Span { id: id.to_owned(), start, duration, ..Span::default() };
    let child = Span { parent: "a".to_owned(), ..edge("c", i64::MIN, i64::MAX) };
    let text = draw("t", vec![edge("a", i64::MIN, 1), edge("b", i64::MAX, i64::MAX), child]);
    assert_eq!(text.lines().count(), 6, "{text}");
}
