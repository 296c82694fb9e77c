//! A batch of rows while it is built: what traces and metrics have in common.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, Int32Array, RecordBatch, RecordBatchOptions, StringViewArray};
use arrow::datatypes::{FieldRef, Int32Type, Schema};
use arrow::error::ArrowError;
use weir_pdata::{Level, Projection, Signal, schema};

use super::SCOPE;
use super::attributes::{Lists, Value, Wanted};
use crate::process::Identity;

/// Attributes, resources and services of rows.
pub(crate) struct Table {
    signal: Signal,
    projection: Arc<Projection>,
    rows: usize,
    attributes: Lists,
    wanted: Wanted,
    resources: Lists,
    resource_numbers: HashMap<Arc<Identity>, i32>,
    resource_of: Vec<i32>,
    services: Vec<String>,
    instances: Vec<Option<String>>,
}

impl Table {
    pub(crate) fn new(signal: Signal, projection: Arc<Projection>) -> Table {
        Table {
            signal,
            wanted: Wanted::new(&projection),
            projection,
            rows: 0,
            attributes: Lists::default(),
            resources: Lists::default(),
            resource_numbers: HashMap::new(),
            resource_of: Vec::new(),
            services: Vec::new(),
            instances: Vec::new(),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows
    }

    /// Adds an attribute to the row that is not yet ended.
    pub(crate) fn attribute(&mut self, key: &str, value: Value<'_>) {
        if self.wanted.take(self.rows, Level::Row, key, value) {
            self.attributes.push(key, value);
        }
    }

    /// Ends a row, of this process.
    pub(crate) fn end(&mut self, process: &Arc<Identity>) {
        self.attributes.end();
        let number = match self.resource_numbers.get(process) {
            Some(number) => *number,
            None => self.add_resource(process),
        };
        let texts = [
            ("process.executable.name", Some(process.name.as_str())),
            ("container.id", process.container.as_deref()),
        ];
        for (key, text) in texts {
            if let Some(text) = text {
                self.wanted.take(self.rows, Level::Resource, key, Value::Text(text));
            }
        }
        self.wanted.take(self.rows, Level::Resource, "process.pid", Value::Int(process.tgid.into()));
        self.resource_of.push(number);
        self.services.push(process.service_or_program());
        self.instances.push(process.instance.clone());
        self.rows += 1;
    }

    fn add_resource(&mut self, process: &Arc<Identity>) -> i32 {
        let number = i32::try_from(self.resource_numbers.len()).unwrap_or(i32::MAX);
        self.resources.push("process.pid", Value::Int(process.tgid.into()));
        if !process.name.is_empty() {
            self.resources.push("process.executable.name", Value::Text(&process.name));
        }
        if let Some(container) = &process.container {
            self.resources.push("container.id", Value::Text(container));
        }
        self.resources.end();
        self.resource_numbers.insert(Arc::clone(process), number);
        number
    }

    /// The batch of these columns and those that all rows have, as far as something reads them.
    pub(crate) fn finish(
        self,
        mut columns: HashMap<&'static str, ArrayRef>,
    ) -> Result<RecordBatch, ArrowError> {
        let rows = self.rows;
        columns.insert("service", Arc::new(StringViewArray::from_iter_values(&self.services)));
        columns.insert("service_instance", Arc::new(StringViewArray::from_iter(self.instances.iter())));
        columns.insert("scope_name", same(SCOPE, rows)?);
        let resources = Arc::new(self.resources.finish()?) as ArrayRef;
        let resource = DictionaryArray::<Int32Type>::try_new(Int32Array::from(self.resource_of), resources)?;
        columns.insert(schema::RESOURCE, Arc::new(resource));
        columns.insert(schema::ATTRIBUTES, Arc::new(self.attributes.finish()?));
        let (mut fields, mut arrays): (Vec<FieldRef>, Vec<ArrayRef>) = (Vec::new(), Vec::new());
        for field in schema::fixed(self.signal) {
            let name = field.name().as_str();
            let is_read = match name {
                schema::ATTRIBUTES => self.projection.rest,
                name => self.projection.has_fixed(name),
            };
            let Some(array) = columns.remove(name).filter(|_| is_read) else { continue };
            fields.push(Arc::new(field.as_ref().clone().with_data_type(array.data_type().clone())));
            arrays.push(array);
        }
        for (field, array) in self.wanted.finish(rows) {
            fields.push(field);
            arrays.push(array);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
    }
}

/// A column that has the same text in every row.
fn same(text: &'static str, rows: usize) -> Result<ArrayRef, ArrowError> {
    names(&[text], vec![0; rows])
}

/// A column of few texts, by their numbers.
pub(crate) fn names(texts: &[&'static str], numbers: Vec<i32>) -> Result<ArrayRef, ArrowError> {
    let values = Arc::new(StringViewArray::from_iter_values(texts)) as ArrayRef;
    Ok(Arc::new(DictionaryArray::<Int32Type>::try_new(Int32Array::from(numbers), values)?))
}
