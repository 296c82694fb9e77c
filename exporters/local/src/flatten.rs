//! From the columns of a pipeline to the columns of a file.
//!
//! * Fixed columns keep their names. Views become plain text, low-cardinality text stays a dictionary,
//!   `links` and `events` become JSON text.
//! * An attribute key is a text column of that name (`attr.` + key where that name is taken), a resource key
//!   a column `resource.` + key: the most frequent ones, as [`Keys`] chooses. Keys of scopes and of metrics'
//!   metadata have none. Columns that the pipeline made
//!   keep their type.
//! * What remains is in the map `attributes`: rarer keys, and the second and later values of a key that a row
//!   repeats, as `key#2`, `key#3`. Nothing is lost but the type of a value that has no typed column.
//!
//! All batches of an export get the same columns, so that they fit one file.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayBuilder, ArrayRef, AsArray, DictionaryArray, Int32Array, MapBuilder, MapFieldNames,
    RecordBatch, RecordBatchOptions, StringBuilder, new_null_array,
};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Field, Int32Type, Schema, SchemaRef};
use arrow::error::ArrowError;
use weir_pdata::attributes::AttributeColumn;
use weir_pdata::{Signal, schema};

use crate::keys::{Keys, RESOURCE_PREFIX, distinct};
use crate::nested::json_text;

/// The columns of the files of one export.
#[derive(Debug)]
pub(crate) struct Layout {
    schema: SchemaRef,
    /// Attribute key to the index of its column.
    attributes: HashMap<String, usize>,
    /// Resource key to the index of its column.
    resource: HashMap<String, usize>,
    /// The index of the map, when there is one.
    rest: Option<usize>,
}

impl Layout {
    /// The columns that these batches need.
    pub(crate) fn of(signal: Signal, batches: &[RecordBatch], max_columns: usize) -> Layout {
        let mut fields = plain_columns(signal, batches);
        let taken: HashSet<String> = fields.iter().map(|field| field.name().clone()).collect();
        let mut layout = Layout {
            schema: Arc::new(Schema::empty()),
            attributes: HashMap::new(),
            resource: HashMap::new(),
            rest: None,
        };
        // A key may be a column in one batch and in the list of another.
        for (index, field) in fields.iter().enumerate() {
            let metadata = field.metadata();
            if let Some(key) = metadata.get(schema::ATTRIBUTE_KEY)
                && *field.data_type() == DataType::Utf8
            {
                let resource = metadata.get(schema::ATTRIBUTE_LEVEL).is_some_and(|level| level == "resource");
                let keys = if resource { &mut layout.resource } else { &mut layout.attributes };
                keys.insert(key.clone(), index);
            }
        }
        let keys = Keys::of(signal, batches, max_columns, &taken);
        for (key, name) in keys.resource {
            layout.resource.entry(key).or_insert(fields.len());
            fields.push(Field::new(name, dictionary(), true));
        }
        for (key, name) in keys.attributes {
            layout.attributes.entry(key).or_insert(fields.len());
            fields.push(Field::new(name, DataType::Utf8, true));
        }
        if batches.iter().any(|batch| attribute_columns(batch).next().is_some()) {
            layout.rest = Some(fields.len());
            fields.push(Field::new(schema::ATTRIBUTES, schema::string_map(), true));
        }
        layout.schema = Arc::new(Schema::new(fields));
        layout
    }

    /// The columns.
    pub(crate) fn schema(&self) -> SchemaRef {
        self.schema.clone()
    }

    /// One of the batches that the layout was made of, in its columns.
    ///
    /// # Errors
    /// A column that cannot be converted.
    pub(crate) fn flatten(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let rows = batch.num_rows();
        let mut columns: Vec<Option<ArrayRef>> = vec![None; self.schema.fields().len()];
        for (column, field) in columns.iter_mut().zip(self.schema.fields()) {
            if let Some(array) = batch.column_by_name(field.name()).filter(|array| !is_attributes(array)) {
                *column = Some(convert(array, field.data_type())?);
            }
        }
        let mut rest = Rest::new(rows);
        let none = HashMap::new();
        for (name, keys, prefix) in [
            (schema::RESOURCE, &self.resource, RESOURCE_PREFIX),
            (schema::SCOPE, &none, "scope."),
            (schema::METADATA, &none, "metadata."),
        ] {
            if let Some(array) = batch.column_by_name(name) {
                self.add_shared(array, keys, prefix, &mut columns, &mut rest)?;
            }
        }
        if let Some(attributes) = batch.column_by_name(schema::ATTRIBUTES).and_then(AttributeColumn::new) {
            self.add_attributes(&attributes, rows, &mut columns, &mut rest);
        }
        if let Some(index) = self.rest {
            columns[index] = Some(rest.finish()?);
        }
        let columns = columns.into_iter().zip(self.schema.fields());
        let columns =
            columns.map(|(column, field)| column.unwrap_or_else(|| new_null_array(field.data_type(), rows)));
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(self.schema.clone(), columns.collect(), &options)
    }

    /// Each different resource (or scope, …) once; the rows refer to it. `named`: the keys with a column.
    fn add_shared(
        &self,
        array: &ArrayRef,
        named: &HashMap<String, usize>,
        prefix: &str,
        columns: &mut [Option<ArrayRef>],
        rest: &mut Rest,
    ) -> Result<(), ArrowError> {
        let (lists, count) = distinct(array);
        let Some(lists) = AttributeColumn::new(lists) else { return Ok(()) };
        let mut texts = Texts::new(named, columns);
        let mut others: Vec<Vec<(&str, String, Cell)>> = vec![Vec::new(); count];
        for (resource, others) in others.iter_mut().enumerate() {
            for (key, value) in lists.row(resource) {
                let value = value.to_string();
                match texts.set(resource, key, &value) {
                    Cell::Set => {}
                    cell => others.push((key, value, cell)),
                }
            }
        }
        let keys = match array.as_dictionary_opt::<Int32Type>() {
            Some(dictionary) => dictionary.keys().clone(),
            None => Int32Array::from_iter_values((0..).take(array.len())),
        };
        for (index, texts) in texts.finish(count) {
            let column: ArrayRef = Arc::new(DictionaryArray::try_new(keys.clone(), texts)?);
            columns[index] = Some(convert(&column, self.schema.field(index).data_type())?);
        }
        if others.iter().any(|others| !others.is_empty()) {
            for (row, resource) in keys.iter().enumerate() {
                let resource = resource.and_then(|resource| usize::try_from(resource).ok());
                let others = resource.and_then(|resource| others.get(resource)).into_iter().flatten();
                for (key, value, cell) in others {
                    rest.add(row, format!("{prefix}{key}"), value.clone(), *cell);
                }
            }
        }
        Ok(())
    }

    fn add_attributes(
        &self,
        attributes: &AttributeColumn<'_>,
        rows: usize,
        columns: &mut [Option<ArrayRef>],
        rest: &mut Rest,
    ) {
        let mut texts = Texts::new(&self.attributes, columns);
        for row in 0..rows {
            for (key, value) in attributes.row(row) {
                let value = value.to_string();
                match texts.set(row, key, &value) {
                    Cell::Set => {}
                    cell => rest.add(row, key.to_owned(), value, cell),
                }
            }
        }
        for (index, texts) in texts.finish(rows) {
            columns[index] = Some(texts);
        }
    }
}

/// The place of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    /// It is in its column.
    Set,
    /// Its key has no column.
    NoColumn,
    /// The row has another value in the column.
    Taken,
}

/// Text columns that are filled row by row, most cells staying null.
struct Texts<'a> {
    columns: HashMap<&'a str, usize>,
    builders: Vec<(usize, StringBuilder)>,
}

impl<'a> Texts<'a> {
    /// For the keys whose column the batch does not have already.
    fn new(keys: &'a HashMap<String, usize>, columns: &[Option<ArrayRef>]) -> Texts<'a> {
        let missing = keys.iter().filter(|(_, index)| columns[**index].is_none());
        let mut texts = Texts { columns: HashMap::new(), builders: Vec::new() };
        for (key, index) in missing {
            texts.columns.insert(key, texts.builders.len());
            texts.builders.push((*index, StringBuilder::new()));
        }
        texts
    }

    /// Sets a cell. Rows never decrease.
    fn set(&mut self, row: usize, key: &str, value: &str) -> Cell {
        let Some(at) = self.columns.get(key) else { return Cell::NoColumn };
        let builder = &mut self.builders[*at].1;
        if builder.len() > row {
            return Cell::Taken;
        }
        builder.append_nulls(row - builder.len());
        builder.append_value(value);
        Cell::Set
    }

    fn finish(self, rows: usize) -> impl Iterator<Item = (usize, ArrayRef)> {
        self.builders.into_iter().map(move |(index, mut builder)| {
            builder.append_nulls(rows - builder.len());
            (index, Arc::new(builder.finish()) as ArrayRef)
        })
    }
}

/// Values that have no column, row by row.
struct Rest {
    rows: usize,
    entries: BTreeMap<usize, Vec<(String, String, Cell)>>,
}

impl Rest {
    fn new(rows: usize) -> Rest {
        Rest { rows, entries: BTreeMap::new() }
    }

    fn add(&mut self, row: usize, key: String, value: String, cell: Cell) {
        self.entries.entry(row).or_default().push((key, value, cell));
    }

    /// A map for each row, null where nothing remains. Keys are unique within a row.
    fn finish(mut self) -> Result<ArrayRef, ArrowError> {
        let names = MapFieldNames { entry: "entries".into(), key: "key".into(), value: "value".into() };
        let mut map = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
        for row in 0..self.rows {
            let entries = self.entries.remove(&row).unwrap_or_default();
            let mut times: HashMap<&str, usize> = HashMap::new();
            let mut used: HashSet<String> = HashSet::new();
            for (key, value, cell) in &entries {
                let times = times.entry(key).or_insert(usize::from(*cell == Cell::Taken));
                let name = loop {
                    *times += 1;
                    let name = if *times == 1 { key.clone() } else { format!("{key}#{times}") };
                    if used.insert(name.clone()) {
                        break name;
                    }
                };
                map.keys().append_value(name);
                map.values().append_value(value);
            }
            map.append(!entries.is_empty())?;
        }
        Ok(Arc::new(map.finish()))
    }
}

fn dictionary() -> DataType {
    DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8))
}

fn is_attributes(array: &ArrayRef) -> bool {
    AttributeColumn::new(array).is_some()
}

fn attribute_columns(batch: &RecordBatch) -> impl Iterator<Item = &ArrayRef> {
    let lists = [schema::ATTRIBUTES, schema::RESOURCE, schema::SCOPE, schema::METADATA];
    let named = lists.into_iter().filter_map(|name| batch.column_by_name(name));
    named.filter(|array| is_attributes(array))
}

/// Every column but attribute lists: fixed ones in their order, then the others by name.
fn plain_columns(signal: Signal, batches: &[RecordBatch]) -> Vec<Field> {
    let mut found: BTreeMap<(usize, String), Field> = BTreeMap::new();
    let fixed = schema::fixed(signal);
    for batch in batches {
        for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
            let other = schema::is_of_record(field.name()) || field.name() == schema::BODY_VALUE;
            if other || is_attributes(array) {
                continue;
            }
            let place = fixed.find(field.name());
            let stored = stored_type(place.map_or(field.data_type(), |(_, fixed)| fixed.data_type()));
            let order = place.map_or(fixed.len(), |(index, _)| index);
            let new = Field::new(field.name(), stored.clone(), true).with_metadata(field.metadata().clone());
            let known = found.entry((order, field.name().clone())).or_insert(new);
            if *known.data_type() != stored {
                // Two types of one column: text holds both.
                known.set_data_type(DataType::Utf8);
            }
        }
    }
    found.into_values().collect()
}

/// The type that a column has in a file.
fn stored_type(data_type: &DataType) -> DataType {
    match data_type {
        DataType::Utf8View | DataType::LargeUtf8 | DataType::Null => DataType::Utf8,
        DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
        DataType::Dictionary(_, values) => match stored_type(values) {
            DataType::Utf8 => dictionary(),
            other => other,
        },
        DataType::RunEndEncoded(_, values) => stored_type(values.data_type()),
        DataType::List(item) if !item.data_type().is_nested() => DataType::List(item.clone()),
        nested if nested.is_nested() && !matches!(nested, DataType::Map(..)) => DataType::Utf8,
        other => other.clone(),
    }
}

fn convert(array: &ArrayRef, target: &DataType) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == target {
        return Ok(array.clone());
    }
    if array.data_type().is_nested() && *target == DataType::Utf8 {
        return Ok(Arc::new(json_text(array)));
    }
    cast_with_options(array, target, &CastOptions { safe: true, ..CastOptions::default() })
}
