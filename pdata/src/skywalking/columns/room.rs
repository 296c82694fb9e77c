//! Room for segments, and its limits.

use super::Columns;
use crate::MAX_ARENA;
use crate::decode::result::DecodeError;
use crate::skywalking::scan::Segment;

/// Longest `.` + number.
const SPAN_NUMBER: usize = 12;

impl Columns<'_> {
    /// Room for `more` segments like this one. No more is taken than `bytes` of input can fill, at 16 bytes a
    /// row or tag.
    pub(in crate::skywalking) fn reserve(&mut self, more: usize, segment: &Segment, bytes: usize) {
        let most = bytes / 16;
        let rows = more.saturating_mul(segment.spans.len()).min(most);
        let tags = more.saturating_mul(segment.tags.len()).min(most);
        if self.span_id.is_some() || self.parent_span_id.is_some() {
            let ids = rows.saturating_mul(segment.segment_id.len() + 4);
            self.built.reserve(ids.min(2 * bytes));
        }
        self.segments.reserve(rows);
        for column in
            [&mut self.trace_id, &mut self.segment_id, &mut self.service, &mut self.service_instance]
        {
            column.iter_mut().for_each(|column| column.reserve(more.min(most)));
        }
        for column in [
            &mut self.span_id,
            &mut self.parent_span_id,
            &mut self.parent_segment_id,
            &mut self.operation,
            &mut self.peer,
        ] {
            column.iter_mut().for_each(|column| column.reserve(rows));
        }
        for column in [&mut self.time, &mut self.end_time, &mut self.duration_ns] {
            column.iter_mut().for_each(|column| column.reserve(rows));
        }
        for column in [&mut self.segment_span_id, &mut self.parent_number, &mut self.component_id] {
            column.iter_mut().for_each(|column| column.reserve(rows));
        }
        for column in [&mut self.kind, &mut self.status, &mut self.component, &mut self.layer] {
            column.iter_mut().for_each(|column| column.reserve(rows));
        }
        for column in [&mut self.skip_analysis, &mut self.size_limited] {
            column.iter_mut().for_each(|column| column.reserve(rows));
        }
        if let Some(links) = &mut self.links {
            // Segments that were called have a reference.
            links.reserve(rows, more.saturating_mul(segment.refs.len().max(1)).min(most));
        }
        if let Some(events) = &mut self.events {
            events.reserve(rows, more.saturating_mul(segment.logs.len()).min(most));
        }
        if let Some(attributes) = &mut self.attributes {
            attributes.reserve(rows, tags);
        }
        self.wanted.iter_mut().for_each(|column| column.reserve(rows));
    }

    /// Makes sure that the texts to build stay in proportion to the segment and within what views can reach.
    pub(super) fn make_room(&self, segment: &Segment, size: usize) -> Result<(), DecodeError> {
        let built = usize::from(self.span_id.is_some()) + usize::from(self.parent_span_id.is_some());
        let own = (segment.segment_id.len() + SPAN_NUMBER).saturating_mul(built * segment.spans.len());
        if own > 16 * size + (1 << 20) {
            return Err(DecodeError::Swollen { what: "bytes of span ids", count: own, bytes: size });
        }
        let others: usize = segment.refs.iter().map(|r| r.segment_id.len() + 3 * SPAN_NUMBER).sum();
        if self.built.len() + own + 2 * others > MAX_ARENA {
            return Err(DecodeError::BatchFull);
        }
        Ok(())
    }
}
