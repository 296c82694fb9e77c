//! Spans to columns.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, Int64Array, RecordBatch};
use arrow::error::ArrowError;

use super::base::{Base, Columns, usable};
use super::lists::{Counts, code_name, times};
use super::nested::{Events, Links};
use super::scan::Request;
use super::scan::record::Attribute;
use super::spans::{Span, Spans};
use crate::attributes::ValueType;
use crate::columns::names::{FixedNames, Names, fixed_names};
use crate::columns::text::Text;
use crate::columns::views::Views;
use crate::decode::result::DecodeError;
use crate::{Encoded, Projection, Signal};

/// Names of the kinds of spans, by number.
pub(super) static KINDS: FixedNames =
    LazyLock::new(|| fixed_names(["unspecified", "internal", "server", "client", "producer", "consumer"]));
/// Names of statuses, by number.
pub(super) static STATUSES: FixedNames = LazyLock::new(|| fixed_names(["unset", "ok", "error"]));

/// The columns of traces while they are decoded. `None` is a column that nothing reads.
pub(super) struct Traces<'a> {
    base: Base<'a>,
    time: Option<Vec<i64>>,
    end_time: Option<Vec<i64>>,
    duration_ns: Option<Vec<i64>>,
    backwards: usize,
    trace_id: Option<Views>,
    /// Neighbours are often of one trace.
    last_trace: (Text, Option<u128>),
    span_id: Option<Views>,
    parent_span_id: Option<Views>,
    operation: Option<Views>,
    kind: Option<Names>,
    status: Option<Names>,
    status_message: Option<Views>,
    peer: Option<Peer>,
    trace_state: Option<Views>,
    flags: Option<Counts>,
    dropped_attributes: Option<Counts>,
    dropped_events: Option<Counts>,
    dropped_links: Option<Counts>,
    links: Option<Links>,
    events: Option<Events>,
}

impl<'a> Columns<'a> for Traces<'a> {
    type Items = Spans;

    fn new(encoded: &'a Encoded, projection: &'a Projection) -> Traces<'a> {
        let has = |name: &str| projection.has_fixed(name);
        let views = |name: &str| has(name).then(Views::new);
        let longs = |name: &str| has(name).then(Vec::<i64>::new);
        let names = |name: &str, known| has(name).then(|| Names::new(known));
        let counts = |name: &str| has(name).then(Counts::default);
        Traces {
            base: Base::new(encoded, projection),
            time: longs("time"),
            end_time: longs("end_time"),
            duration_ns: longs("duration_ns"),
            backwards: 0,
            trace_id: views("trace_id"),
            last_trace: (Text::default(), None),
            span_id: views("span_id"),
            parent_span_id: views("parent_span_id"),
            operation: views("operation"),
            kind: names("kind", &KINDS),
            status: names("status", &STATUSES),
            status_message: views("status_message"),
            peer: has("peer").then(Peer::default),
            trace_state: views("trace_state"),
            flags: counts("flags"),
            dropped_attributes: counts("dropped_attributes"),
            dropped_events: counts("dropped_events"),
            dropped_links: counts("dropped_links"),
            links: has("links").then(Links::new),
            events: has("events").then(Events::new),
        }
    }

    fn append(&mut self, request: &Request<Spans>, size: usize, record: usize) -> Result<(), DecodeError> {
        self.base.make_room(size)?;
        self.reserve(&request.items);
        for (resource, scopes) in usable(request) {
            self.base.begin_resource(request, resource);
            for (scope, spans) in scopes {
                self.base.begin_scope(request, scope);
                for span in &request.items.spans[spans] {
                    self.append_span(&request.items, span, record);
                }
            }
        }
        Ok(())
    }

    fn backwards(&self) -> usize {
        self.backwards
    }

    fn finish(self) -> Result<RecordBatch, ArrowError> {
        let rows = self.base.rows;
        self.base.finish(Signal::Traces, |buffers, keys| {
            let text =
                |column: Option<Views>| column.map(|column| Ok(Arc::new(buffers.text(column)?) as ArrayRef));
            let named = |column: Option<Names>| column.map(Names::finish);
            let count = |column: Option<Counts>| column.map(|column| Ok(column.finish(rows)));
            vec![
                ("time", self.time.map(|column| Ok(times(column)))),
                ("end_time", self.end_time.map(|column| Ok(times(column)))),
                ("duration_ns", self.duration_ns.map(|column| Ok(Arc::new(Int64Array::from(column)) as _))),
                ("trace_id", text(self.trace_id)),
                ("span_id", text(self.span_id)),
                ("parent_span_id", text(self.parent_span_id)),
                ("operation", text(self.operation)),
                ("kind", named(self.kind)),
                ("status", named(self.status)),
                ("status_message", text(self.status_message)),
                ("peer", text(self.peer.map(|peer| peer.column))),
                ("trace_state", text(self.trace_state)),
                ("flags", count(self.flags)),
                ("dropped_attributes", count(self.dropped_attributes)),
                ("dropped_events", count(self.dropped_events)),
                ("dropped_links", count(self.dropped_links)),
                ("links", self.links.map(|links| links.finish(keys, buffers))),
                ("events", self.events.map(|events| events.finish(keys, buffers))),
            ]
        })
    }
}

impl Traces<'_> {
    fn reserve(&mut self, spans: &Spans) {
        let rows = spans.spans.len();
        self.base.reserve(rows, spans.attributes.len());
        for column in [&mut self.time, &mut self.end_time, &mut self.duration_ns].into_iter().flatten() {
            column.reserve(rows);
        }
        for column in [
            &mut self.trace_id,
            &mut self.span_id,
            &mut self.parent_span_id,
            &mut self.operation,
            &mut self.status_message,
            &mut self.trace_state,
        ]
        .into_iter()
        .flatten()
        {
            column.reserve(rows);
        }
        for column in [&mut self.kind, &mut self.status].into_iter().flatten() {
            column.reserve(rows);
        }
        if let Some(links) = &mut self.links {
            links.reserve(rows);
        }
        if let Some(events) = &mut self.events {
            events.reserve(rows);
        }
    }

    fn append_span(&mut self, spans: &Spans, span: &Span, record: usize) {
        let row = self.base.rows;
        let base = &mut self.base;
        base.begin_row(record);
        if let Some(column) = &mut self.time {
            column.push(span.start);
        }
        if let Some(column) = &mut self.end_time {
            column.push(span.end);
        }
        self.backwards += usize::from(span.end < span.start);
        if let Some(column) = &mut self.duration_ns {
            // Where one end is missing there is no duration.
            let known = span.start != 0 && span.end > span.start;
            column.push(if known { span.end - span.start } else { 0 });
        }
        if let Some(column) = &mut self.trace_id {
            let (last, view) = &mut self.last_trace;
            if last.len() != span.trace_id.len() || last.bytes(base.bytes) != span.trace_id.bytes(base.bytes)
            {
                (*last, *view) = (span.trace_id, base.hex(span.trace_id));
            }
            column.push(*view);
        }
        if let Some(column) = &mut self.span_id {
            column.push(base.hex(span.span_id));
        }
        if let Some(column) = &mut self.parent_span_id {
            column.push(base.hex(span.parent_span_id));
        }
        for (column, text) in [
            (&mut self.operation, span.name),
            (&mut self.status_message, span.status_message),
            (&mut self.trace_state, span.trace_state),
        ] {
            if let Some(column) = column {
                column.push(text.present(base.bytes));
            }
        }
        if let Some(column) = &mut self.kind {
            column.push(code_name(span.kind, &KINDS));
        }
        if let Some(column) = &mut self.status {
            column.push(code_name(span.status, &STATUSES));
        }
        for (column, count) in [
            (&mut self.flags, span.flags),
            (&mut self.dropped_attributes, span.dropped_attributes),
            (&mut self.dropped_events, span.dropped_events),
            (&mut self.dropped_links, span.dropped_links),
        ] {
            if let Some(column) = column {
                column.set(row, count);
            }
        }
        if let Some(links) = &mut self.links {
            links.append(&spans.links[span.links.clone()], &spans.nested, base);
        }
        if let Some(events) = &mut self.events {
            events.append(&spans.events[span.events.clone()], &spans.nested, base);
        }
        let attributes = &spans.attributes[span.attributes.clone()];
        match &mut self.peer {
            None => base.end_row(attributes, |_, _| {}),
            Some(peer) => {
                let bytes = base.bytes;
                base.end_row(attributes, |key, attribute| peer.see(key, attribute, bytes));
                peer.end_row(base);
            }
        }
    }
}

/// The `peer` of spans: `server.address` and `:` and `server.port` where there is one, else `peer.service`.
struct Peer {
    column: Views,
    /// By the index of a key, which of the three attributes it is.
    roles: Vec<Option<Role>>,
    address: Option<Attribute>,
    port: Option<Attribute>,
    service: Option<Attribute>,
}

/// What a key is to a peer.
#[derive(Clone, Copy)]
enum Role {
    Address,
    Port,
    Service,
    None,
}

impl Default for Peer {
    fn default() -> Peer {
        Peer { column: Views::new(), roles: Vec::new(), address: None, port: None, service: None }
    }
}

impl Peer {
    #[inline]
    fn see(&mut self, key: i32, attribute: Attribute, bytes: &[u8]) {
        let at = usize::try_from(key).unwrap_or(0);
        if at >= self.roles.len() {
            self.roles.resize(at + 1, None);
        }
        let role = *self.roles[at].get_or_insert_with(|| match attribute.key.bytes(bytes) {
            b"server.address" => Role::Address,
            b"server.port" => Role::Port,
            b"peer.service" => Role::Service,
            _ => Role::None,
        });
        let place = match role {
            Role::None => return,
            Role::Address => &mut self.address,
            Role::Port => &mut self.port,
            Role::Service => &mut self.service,
        };
        // The first of a repeated key.
        *place = place.or(Some(attribute));
    }

    fn end_row(&mut self, base: &mut Base<'_>) {
        let Peer { column, address, port, service, .. } = self;
        let text = |one: Option<Attribute>| one.filter(|one| one.kind == ValueType::String);
        let view = match (text(address.take()), port.take()) {
            (Some(address), None) => Some(address.view(base.bytes)),
            (Some(address), Some(port)) => Some(base.joined(address, port)),
            (None, _) => text(service.take()).map(|service| service.view(base.bytes)),
        };
        *service = None;
        column.push(view.filter(|view| *view != 0));
    }
}
