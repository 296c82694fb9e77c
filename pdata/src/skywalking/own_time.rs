//! The time that a span spends itself: its duration, less the time in which one of its direct children within
//! the segment runs.
//!
//! Children that run at the same time count once, and only as far as they run within the span. It is never
//! below 0.

use super::scan::Span;
use crate::columns::times::nanoseconds;

/// Computes the times of the spans of one segment after another.
#[derive(Debug, Default)]
pub(super) struct OwnTimes {
    /// The parent's number, the start and the end of each span that has a parent: sorted.
    children: Vec<(i32, i64, i64)>,
}

impl OwnTimes {
    /// Appends the time of each span to `out`, in nanoseconds.
    pub(super) fn append(&mut self, spans: &[Span], out: &mut Vec<i64>) {
        self.children.clear();
        let with_parent = spans.iter().filter(|span| span.parent >= 0 && span.parent != span.id);
        self.children.extend(with_parent.map(|span| (span.parent, span.start_ms, span.end_ms)));
        self.children.sort_unstable();
        out.extend(spans.iter().map(|span| self.own(span)));
    }

    fn own(&self, span: &Span) -> i64 {
        let first = self.children.partition_point(|(parent, ..)| *parent < span.id);
        let mut own: i64 = 0;
        // Up to here the span is accounted for.
        let mut reached = span.start_ms;
        let children = self.children.get(first..).unwrap_or_default();
        for (_, start, end) in children.iter().take_while(|(parent, ..)| *parent == span.id) {
            if reached >= span.end_ms {
                break;
            }
            let start = (*start).min(span.end_ms);
            if start > reached {
                own = own.saturating_add(between(reached, start));
                reached = start;
            }
            reached = reached.max((*end).min(span.end_ms));
        }
        own.saturating_add(between(reached, span.end_ms))
    }
}

/// Nanoseconds from one time in milliseconds to another; 0 when that is earlier.
fn between(from: i64, to: i64) -> i64 {
    nanoseconds(to).saturating_sub(nanoseconds(from)).max(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Each millisecond of the span in which no child runs.
    fn by_ticks(spans: &[Span]) -> Vec<i64> {
        let own = |span: &Span| {
            let runs = |child: &&Span, tick: i64| child.start_ms <= tick && tick < child.end_ms;
            let is_child = |child: &&Span| child.parent == span.id && child.parent != child.id;
            let ticks = (span.start_ms..span.end_ms)
                .filter(|tick| !spans.iter().filter(is_child).any(|child| runs(&child, *tick)));
            ticks.count() as i64 * 1_000_000
        };
        spans.iter().map(own).collect()
    }

    fn span(id: i32, parent: i32, start_ms: i64, end_ms: i64) -> Span {
        Span { id, parent, start_ms, end_ms, ..Span::default() }
    }

    fn computed(spans: &[Span]) -> Vec<i64> {
        let mut out = Vec::new();
        OwnTimes::default().append(spans, &mut out);
        out
    }

    #[test]
    fn children_that_run_at_the_same_time_count_once() {
        let spans = [
            span(0, -1, 100, 200),
            span(1, 0, 110, 150),
            span(2, 0, 140, 160),
            span(3, 0, 190, 250), // goes on after its parent
            span(4, 1, 110, 150),
        ];
        assert_eq!(computed(&spans), [40, 0, 20, 60, 40].map(|millis| millis * 1_000_000));
    }

    #[test]
    fn absurd_times_overflow_nothing() {
        let spans = [span(0, -1, i64::MIN, i64::MAX), span(1, 0, i64::MAX, i64::MIN), span(0, 0, 5, 1)];
        assert_eq!(computed(&spans), [i64::MAX, 0, 0]);
    }

    proptest! {
        #[test]
        fn it_is_the_time_in_which_no_child_runs(
            spans in prop::collection::vec((0..6_i32, -1..6_i32, 0..40_i64, 0..40_i64), 0..12),
        ) {
            let spans = spans.into_iter().map(|(id, parent, start, end)| span(id, parent, start, end));
            let spans: Vec<Span> = spans.collect();
            prop_assert_eq!(computed(&spans), by_ticks(&spans));
        }
    }
}
