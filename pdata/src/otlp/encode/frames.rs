//! The frames of a request: resources, and in them scopes.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Field, Int32Type};
use serde::Deserialize;
use weir_proto::wire::{bytes, message, varint};
use weir_proto::write;

use super::values::{Named, Text, ValueColumn, put_attribute, put_varint};
use crate::attributes::{AttributeColumn, Value};
use crate::{Level, Signal, schema};

/// The attributes of one level.
pub(super) struct LevelColumns<'a> {
    lists: Option<AttributeColumn<'a>>,
    /// The keys in the lists: of each entry its number, and of each number the name.
    keys: Option<(&'a [i32], Vec<&'a str>)>,
    /// Keys that have a column of their own.
    columns: Vec<(&'a str, ValueColumn<'a>)>,
}

impl<'a> LevelColumns<'a> {
    /// Those of a level, of rows of this signal. Columns that components added are attributes of the row.
    pub(super) fn new(signal: Signal, batch: &'a RecordBatch, level: Level) -> LevelColumns<'a> {
        let lists = batch.column_by_name(level.list()).and_then(AttributeColumn::new);
        let mut columns = Vec::new();
        for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
            let name = field.name().as_str();
            let own = field.metadata().get(schema::ATTRIBUTE_LEVEL).map(String::as_str);
            let key = field.metadata().get(schema::ATTRIBUTE_KEY).map(String::as_str);
            let is_attribute = own.is_some() || !schema::is_fixed(signal, name);
            let key = match (level, own) {
                _ if !is_attribute || schema::is_of_record(name) => continue,
                (_, Some(own)) if own == level.name() => key.unwrap_or(name),
                (Level::Row, own) if !["resource", "scope"].contains(&own.unwrap_or_default()) => {
                    key.unwrap_or(name)
                }
                _ => continue,
            };
            let prefixed = key.strip_prefix(level.name()).and_then(|rest| rest.strip_prefix('.'));
            let key = prefixed.filter(|_| level != Level::Row).unwrap_or(key);
            columns.push((key, ValueColumn::new(array)));
        }
        let keys = lists.and_then(|lists| lists.keys()).map(|(keys, names)| {
            (keys, (0..names.len()).map(|name| names.get(name).unwrap_or_default()).collect())
        });
        LevelColumns { lists, keys, columns }
    }

    /// Calls `each` with the attributes of a row: first those that have a column of their own.
    #[inline]
    pub(super) fn each(&self, row: usize, mut each: impl FnMut(&str, Value<'_>)) {
        for (key, column) in &self.columns {
            column.with(row, |value| each(key, value));
        }
        let Some(lists) = self.lists else { return };
        let Some((keys, names)) = &self.keys else {
            lists.row(row).for_each(|(key, value)| each(key, value));
            return;
        };
        for entry in lists.range(row) {
            let name = keys.get(entry).and_then(|key| names.get(usize::try_from(*key).ok()?));
            each(name.copied().unwrap_or_default(), lists.value(entry));
        }
    }

    /// Whether two rows surely have the same attributes.
    fn same(&self, one: usize, other: usize) -> bool {
        let lists = match self.lists {
            Some(lists) => {
                let (one, other) = (lists.range(one), lists.range(other));
                one == other || one.is_empty() && other.is_empty()
            }
            None => true,
        };
        lists && self.columns.iter().all(|(_, column)| column.same(one, other))
    }
}

mod field {
    use super::{bytes, message, varint};

    pub(super) const RESOURCES: u32 = message(1);
    pub(super) const ABOUT: u32 = message(1);
    pub(super) const CONTENT: u32 = message(2);
    pub(super) const SCHEMA_URL: u32 = bytes(3);

    pub(super) const RESOURCE_ATTRIBUTES: u32 = message(1);
    pub(super) const RESOURCE_DROPPED: u32 = varint(2);
    pub(super) const ENTITIES: u32 = message(3);

    pub(super) const ENTITY_SCHEMA_URL: u32 = bytes(1);
    pub(super) const ENTITY_KIND: u32 = bytes(2);
    pub(super) const ID_KEYS: u32 = bytes(3);
    pub(super) const DESCRIPTION_KEYS: u32 = bytes(4);

    pub(super) const NAME: u32 = bytes(1);
    pub(super) const VERSION: u32 = bytes(2);
    pub(super) const SCOPE_ATTRIBUTES: u32 = message(3);
    pub(super) const SCOPE_DROPPED: u32 = varint(4);
}

/// An item of the column `entity_refs`.
#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Entity {
    schema_url: String,
    r#type: String,
    id_keys: Vec<String>,
    description_keys: Vec<String>,
}

/// The keys of dictionaries that are the same in rows of the same content. `None`: some column is no
/// dictionary, so that its values have to be compared.
struct SameKeys<'a>(Option<Vec<&'a [i32]>>);

impl<'a> SameKeys<'a> {
    /// Of these columns, and those of this level.
    fn new(signal: Signal, batch: &'a RecordBatch, level: Level, names: &[&str]) -> SameKeys<'a> {
        let own = |field: &Field| {
            field.metadata().get(schema::ATTRIBUTE_LEVEL).is_some_and(|own| own == level.name())
        };
        let fields = batch.schema_ref().fields().iter().zip(batch.columns());
        let mut keys: Vec<&[i32]> = Vec::new();
        for (field, array) in fields {
            let is_fixed = names.contains(&field.name().as_str()) && schema::is_fixed(signal, field.name());
            if !(is_fixed || own(field)) || array.logical_null_count() == array.len() {
                continue;
            }
            let dictionary = array.as_dictionary_opt::<Int32Type>();
            let Some(dictionary) = dictionary.filter(|dictionary| dictionary.null_count() == 0) else {
                return SameKeys(None);
            };
            let values = dictionary.keys().values();
            if !keys.iter().any(|known| std::ptr::eq(*known, &**values)) {
                keys.push(values);
            }
        }
        SameKeys(Some(keys))
    }

    /// Whether two rows surely have the same content.
    #[inline]
    fn same(&self, one: usize, other: usize) -> bool {
        let same = |keys: &&[i32]| keys.get(one) == keys.get(other);
        self.0.as_ref().is_some_and(|all| all.iter().all(same))
    }
}

const OF_RESOURCES: [&str; 6] = [
    schema::RESOURCE,
    "service",
    "service_instance",
    "resource_schema_url",
    "resource_dropped_attributes",
    "entity_refs",
];
const OF_SCOPES: [&str; 5] =
    [schema::SCOPE, "scope_name", "scope_version", "scope_schema_url", "scope_dropped_attributes"];

/// Writes rows as items, and the frames around them.
pub(super) struct Frames<'a> {
    same_resource: SameKeys<'a>,
    same_scope: SameKeys<'a>,
    resource: LevelColumns<'a>,
    service: Text<'a>,
    service_instance: Text<'a>,
    resource_schema_url: Text<'a>,
    entities: Text<'a>,
    resource_dropped: Box<dyn Fn(usize) -> u32 + 'a>,
    scope: LevelColumns<'a>,
    scope_name: Text<'a>,
    scope_version: Text<'a>,
    scope_schema_url: Text<'a>,
    scope_dropped: Box<dyn Fn(usize) -> u32 + 'a>,
    /// The content of the frames that are open, to compare with.
    open_resource: Vec<u8>,
    open_scope: Vec<u8>,
    scratch: Vec<u8>,
    /// Where the open frames begin, and the row that opened them.
    open: Option<Open>,
}

struct Open {
    resource: usize,
    scope: usize,
    row: usize,
    resource_row: usize,
    scope_row: usize,
}

impl<'a> Frames<'a> {
    pub(super) fn new(signal: Signal, batch: &'a RecordBatch) -> Frames<'a> {
        let named = Named(batch);
        Frames {
            same_resource: SameKeys::new(signal, batch, Level::Resource, &OF_RESOURCES),
            same_scope: SameKeys::new(signal, batch, Level::Scope, &OF_SCOPES),
            resource: LevelColumns::new(signal, batch, Level::Resource),
            service: named.text("service"),
            service_instance: named.text("service_instance"),
            resource_schema_url: named.text("resource_schema_url"),
            entities: named.text("entity_refs"),
            resource_dropped: Box::new(named.u32("resource_dropped_attributes")),
            scope: LevelColumns::new(signal, batch, Level::Scope),
            scope_name: named.text("scope_name"),
            scope_version: named.text("scope_version"),
            scope_schema_url: named.text("scope_schema_url"),
            scope_dropped: Box::new(named.u32("scope_dropped_attributes")),
            open_resource: Vec::new(),
            open_scope: Vec::new(),
            scratch: Vec::new(),
            open: None,
        }
    }

    /// Makes the frames of a row the open ones. `close` ends what the row before left open in its scope; it
    /// is called before a frame ends. Says whether a new frame began.
    #[inline]
    pub(super) fn enter(&mut self, row: usize, out: &mut Vec<u8>, close: impl FnOnce(&mut Vec<u8>)) -> bool {
        let Some(open) = self.open.take() else {
            self.open_resource_frame(row, out);
            return true;
        };
        let before = open.row;
        if !self.same_resource(before, row) {
            self.scratch.clear();
            self.put_resource(row);
            if self.scratch != self.open_resource || !self.resource_schema_url.same(before, row) {
                close(out);
                self.close_scope(&open, out);
                self.close_resource(&open, out);
                self.open_resource_frame(row, out);
                return true;
            }
        }
        if !self.same_scope(before, row) {
            self.scratch.clear();
            self.put_scope(row);
            if self.scratch != self.open_scope || !self.scope_schema_url.same(before, row) {
                close(out);
                self.close_scope(&open, out);
                let scope = self.open_scope_frame(row, out);
                self.open = Some(Open { scope, row, scope_row: row, ..open });
                return true;
            }
        }
        self.open = Some(Open { row, ..open });
        false
    }

    /// Ends the frames that are open.
    pub(super) fn finish(mut self, out: &mut Vec<u8>) {
        if let Some(open) = self.open.take() {
            self.close_scope(&open, out);
            self.close_resource(&open, out);
        }
    }

    fn open_resource_frame(&mut self, row: usize, out: &mut Vec<u8>) {
        let resource = write::begin(field::RESOURCES, out);
        self.scratch.clear();
        self.put_resource(row);
        std::mem::swap(&mut self.open_resource, &mut self.scratch);
        if !self.open_resource.is_empty() {
            write::bytes_field(field::ABOUT, &self.open_resource, out);
        }
        let scope = self.open_scope_frame(row, out);
        self.open = Some(Open { resource, scope, row, resource_row: row, scope_row: row });
    }

    fn open_scope_frame(&mut self, row: usize, out: &mut Vec<u8>) -> usize {
        let scope = write::begin(field::CONTENT, out);
        self.scratch.clear();
        self.put_scope(row);
        std::mem::swap(&mut self.open_scope, &mut self.scratch);
        if !self.open_scope.is_empty() {
            write::bytes_field(field::ABOUT, &self.open_scope, out);
        }
        scope
    }

    fn close_scope(&self, open: &Open, out: &mut Vec<u8>) {
        self.scope_schema_url.put(field::SCHEMA_URL, open.scope_row, out);
        write::end(open.scope, out);
    }

    fn close_resource(&self, open: &Open, out: &mut Vec<u8>) {
        self.resource_schema_url.put(field::SCHEMA_URL, open.resource_row, out);
        write::end(open.resource, out);
    }

    fn same_resource(&self, one: usize, other: usize) -> bool {
        if self.same_resource.same(one, other) {
            return true;
        }
        self.resource.same(one, other)
            && self.service.same(one, other)
            && self.service_instance.same(one, other)
            && self.resource_schema_url.same(one, other)
            && self.entities.same(one, other)
            && (self.resource_dropped)(one) == (self.resource_dropped)(other)
    }

    fn same_scope(&self, one: usize, other: usize) -> bool {
        if self.same_scope.same(one, other) {
            return true;
        }
        self.scope.same(one, other)
            && self.scope_name.same(one, other)
            && self.scope_version.same(one, other)
            && self.scope_schema_url.same(one, other)
            && (self.scope_dropped)(one) == (self.scope_dropped)(other)
    }

    /// Writes the fields of a row's resource into the scratch. The columns `service` and `service_instance`
    /// win over the attributes that they came from.
    fn put_resource(&mut self, row: usize) {
        let out = &mut self.scratch;
        let mut own = [
            ("service.name", self.service.get(row)),
            ("service.instance.id", self.service_instance.get(row)),
        ];
        let mut found = [false; 2];
        self.resource.each(row, |key, _| {
            for ((name, _), found) in own.iter().zip(&mut found) {
                *found |= key == *name;
            }
        });
        for ((name, text), found) in own.iter_mut().zip(found) {
            if !found && let Some(text) = text.take() {
                put_attribute(field::RESOURCE_ATTRIBUTES, name, Value::String(text), out);
            }
        }
        self.resource.each(row, |key, value| {
            let text = own.iter_mut().find(|(name, _)| *name == key).and_then(|(_, text)| text.take());
            let value = match text {
                Some(text) if !shown_as(value, text) => Value::String(text),
                _ => value,
            };
            put_attribute(field::RESOURCE_ATTRIBUTES, key, value, out);
        });
        put_varint(field::RESOURCE_DROPPED, u64::from((self.resource_dropped)(row)), out);
        let entities = self.entities.get(row).and_then(|json| serde_json::from_str::<Vec<Entity>>(json).ok());
        for entity in entities.into_iter().flatten() {
            write::message_field(field::ENTITIES, out, |out| {
                for (tag, text) in
                    [(field::ENTITY_SCHEMA_URL, &entity.schema_url), (field::ENTITY_KIND, &entity.r#type)]
                {
                    if !text.is_empty() {
                        write::bytes_field(tag, text.as_bytes(), out);
                    }
                }
                for key in &entity.id_keys {
                    write::bytes_field(field::ID_KEYS, key.as_bytes(), out);
                }
                for key in &entity.description_keys {
                    write::bytes_field(field::DESCRIPTION_KEYS, key.as_bytes(), out);
                }
            });
        }
    }

    fn put_scope(&mut self, row: usize) {
        let out = &mut self.scratch;
        self.scope_name.put(field::NAME, row, out);
        self.scope_version.put(field::VERSION, row, out);
        self.scope.each(row, |key, value| put_attribute(field::SCOPE_ATTRIBUTES, key, value, out));
        put_varint(field::SCOPE_DROPPED, u64::from((self.scope_dropped)(row)), out);
    }
}

/// Whether a value is this text, shown.
fn shown_as(value: Value<'_>, text: &str) -> bool {
    match value {
        Value::String(own) => own == text,
        other => other.to_string() == text,
    }
}
