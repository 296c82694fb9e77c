//! Segments to columns.

mod finish;
mod room;

use arrow::array::BooleanBufferBuilder;
use arrow::buffer::Buffer;
use hashbrown::HashMap;

use super::ids::{ref_type, span_id};
use super::names;
use super::of_segments::OfSegments;
use super::own_time::OwnTimes;
use super::scan::{Pair, Segment, Span};
use crate::columns::events::Events;
use crate::columns::keys::Keys;
use crate::columns::links::{Link, Links};
use crate::columns::names::{Name, Names};
use crate::columns::times::nanoseconds;
use crate::columns::views::{TextAttributes, Views, index};
use crate::decode::result::DecodeError;
use crate::{Encoded, Projection, SpanIds};

/// The columns of a batch while it is decoded. `None` is a column that nothing reads.
pub(super) struct Columns<'a> {
    arena: &'a Buffer,
    bytes: &'a [u8],
    projection: &'a Projection,
    keys: Keys<'a>,
    /// Text that is not in the arena: span ids, names of reference types.
    built: Vec<u8>,
    ref_types: HashMap<i32, u128, foldhash::fast::RandomState>,
    /// Views of the ids of the current segment's spans, by number, as they are built.
    span_ids: Vec<Option<u128>>,
    rows: usize,
    /// For each row, the index of its segment's values in the four columns below.
    segments: Vec<i32>,
    trace_id: Option<Views>,
    segment_id: Option<Views>,
    service: Option<Views>,
    service_instance: Option<Views>,
    segment_count: usize,
    positions: Option<OfSegments<'a>>,
    arrivals: Option<OfSegments<'a>>,
    time: Option<Vec<i64>>,
    end_time: Option<Vec<i64>>,
    duration_ns: Option<Vec<i64>>,
    /// Spans that end before they start.
    pub(super) backwards: usize,
    /// See [`DERIVED`](crate::schema::DERIVED).
    self_duration_ns: Option<(OwnTimes, Vec<i64>)>,
    transfer_ns: Option<Vec<Option<i64>>>,
    span_id: Option<Views>,
    parent_span_id: Option<Views>,
    /// See [`span_ids`](crate::span_ids).
    parent_segment_id: Option<Views>,
    parent_number: Option<Vec<i32>>,
    segment_span_id: Option<Vec<i32>>,
    operation: Option<Views>,
    kind: Option<Names>,
    status: Option<Names>,
    peer: Option<Views>,
    component: Option<Names>,
    component_id: Option<Vec<i32>>,
    layer: Option<Names>,
    skip_analysis: Option<BooleanBufferBuilder>,
    size_limited: Option<BooleanBufferBuilder>,
    links: Option<Links>,
    events: Option<Events>,
    attributes: Option<TextAttributes>,
    wanted: Vec<Views>,
}

impl<'a> Columns<'a> {
    pub(super) fn new(encoded: &'a Encoded, projection: &'a Projection) -> Columns<'a> {
        let arena = &encoded.arena;
        let has = |name: &str| projection.has_fixed(name);
        let parts = projection.ids != SpanIds::Texts;
        let texts = projection.ids != SpanIds::Parts;
        let views = |name: &str| has(name).then(Views::new);
        let longs = |name: &str| has(name).then(Vec::<i64>::new);
        let ints = |name: &str| has(name).then(Vec::<i32>::new);
        let bools = |name: &str| has(name).then(|| BooleanBufferBuilder::new(0));
        let names = |name: &str, known| has(name).then(|| Names::new(known));
        Columns {
            arena,
            bytes: arena.as_slice(),
            projection,
            keys: Keys::new(arena.as_slice(), &projection.wanted),
            built: Vec::new(),
            ref_types: HashMap::default(),
            span_ids: Vec::new(),
            rows: 0,
            segments: Vec::new(),
            trace_id: views("trace_id"),
            segment_id: views("segment_id"),
            service: views("service"),
            service_instance: views("service_instance"),
            segment_count: 0,
            positions: OfSegments::new(projection.positions, encoded.positions.as_ref()),
            arrivals: OfSegments::new(projection.arrivals, encoded.arrivals.as_ref()),
            time: longs("time"),
            end_time: longs("end_time"),
            duration_ns: longs("duration_ns"),
            backwards: 0,
            self_duration_ns: projection.has_derived("self_duration_ns").then(Default::default),
            transfer_ns: projection.has_derived("transfer_ns").then(Vec::new),
            span_id: views("span_id").filter(|_| texts),
            parent_span_id: views("parent_span_id").filter(|_| texts),
            parent_segment_id: parts.then(Views::new),
            parent_number: parts.then(Vec::new),
            segment_span_id: ints("segment_span_id"),
            operation: views("operation"),
            kind: names("kind", &names::KINDS),
            status: names("status", &names::STATUSES),
            peer: views("peer"),
            component: names("component", &names::COMPONENT_NAMES),
            component_id: ints("component_id"),
            layer: names("layer", &names::LAYERS),
            skip_analysis: bools("skip_analysis"),
            size_limited: bools("size_limited"),
            links: has("links").then(Links::new),
            events: has("events").then(Events::new),
            attributes: projection.rest.then(TextAttributes::new),
            wanted: projection.wanted.iter().map(|_| Views::new()).collect(),
        }
    }

    /// Appends the spans of a segment that takes `size` bytes: all of them, or none and an error. `record`:
    /// its place in the batch.
    pub(super) fn append(
        &mut self,
        segment: &Segment,
        size: usize,
        record: usize,
    ) -> Result<(), DecodeError> {
        if segment.spans.is_empty() {
            return Ok(());
        }
        self.make_room(segment, size)?;
        let bytes = self.bytes;
        for (column, text) in [
            (&mut self.trace_id, segment.trace_id),
            (&mut self.segment_id, segment.segment_id),
            (&mut self.service, segment.service),
            (&mut self.service_instance, segment.instance),
        ] {
            if let Some(column) = column {
                column.push(text.present(bytes));
            }
        }
        for numbers in [&mut self.positions, &mut self.arrivals].into_iter().flatten() {
            numbers.push(record);
        }
        let this = index(self.segment_count);
        self.segment_count += 1;
        self.segments.resize(self.segments.len() + segment.spans.len(), this);
        // Column after column: what a column needs is looked up once a segment then, and not once a span.
        self.append_derived(segment);
        self.append_numbers(segment);
        self.append_names(segment);
        self.append_texts(segment);
        self.append_ids(segment);
        self.append_lists(segment);
        self.append_tags(segment);
        self.rows += segment.spans.len();
        Ok(())
    }

    fn append_numbers(&mut self, segment: &Segment) {
        let spans = segment.spans.iter();
        if let Some(column) = &mut self.time {
            column.extend(spans.clone().map(|span| nanoseconds(span.start_ms)));
        }
        if let Some(column) = &mut self.end_time {
            column.extend(spans.clone().map(|span| nanoseconds(span.end_ms)));
        }
        let duration = |span: &Span| nanoseconds(span.end_ms).saturating_sub(nanoseconds(span.start_ms));
        self.backwards += spans.clone().map(|span| usize::from(duration(span) < 0)).sum::<usize>();
        if let Some(column) = &mut self.duration_ns {
            column.extend(spans.clone().map(|span| duration(span).max(0)));
        }
        if let Some(column) = &mut self.segment_span_id {
            column.extend(spans.clone().map(|span| span.id));
        }
        if let Some(column) = &mut self.component_id {
            column.extend(spans.clone().map(|span| span.component));
        }
        if let Some(column) = &mut self.skip_analysis {
            if segment.spans.iter().any(|span| span.skip_analysis) {
                spans.clone().for_each(|span| column.append(span.skip_analysis));
            } else {
                column.append_n(segment.spans.len(), false);
            }
        }
        if let Some(column) = &mut self.size_limited {
            column.append_n(segment.spans.len(), segment.size_limited);
        }
    }

    fn append_names(&mut self, segment: &Segment) {
        let spans = segment.spans.iter();
        if let Some(column) = &mut self.kind {
            column.extend(spans.clone().map(|span| names::kind(span.span_type, span.layer)));
        }
        if let Some(column) = &mut self.status {
            column.extend(spans.clone().map(|span| Name::Fixed(i32::from(span.is_error))));
        }
        if let Some(column) = &mut self.component {
            column.extend(spans.clone().map(|span| names::component(span.component)));
        }
        if let Some(column) = &mut self.layer {
            column.extend(spans.clone().map(|span| names::layer(span.layer)));
        }
    }

    fn append_texts(&mut self, segment: &Segment) {
        let (bytes, spans) = (self.bytes, segment.spans.iter());
        if let Some(column) = &mut self.operation {
            column.extend(spans.clone().map(|span| span.operation.present(bytes)));
        }
        if let Some(column) = &mut self.peer {
            column.extend(spans.clone().map(|span| span.peer.present(bytes)));
        }
    }

    fn append_ids(&mut self, segment: &Segment) {
        let bytes = self.bytes;
        if self.span_id.is_some() || self.parent_span_id.is_some() {
            self.append_built_ids(segment);
        }
        if let (Some(segments), Some(numbers)) = (&mut self.parent_segment_id, &mut self.parent_number) {
            // A reference counts where the parent is not in the segment.
            let first =
                |span: &Span| segment.refs.get(span.refs.clone())?.first().filter(|_| span.parent < 0);
            let other = |span: &Span| first(span)?.segment_id.present(bytes);
            let number = |span: &Span| first(span).filter(|first| first.segment_id.len() > 0);
            segments.extend(segment.spans.iter().map(other));
            numbers.extend(
                segment.spans.iter().map(|span| number(span).map_or(span.parent, |first| first.span_id)),
            );
        }
    }

    /// The ids as texts.
    fn append_built_ids(&mut self, segment: &Segment) {
        let bytes = self.bytes;
        self.span_ids.clear();
        self.span_ids.resize(segment.spans.len(), None);
        for span in &segment.spans {
            // Most ids are asked for twice: by the span and by its children.
            let mut own_id = |number: i32, built: &mut Vec<u8>| {
                let place = usize::try_from(number).ok().and_then(|number| self.span_ids.get_mut(number));
                match place {
                    Some(Some(view)) => Some(*view),
                    Some(place) => {
                        *place = span_id(built, bytes, segment.segment_id, number);
                        *place
                    }
                    None => span_id(built, bytes, segment.segment_id, number),
                }
            };
            if let Some(column) = &mut self.span_id {
                column.push(own_id(span.id, &mut self.built));
            }
            if let Some(column) = &mut self.parent_span_id {
                column.push(if span.parent >= 0 {
                    own_id(span.parent, &mut self.built)
                } else {
                    let first = segment.refs[span.refs.clone()].first();
                    first.and_then(|first| span_id(&mut self.built, bytes, first.segment_id, first.span_id))
                });
            }
        }
    }

    fn append_lists(&mut self, segment: &Segment) {
        let bytes = self.bytes;
        if let Some(links) = &mut self.links {
            let before = links.len();
            for reference in &segment.refs {
                let ref_type = ref_type(&mut self.ref_types, &mut self.built, reference.ref_type);
                links.push(&Link {
                    trace_id: reference.trace_id.present(bytes),
                    span_id: span_id(&mut self.built, bytes, reference.segment_id, reference.span_id),
                    ref_type: Some(ref_type),
                    service: reference.service.present(bytes),
                    instance: reference.instance.present(bytes),
                    endpoint: reference.endpoint.present(bytes),
                    address: reference.address.present(bytes),
                });
            }
            links.ends(segment.spans.iter().map(|span| before + span.refs.end));
        }
        if let Some(events) = &mut self.events {
            let before = events.len();
            for log in &segment.logs {
                let fields = &segment.data[log.data.clone()];
                let name = fields.iter().find(|pair| pair.key.bytes(bytes) == b"event");
                let name = name.map(|pair| pair.value.view(bytes));
                let attributes = fields.iter().map(|pair| (pair.key, pair.value));
                events.push(&mut self.keys, bytes, nanoseconds(log.time_ms), name, attributes);
            }
            events.ends(segment.spans.iter().map(|span| before + span.logs.end));
        }
    }

    /// See [`DERIVED`](crate::schema::DERIVED).
    fn append_derived(&mut self, segment: &Segment) {
        if let Some((times, column)) = &mut self.self_duration_ns {
            times.append(&segment.spans, column);
        }
        if let Some(column) = &mut self.transfer_ns {
            let bytes = self.bytes;
            column.extend(segment.spans.iter().map(|span| transfer(&segment.tags[span.tags.clone()], bytes)));
        }
    }

    fn append_tags(&mut self, segment: &Segment) {
        let bytes = self.bytes;
        if self.wanted.is_empty() {
            let Some(attributes) = &mut self.attributes else { return };
            let before = attributes.len();
            for (position, span) in segment.spans.iter().enumerate() {
                let tags = segment.tags[span.tags.clone()].iter().enumerate();
                attributes.keys(tags.map(|(tag, pair)| self.keys.at(position, tag, pair.key).index));
            }
            attributes.values(segment.tags.iter().map(|pair| pair.value.view(bytes)));
            attributes.ends(segment.spans.iter().map(|span| before + span.tags.end));
            return;
        }
        for (position, span) in segment.spans.iter().enumerate() {
            let row = self.rows + position;
            for (tag, pair) in segment.tags[span.tags.clone()].iter().enumerate() {
                let key = self.keys.at(position, tag, pair.key);
                // The first value of a wanted key is in its column; more of the same key stay with the
                // others.
                if let Some(column) = key.wanted.and_then(|at| self.wanted.get_mut(at))
                    && column.len() <= row
                {
                    column.pad(row);
                    column.push(Some(pair.value.view(bytes)));
                } else if let Some(attributes) = &mut self.attributes {
                    attributes.push(key.index, pair.value.view(bytes));
                }
            }
            if let Some(attributes) = &mut self.attributes {
                attributes.end();
            }
        }
    }
}

/// How long a message was on its way, as the agent that received it says: whole milliseconds.
fn transfer(tags: &[Pair], bytes: &[u8]) -> Option<i64> {
    let tag = tags.iter().find(|tag| tag.key.bytes(bytes) == b"transmission.latency")?;
    let millis: i64 = std::str::from_utf8(tag.value.bytes(bytes)).ok()?.parse().ok()?;
    (millis >= 0).then(|| nanoseconds(millis))
}
