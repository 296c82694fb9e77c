//! The columns that spans, log records and data points have in common: of the resource, of the scope, of the
//! attributes, of the record.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, PrimitiveArray, RecordBatch, RecordBatchOptions};
use arrow::buffer::Buffer;
use arrow::datatypes::{Field, Int32Type, Schema};
use arrow::error::ArrowError;

use super::levels::{Resources, Scopes};
use super::lists::{AttributeLists, Built, shared};
use super::scan::record::Attribute;
use super::scan::{Items, Request, Resource, Scope};
use super::texts::{entity_refs, put_text, text_of};
use crate::any_value::push_hex;
use crate::attributes::ValueType;
use crate::columns::keys::{Key, Keys};
use crate::columns::text::Text;
use crate::columns::views::{Buffers, ViewBuffer, Views, index, view};
use crate::decode::result::DecodeError;
use crate::{Encoded, Level, MAX_ARENA, Projection, Signal, schema};

/// The columns of a signal while a batch is decoded.
pub(super) trait Columns<'a>: Sized {
    /// The items of its requests.
    type Items: Items;

    /// No rows yet.
    fn new(encoded: &'a Encoded, projection: &'a Projection) -> Self;

    /// Appends the usable rows of a request that takes `size` bytes: all of them, or none and an error.
    /// `record`: its place in the batch.
    fn append(
        &mut self,
        request: &Request<Self::Items>,
        size: usize,
        record: usize,
    ) -> Result<(), DecodeError>;

    /// Spans that end before they start.
    fn backwards(&self) -> usize {
        0
    }

    /// The batch.
    fn finish(self) -> Result<RecordBatch, ArrowError>;
}

/// The columns that all signals have, while a batch is decoded. `None` is a column that nothing reads.
pub(super) struct Base<'a> {
    arena: &'a Buffer,
    pub(super) bytes: &'a [u8],
    projection: &'a Projection,
    encoded: &'a Encoded,
    pub(super) keys: Keys<'a>,
    /// Text that is not in the arena: ids, texts of values that are none.
    built: Vec<u8>,
    pub(super) rows: usize,
    resources: Resources,
    scopes: Scopes,
    /// For each row the place of its record, when positions or arrivals are read.
    records: Option<Vec<i32>>,
    attributes: Option<AttributeLists>,
    wanted: Vec<WantedColumn<'a>>,
    /// The keys of the current row's attributes.
    row_keys: Vec<Key>,
}

/// The column of a wanted key.
struct WantedColumn<'a> {
    level: Level,
    key: &'a [u8],
    views: Views,
    /// Of the current resource or scope.
    current: Option<u128>,
}

impl<'a> Base<'a> {
    pub(super) fn new(encoded: &'a Encoded, projection: &'a Projection) -> Base<'a> {
        let of_records = projection.positions && encoded.positions.is_some()
            || projection.arrivals && encoded.arrivals.is_some();
        let wanted = projection.wanted.iter().map(|wanted| {
            let (level, key) = wanted.level_and_key();
            WantedColumn { level, key: key.as_bytes(), views: Views::new(), current: None }
        });
        Base {
            arena: &encoded.arena,
            bytes: encoded.arena.as_slice(),
            projection,
            encoded,
            keys: Keys::new(encoded.arena.as_slice(), &projection.wanted),
            built: Vec::new(),
            rows: 0,
            resources: Resources::new(projection),
            scopes: Scopes::new(projection),
            records: of_records.then(Vec::new),
            attributes: projection.rest.then(AttributeLists::new),
            wanted: wanted.collect(),
            row_keys: Vec::new(),
        }
    }

    /// Room for `rows` more rows that have `attributes` together.
    pub(super) fn reserve(&mut self, rows: usize, attributes: usize) {
        self.resources.of_rows.reserve(rows);
        self.scopes.of_rows.reserve(rows);
        self.built.reserve(64 * rows);
        if let Some(lists) = &mut self.attributes {
            lists.reserve(rows, attributes);
        }
        self.wanted.iter_mut().for_each(|wanted| wanted.views.reserve(rows));
        if let Some(records) = &mut self.records {
            records.reserve(rows);
        }
    }

    /// Makes sure that texts built for a record of `size` bytes are within what views can reach.
    pub(super) fn make_room(&self, size: usize) -> Result<(), DecodeError> {
        // An id takes two bytes for one. A value becomes text at most once as an attribute, once as a peer, a
        // service or a body, and a byte of a nested one takes at most six (`\u0001`).
        if self.built.len().saturating_add(size.saturating_mul(24)) > MAX_ARENA {
            return Err(DecodeError::BatchFull);
        }
        Ok(())
    }

    /// The rows that follow are of this resource.
    pub(super) fn begin_resource<I>(&mut self, request: &Request<I>, resource: &Resource) {
        let attributes = &request.attributes[resource.attributes.clone()];
        self.begin_level(Level::Resource, attributes);
        let (bytes, this) = (self.bytes, self.resources.count);
        self.resources.count += 1;
        for (column, key) in [
            (&mut self.resources.service, &b"service.name"[..]),
            (&mut self.resources.service_instance, b"service.instance.id"),
        ] {
            if let Some(column) = column {
                let found = attributes.iter().find(|attribute| attribute.key.bytes(bytes) == key);
                let text = found.and_then(|found| text_of(*found, bytes, &mut self.built));
                column.push(text.filter(|view| *view != 0));
            }
        }
        if let Some(column) = &mut self.resources.schema_url {
            column.push(resource.schema_url.present(bytes));
        }
        if let Some(column) = &mut self.resources.entities {
            let entities = &request.entities[resource.entities.clone()];
            column.push((!entities.is_empty()).then(|| entity_refs(entities, bytes, &mut self.built)));
        }
        if let Some(column) = &mut self.resources.dropped {
            column.set(this, resource.dropped);
        }
    }

    /// The rows that follow are of this scope.
    pub(super) fn begin_scope<I>(&mut self, request: &Request<I>, scope: &Scope) {
        self.begin_level(Level::Scope, &request.scope_attributes[scope.attributes.clone()]);
        let (bytes, this) = (self.bytes, self.scopes.count);
        self.scopes.count += 1;
        for (column, text) in [
            (&mut self.scopes.name, scope.name),
            (&mut self.scopes.version, scope.version),
            (&mut self.scopes.schema_url, scope.schema_url),
        ] {
            if let Some(column) = column {
                column.push(text.present(bytes));
            }
        }
        if let Some(column) = &mut self.scopes.dropped {
            column.set(this, scope.dropped);
        }
    }

    /// The list of a resource or scope, without the values that wanted columns have instead.
    fn begin_level(&mut self, level: Level, attributes: &[Attribute]) {
        let bytes = self.bytes;
        for wanted in self.wanted.iter_mut().filter(|wanted| wanted.level == level) {
            let first = attributes.iter().find(|attribute| attribute.key.bytes(bytes) == wanted.key);
            wanted.current = first.and_then(|first| text_of(*first, bytes, &mut self.built));
        }
        let lists = match level {
            Level::Resource => &mut self.resources.lists,
            _ => &mut self.scopes.lists,
        };
        let Some(lists) = lists else { return };
        let mut taken: Vec<&[u8]> = Vec::new();
        for attribute in attributes {
            let key = attribute.key.bytes(bytes);
            let is_wanted = self.wanted.iter().any(|wanted| wanted.level == level && wanted.key == key);
            if is_wanted && !taken.contains(&key) {
                taken.push(key);
                let mut same = attributes.iter().filter(|other| other.key.bytes(bytes) == key);
                if same.all(|other| other.kind == ValueType::String) {
                    continue;
                }
            }
            lists.push(self.keys.of(attribute.key).index, *attribute, bytes);
        }
        lists.end();
    }

    /// Begins a row: what it has of its resource, its scope and its record.
    #[inline]
    pub(super) fn begin_row(&mut self, record: usize) {
        self.resources.of_rows.push(index(self.resources.count - 1));
        self.scopes.of_rows.push(index(self.scopes.count - 1));
        if let Some(records) = &mut self.records {
            records.push(index(record));
        }
        for wanted in &mut self.wanted {
            if wanted.level != Level::Row {
                wanted.views.push(wanted.current);
            }
        }
    }

    /// Puts the attributes of the current row where they belong, and ends the row. `seen` sees each with the
    /// index of its key.
    #[inline]
    pub(super) fn end_row(&mut self, attributes: &[Attribute], mut seen: impl FnMut(i32, Attribute)) {
        let mut previous = 0;
        self.row_keys.clear();
        for (at, attribute) in attributes.iter().enumerate() {
            // Predicted by the key before: rows of one kind have the same keys in the same order.
            let key = self.keys.at(previous, at, attribute.key);
            previous = usize::try_from(key.index).unwrap_or(0) + 1;
            self.row_keys.push(key);
            seen(key.index, *attribute);
        }
        if self.attributes.is_some() || !self.wanted.is_empty() {
            self.place(attributes);
        }
        self.rows += 1;
    }

    fn place(&mut self, attributes: &[Attribute]) {
        for (at, (attribute, key)) in attributes.iter().zip(&self.row_keys).enumerate() {
            let wanted = key.wanted.and_then(|wanted| self.wanted.get_mut(wanted));
            // The first value of a wanted key is in its column; more of the same key stay with the others.
            if let Some(wanted) = wanted
                && wanted.level == Level::Row
                && wanted.views.len() <= self.rows
            {
                wanted.views.pad(self.rows);
                wanted.views.push(text_of(*attribute, self.bytes, &mut self.built));
                let same = attributes.iter().zip(&self.row_keys).skip(at);
                let mut same = same.filter(|(_, other)| other.index == key.index);
                // Of a key that has other values than texts all stay, and the column has a copy.
                if same.all(|(other, _)| other.kind == ValueType::String) {
                    continue;
                }
            }
            if let Some(lists) = &mut self.attributes {
                lists.push(key.index, *attribute, self.bytes);
            }
        }
        if let Some(lists) = &mut self.attributes {
            lists.end();
        }
    }

    /// Puts the attributes of an item within a row into the list of its column.
    pub(super) fn put_nested(&mut self, attributes: &[Attribute], into: &mut AttributeLists) {
        for attribute in attributes {
            into.push(self.keys.of(attribute.key).index, *attribute, self.bytes);
        }
        into.end();
    }

    /// A view of an id as lower-case hexadecimal; `None` when it is empty.
    #[inline]
    pub(super) fn hex(&mut self, id: Text) -> Option<u128> {
        if id.len() == 0 {
            return None;
        }
        let start = self.built.len();
        push_hex(&mut self.built, id.bytes(self.bytes));
        Some(view(&self.built, ViewBuffer::Built, start, self.built.len() - start))
    }

    /// A view of the texts of two values with a colon between them.
    pub(super) fn joined(&mut self, one: Attribute, other: Attribute) -> u128 {
        let start = self.built.len();
        put_text(one, self.bytes, &mut self.built);
        self.built.push(b':');
        put_text(other, self.bytes, &mut self.built);
        view(&self.built, ViewBuffer::Built, start, self.built.len() - start)
    }

    /// A view of a value as text.
    pub(super) fn text_of(&mut self, value: Attribute) -> Option<u128> {
        text_of(value, self.bytes, &mut self.built)
    }

    /// The batch. Its schema depends on the projection, and on what the receiver knows of the records.
    pub(super) fn finish(
        mut self,
        signal: Signal,
        own: impl FnOnce(&Buffers, &ArrayRef) -> Vec<Built>,
    ) -> Result<RecordBatch, ArrowError> {
        let buffers = Buffers::new(self.arena, std::mem::take(&mut self.built));
        let keys = self.keys.finish(&buffers)?;
        let mut built = own(&buffers, &keys);
        let rows = self.rows;
        built.extend(self.resources.finish(&keys, &buffers));
        built.extend(self.scopes.finish(&keys, &buffers));
        built.push((schema::ATTRIBUTES, self.attributes.map(|lists| lists.finish(&keys, &buffers))));
        let mut fields = Vec::with_capacity(built.len() + self.wanted.len());
        let mut columns = Vec::with_capacity(built.len() + self.wanted.len());
        for field in schema::fixed(signal) {
            let column = built.iter_mut().find(|(name, _)| name == field.name());
            if let Some(array) = column.and_then(|(_, array)| array.take()) {
                let array = array?;
                // The encoding of a text is the builder's choice.
                fields.push(match array.data_type() == field.data_type() {
                    true => field.clone(),
                    false => Arc::new(Field::new(field.name(), array.data_type().clone(), true)),
                });
                columns.push(array);
            }
        }
        for (wanted, mut column) in self.projection.wanted.iter().zip(self.wanted) {
            column.views.pad(rows);
            let (level, key) = wanted.level_and_key();
            fields.push(match level {
                Level::Row => Arc::clone(&wanted.field),
                _ => {
                    let field = Field::new(&wanted.column, schema::text(), true);
                    Arc::new(field.with_metadata(schema::attribute_metadata(level.name(), key)))
                }
            });
            columns.push(Arc::new(buffers.text(column.views)?) as ArrayRef);
        }
        if let Some(of_rows) = self.records {
            let of_rows = PrimitiveArray::<Int32Type>::new(of_rows.into(), None);
            let (positions, arrivals) = (&self.encoded.positions, &self.encoded.arrivals);
            for (values, is_read, field) in [
                (positions, self.projection.positions, schema::offset()),
                (arrivals, self.projection.arrivals, schema::arrival()),
            ] {
                if let Some(values) = values.as_ref().filter(|_| is_read) {
                    fields.push(field);
                    columns.push(shared(&of_rows, Arc::new(Int64Array::from(values.to_vec())))?);
                }
            }
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
    }
}

/// The rows of a request in wire order, without those that are left out.
pub(super) fn usable<I>(
    request: &Request<I>,
) -> impl Iterator<Item = (&Resource, impl Iterator<Item = (&Scope, Range<usize>)>)> {
    request.resources.iter().filter(|resource| resource.refused.is_none()).filter_map(|resource| {
        let scopes = &request.scopes[resource.scopes.clone()];
        let usable = |scope: &&Scope| scope.refused.is_none() && !scope.items.is_empty();
        scopes
            .iter()
            .any(|scope| usable(&scope))
            .then(|| (resource, scopes.iter().filter(usable).map(|scope| (scope, scope.items.clone()))))
    })
}
