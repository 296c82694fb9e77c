//! Segments to columns.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, BooleanBufferBuilder, Int32Array, Int64Array, PrimitiveArray, RecordBatch,
    RecordBatchOptions,
};
use arrow::buffer::{Buffer, ScalarBuffer};
use arrow::datatypes::{DataType, Field, Int32Type, Schema};
use arrow::error::ArrowError;
use hashbrown::HashMap;

use super::ids::{ref_type, span_id};
use super::names;
use super::own_time::OwnTimes;
use super::scan::{Pair, Segment, Span};
use crate::columns::events::Events;
use crate::columns::keys::Keys;
use crate::columns::links::{Link, Links};
use crate::columns::names::{Name, Names};
use crate::columns::times::{nanoseconds, times};
use crate::columns::views::{Buffers, TextAttributes, Views, dictionary, index};
use crate::decode::result::DecodeError;
use crate::{Encoded, MAX_ARENA, Projection, Signal, SpanIds, schema, span_ids};

/// Longest `.` + number.
const SPAN_NUMBER: usize = 12;

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
    /// See [`schema::DERIVED`].
    self_duration_ns: Option<(OwnTimes, Vec<i64>)>,
    transfer_ns: Option<Vec<Option<i64>>>,
    span_id: Option<Views>,
    parent_span_id: Option<Views>,
    /// See [`span_ids`].
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

/// A number that the receiver knows of each record, of those that have rows.
pub(super) struct OfSegments<'a> {
    of_records: &'a [i64],
    values: Vec<i64>,
}

impl<'a> OfSegments<'a> {
    /// `None` when nothing reads them or the receiver does not know them.
    pub(super) fn new(is_read: bool, of_records: Option<&'a Arc<[i64]>>) -> Option<OfSegments<'a>> {
        of_records.filter(|_| is_read).map(|of_records| OfSegments { of_records, values: Vec::new() })
    }

    pub(super) fn push(&mut self, record: usize) {
        self.values.push(self.of_records.get(record).copied().unwrap_or_default());
    }

    /// The column: `segments` has the index of each row's segment.
    pub(super) fn finish(self, segments: &PrimitiveArray<Int32Type>) -> Result<ArrayRef, ArrowError> {
        dictionary(segments.values().clone(), None, Arc::new(Int64Array::from(self.values)))
    }
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

    /// Room for `more` segments like this one. No more is taken than `bytes` of input can fill, at 16 bytes a
    /// row or tag.
    pub(super) fn reserve(&mut self, more: usize, segment: &Segment, bytes: usize) {
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
    fn make_room(&self, segment: &Segment, size: usize) -> Result<(), DecodeError> {
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

    /// See [`schema::DERIVED`].
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

    /// The batch. Its schema depends on the projection, and on what the receiver knows of the records.
    pub(super) fn finish(mut self) -> Result<RecordBatch, ArrowError> {
        let buffers = Buffers::new(self.arena, std::mem::take(&mut self.built));
        let keys = self.keys.finish(&buffers)?;
        let segments = PrimitiveArray::<Int32Type>::new(ScalarBuffer::from(self.segments), None);
        let per_segment = |column: Option<Views>| {
            column.map(|column| dictionary(segments.values().clone(), None, Arc::new(buffers.text(column)?)))
        };
        let text =
            |column: Option<Views>| column.map(|column| Ok(Arc::new(buffers.text(column)?) as ArrayRef));
        let named = |column: Option<Names>| column.map(Names::finish);
        let mut built: Vec<(&str, Option<Result<ArrayRef, ArrowError>>)> = vec![
            ("time", self.time.map(times)),
            ("end_time", self.end_time.map(times)),
            ("duration_ns", self.duration_ns.map(|column| Ok(Arc::new(Int64Array::from(column)) as _))),
            ("trace_id", per_segment(self.trace_id)),
            ("span_id", text(self.span_id)),
            ("parent_span_id", text(self.parent_span_id)),
            ("segment_id", per_segment(self.segment_id)),
            ("segment_span_id", self.segment_span_id.map(ints)),
            ("service", per_segment(self.service)),
            ("service_instance", per_segment(self.service_instance)),
            ("operation", text(self.operation)),
            ("kind", named(self.kind)),
            ("status", named(self.status)),
            ("peer", text(self.peer)),
            ("component", named(self.component)),
            ("component_id", self.component_id.map(ints)),
            ("layer", named(self.layer)),
            ("skip_analysis", self.skip_analysis.map(bools)),
            ("size_limited", self.size_limited.map(bools)),
            ("links", self.links.map(|links| links.finish(&buffers))),
            ("events", self.events.map(|events| events.finish(&keys, &buffers))),
            (schema::ATTRIBUTES, self.attributes.map(|lists| lists.finish(&keys, &buffers))),
        ];
        let mut fields = Vec::with_capacity(built.len() + self.wanted.len());
        let mut columns = Vec::with_capacity(built.len() + self.wanted.len());
        for field in schema::fixed(Signal::Traces) {
            let column = built.iter_mut().find(|(name, _)| name == field.name());
            if let Some(array) = column.and_then(|(_, array)| array.take()) {
                let array = array?;
                // Links and events have fewer fields than those of OTLP.
                fields.push(match array.data_type() == field.data_type() {
                    true => field.clone(),
                    false => Arc::new(Field::new(field.name(), array.data_type().clone(), true)),
                });
                columns.push(array);
            }
        }
        if let (Some(segments), Some(numbers)) = (self.parent_segment_id, self.parent_number) {
            fields.extend(span_ids::fields());
            columns.extend([Arc::new(buffers.text(segments)?) as ArrayRef, ints(numbers)?]);
        }
        let own = self.self_duration_ns.map(|(_, column)| Int64Array::from(column));
        let derived = [own, self.transfer_ns.map(Int64Array::from)];
        for (name, column) in schema::DERIVED.into_iter().zip(derived) {
            if let Some(column) = column {
                fields.push(Arc::new(Field::new(name, DataType::Int64, true)));
                columns.push(Arc::new(column));
            }
        }
        for (wanted, mut views) in self.projection.wanted.iter().zip(self.wanted) {
            views.pad(self.rows);
            fields.push(Arc::clone(&wanted.field));
            columns.push(Arc::new(buffers.text(views)?));
        }
        let of_segments = [(self.positions, schema::offset()), (self.arrivals, schema::arrival())];
        for (numbers, field) in of_segments {
            if let Some(numbers) = numbers {
                fields.push(field);
                columns.push(numbers.finish(&segments)?);
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(self.rows));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
    }
}

/// How long a message was on its way, as the agent that received it says: whole milliseconds.
fn transfer(tags: &[Pair], bytes: &[u8]) -> Option<i64> {
    let tag = tags.iter().find(|tag| tag.key.bytes(bytes) == b"transmission.latency")?;
    let millis: i64 = std::str::from_utf8(tag.value.bytes(bytes)).ok()?.parse().ok()?;
    (millis >= 0).then(|| nanoseconds(millis))
}

fn ints(column: Vec<i32>) -> Result<ArrayRef, ArrowError> {
    Ok(Arc::new(Int32Array::from(column)))
}

fn bools(mut column: BooleanBufferBuilder) -> Result<ArrayRef, ArrowError> {
    Ok(Arc::new(BooleanArray::new(column.finish(), None)))
}
