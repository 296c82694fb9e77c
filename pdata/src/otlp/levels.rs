//! The columns of the resource and the scope that a row belongs to. Each of them is stored once.

use std::sync::Arc;

use arrow::array::{ArrayRef, PrimitiveArray};
use arrow::datatypes::Int32Type;

use super::lists::{AttributeLists, Built, Counts, shared};
use crate::columns::views::{Buffers, Views};
use crate::{Projection, schema};

/// Each resource once.
pub(super) struct Resources {
    /// For each row its place among these.
    pub(super) of_rows: Vec<i32>,
    pub(super) count: usize,
    pub(super) service: Option<Views>,
    pub(super) service_instance: Option<Views>,
    pub(super) lists: Option<AttributeLists>,
    pub(super) schema_url: Option<Views>,
    pub(super) entities: Option<Views>,
    pub(super) dropped: Option<Counts>,
}

/// Each scope once.
pub(super) struct Scopes {
    /// For each row its place among these.
    pub(super) of_rows: Vec<i32>,
    pub(super) count: usize,
    pub(super) name: Option<Views>,
    pub(super) version: Option<Views>,
    pub(super) lists: Option<AttributeLists>,
    pub(super) schema_url: Option<Views>,
    pub(super) dropped: Option<Counts>,
}

fn views(projection: &Projection, name: &str) -> Option<Views> {
    projection.has_fixed(name).then(Views::new)
}

fn lists(projection: &Projection, name: &str) -> Option<AttributeLists> {
    projection.has_fixed(name).then(AttributeLists::new)
}

fn counts(projection: &Projection, name: &str) -> Option<Counts> {
    projection.has_fixed(name).then(Counts::default)
}

/// The columns of one level, from those of its entries.
struct Finish<'f> {
    of_rows: PrimitiveArray<Int32Type>,
    count: usize,
    keys: &'f ArrayRef,
    buffers: &'f Buffers,
}

impl Finish<'_> {
    fn text(&self, name: &'static str, column: Option<Views>) -> Built {
        (name, column.map(|column| shared(&self.of_rows, Arc::new(self.buffers.text(column)?))))
    }

    fn lists(&self, name: &'static str, column: Option<AttributeLists>) -> Built {
        (name, column.map(|column| shared(&self.of_rows, column.finish(self.keys, self.buffers)?)))
    }

    fn counts(&self, name: &'static str, column: Option<Counts>) -> Built {
        (name, column.map(|column| arrow::compute::take(&column.finish(self.count), &self.of_rows, None)))
    }
}

impl Resources {
    pub(super) fn new(projection: &Projection) -> Resources {
        Resources {
            of_rows: Vec::new(),
            count: 0,
            service: views(projection, "service"),
            service_instance: views(projection, "service_instance"),
            lists: lists(projection, schema::RESOURCE),
            schema_url: views(projection, "resource_schema_url"),
            entities: views(projection, "entity_refs"),
            dropped: counts(projection, "resource_dropped_attributes"),
        }
    }

    pub(super) fn finish(self, keys: &ArrayRef, buffers: &Buffers) -> [Built; 6] {
        let of_rows = PrimitiveArray::new(self.of_rows.into(), None);
        let finish = Finish { of_rows, count: self.count, keys, buffers };
        [
            finish.text("service", self.service),
            finish.text("service_instance", self.service_instance),
            finish.lists(schema::RESOURCE, self.lists),
            finish.text("resource_schema_url", self.schema_url),
            finish.text("entity_refs", self.entities),
            finish.counts("resource_dropped_attributes", self.dropped),
        ]
    }
}

impl Scopes {
    pub(super) fn new(projection: &Projection) -> Scopes {
        Scopes {
            of_rows: Vec::new(),
            count: 0,
            name: views(projection, "scope_name"),
            version: views(projection, "scope_version"),
            lists: lists(projection, schema::SCOPE),
            schema_url: views(projection, "scope_schema_url"),
            dropped: counts(projection, "scope_dropped_attributes"),
        }
    }

    pub(super) fn finish(self, keys: &ArrayRef, buffers: &Buffers) -> [Built; 5] {
        let of_rows = PrimitiveArray::new(self.of_rows.into(), None);
        let finish = Finish { of_rows, count: self.count, keys, buffers };
        [
            finish.text("scope_name", self.name),
            finish.text("scope_version", self.version),
            finish.lists(schema::SCOPE, self.lists),
            finish.text("scope_schema_url", self.schema_url),
            finish.counts("scope_dropped_attributes", self.dropped),
        ]
    }
}
