//! Lists of attributes, and the columns of keys that have one of their own.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryViewBuilder, DictionaryArray, Int32Array, ListArray, StringViewArray, StringViewBuilder,
    StructArray, UInt8Array,
};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, Field, FieldRef, Int32Type};
use arrow::error::ArrowError;
use weir_pdata::attributes::ValueType;
use weir_pdata::{Level, Projection, schema};

/// The value of an attribute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Text(&'a str),
    Int(i64),
    Bool(bool),
}

/// Lists of attributes, row by row.
#[derive(Debug, Default)]
pub(crate) struct Lists {
    numbers: HashMap<Box<str>, i32>,
    names: Vec<Box<str>>,
    keys: Vec<i32>,
    types: Vec<u8>,
    values: BinaryViewBuilder,
    ends: Vec<usize>,
}

impl Lists {
    /// Appends an attribute to the list that is not yet ended.
    pub(crate) fn push(&mut self, key: &str, value: Value<'_>) {
        let number = match self.numbers.get(key) {
            Some(number) => *number,
            None => {
                let number = i32::try_from(self.names.len()).unwrap_or(i32::MAX);
                self.numbers.insert(key.into(), number);
                self.names.push(key.into());
                number
            }
        };
        self.keys.push(number);
        let kind = match value {
            Value::Text(text) => {
                self.values.append_value(text.as_bytes());
                ValueType::String
            }
            Value::Int(number) => {
                self.values.append_value(number.to_le_bytes());
                ValueType::Int64
            }
            Value::Bool(value) => {
                self.values.append_value([u8::from(value)]);
                ValueType::Bool
            }
        };
        self.types.push(kind as u8);
    }

    /// Ends a list.
    pub(crate) fn end(&mut self) {
        self.ends.push(self.keys.len());
    }

    pub(crate) fn finish(mut self) -> Result<ListArray, ArrowError> {
        let DataType::List(item) = schema::attribute_list() else {
            return Err(ArrowError::SchemaError("attributes are no lists".into()));
        };
        let names = Arc::new(StringViewArray::from_iter_values(self.names.iter())) as ArrayRef;
        let keys = DictionaryArray::<Int32Type>::try_new(Int32Array::from(self.keys), names)?;
        let columns: Vec<ArrayRef> =
            vec![Arc::new(keys), Arc::new(UInt8Array::from(self.types)), Arc::new(self.values.finish())];
        let entries = StructArray::try_new(schema::attribute_entry(), columns, None)?;
        let mut last = 0;
        let lengths = self.ends.iter().map(|end| {
            let length = end - last;
            last = *end;
            length
        });
        ListArray::try_new(item, OffsetBuffer::from_lengths(lengths), Arc::new(entries), None)
    }
}

/// The columns of keys that something reads by name.
pub(crate) struct Wanted {
    columns: Vec<(Level, String, FieldRef, StringViewBuilder, usize)>,
}

impl Wanted {
    pub(crate) fn new(projection: &Projection) -> Wanted {
        let columns = projection.wanted.iter().map(|wanted| {
            let (level, key) = wanted.level_and_key();
            let field = Field::new(&wanted.column, schema::text(), true);
            let field = field.with_metadata(schema::attribute_metadata(level.name(), key));
            (level, key.to_owned(), Arc::new(field), StringViewBuilder::new(), 0)
        });
        Wanted { columns: columns.collect() }
    }

    /// Takes an attribute of row `row` into its column. Whether the list has to have it too: a value that is
    /// no text stays as it is there.
    pub(crate) fn take(&mut self, row: usize, level: Level, key: &str, value: Value<'_>) -> bool {
        let mut is_listed = true;
        for (of, name, _, column, filled) in &mut self.columns {
            if *of != level || name != key || *filled > row {
                continue;
            }
            while *filled < row {
                column.append_null();
                *filled += 1;
            }
            *filled += 1;
            match value {
                Value::Text(text) => {
                    column.append_value(text);
                    is_listed = false;
                }
                Value::Int(number) => column.append_value(number.to_string()),
                Value::Bool(value) => column.append_value(if value { "true" } else { "false" }),
            }
        }
        is_listed
    }

    pub(crate) fn finish(self, rows: usize) -> impl Iterator<Item = (FieldRef, ArrayRef)> {
        self.columns.into_iter().map(move |(_, _, field, mut column, filled)| {
            for _ in filled..rows {
                column.append_null();
            }
            (field, Arc::new(column.finish()) as ArrayRef)
        })
    }
}
