//! Reading the values of any column, row by row.

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, DictionaryArray};
use arrow::datatypes::{
    DataType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit,
    TimestampNanosecondType, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use weir_pdata::text::TextColumn;

/// One value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Cell<'a> {
    Null,
    Text(&'a str),
    Integer(i128),
    Float(f64),
    Bool(bool),
    /// Nanoseconds since 1970.
    Time(i64),
    /// A value of another type, as text: a list or a structure as JSON.
    Other(String),
}

impl std::fmt::Display for Cell<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Cell::Null => Ok(()),
            Cell::Text(text) => f.write_str(text),
            Cell::Integer(number) => write!(f, "{number}"),
            Cell::Float(number) => write!(f, "{number}"),
            Cell::Bool(value) => write!(f, "{value}"),
            Cell::Time(nanos) => write!(f, "{nanos}"),
            Cell::Other(text) => f.write_str(text),
        }
    }
}

impl Cell<'_> {
    /// The whole number that it is, or that its text says.
    pub(super) fn integer(&self) -> Option<i128> {
        match self {
            Cell::Integer(number) => Some(*number),
            Cell::Bool(value) => Some(i128::from(*value)),
            Cell::Text(text) => text.parse().ok(),
            // Exact below 2^53 only.
            Cell::Float(number) if number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0 => {
                Some(*number as i128)
            }
            _ => None,
        }
    }

    /// The number that it is, or that its text says.
    pub(super) fn float(&self) -> Option<f64> {
        match self {
            Cell::Float(number) => Some(*number),
            Cell::Integer(number) => Some(*number as f64),
            Cell::Text(text) => text.parse().ok(),
            _ => None,
        }
    }

    /// What is true or false, or 1 or 0.
    pub(super) fn boolean(&self) -> Option<bool> {
        match self {
            Cell::Bool(value) => Some(*value),
            Cell::Integer(0) | Cell::Text("false" | "0") => Some(false),
            Cell::Integer(1) | Cell::Text("true" | "1") => Some(true),
            _ => None,
        }
    }
}

/// The values of one column in one batch: its reader, when the batch has the column, and the number of rows.
pub(crate) type ColumnBatch<'a> = (Option<ColumnReader<'a>>, usize);

/// Reads one array.
pub(crate) struct ColumnReader<'a> {
    array: &'a ArrayRef,
    rows: usize,
    reader: Reader<'a>,
    /// The text that all rows have.
    same: Option<&'a str>,
}

enum Reader<'a> {
    Text(TextColumn<'a>),
    /// A dictionary of anything but text.
    Keyed(&'a DictionaryArray<Int32Type>, Box<ColumnReader<'a>>),
    Integer(fn(&'a ArrayRef, usize) -> i128),
    Float(fn(&'a ArrayRef, usize) -> f64),
    Bool(&'a BooleanArray),
    Time(fn(&'a ArrayRef, usize) -> i64),
    /// Lists, maps and structures.
    Nested,
    Other(Option<ArrayFormatter<'a>>),
}

const SHOWN: FormatOptions<'static> = FormatOptions::new();

macro_rules! integer {
    ($kind:ty) => {
        Reader::Integer(|array, row| i128::from(array.as_primitive::<$kind>().value(row)))
    };
}

impl<'a> ColumnReader<'a> {
    /// Reads this array.
    pub(crate) fn new(array: &'a ArrayRef) -> ColumnReader<'a> {
        let reader = reader(array);
        let same = if let Reader::Text(text) = &reader { same(text) } else { None };
        ColumnReader { array, rows: array.len(), reader, same }
    }

    /// The array.
    pub(crate) fn array(&self) -> &'a ArrayRef {
        self.array
    }

    /// Whether the values are numbers.
    pub(crate) fn is_number(&self) -> bool {
        match &self.reader {
            Reader::Integer(_) | Reader::Float(_) => true,
            Reader::Keyed(_, values) => values.is_number(),
            _ => false,
        }
    }

    /// The array as text, when it is.
    pub(crate) fn text(&self) -> Option<TextColumn<'a>> {
        match self.reader {
            Reader::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The value of a row.
    #[inline]
    pub(crate) fn cell(&self, row: usize) -> Cell<'a> {
        match self.same {
            Some(text) if row < self.rows => Cell::Text(text),
            _ => self.read(row),
        }
    }

    fn read(&self, row: usize) -> Cell<'a> {
        if let Reader::Text(text) = &self.reader {
            return text.get(row).map_or(Cell::Null, Cell::Text);
        }
        if row >= self.rows || self.array.is_null(row) {
            return Cell::Null;
        }
        match &self.reader {
            Reader::Text(_) => Cell::Null,
            Reader::Keyed(dictionary, values) => {
                dictionary.key(row).map_or(Cell::Null, |key| values.cell(key))
            }
            Reader::Integer(read) => Cell::Integer(read(self.array, row)),
            Reader::Float(read) => Cell::Float(read(self.array, row)),
            Reader::Bool(values) => Cell::Bool(values.value(row)),
            Reader::Time(read) => Cell::Time(read(self.array, row)),
            Reader::Nested => {
                let mut json = Vec::new();
                weir_pdata::json::write_value(self.array, row, &mut json);
                Cell::Other(String::from_utf8_lossy(&json).into_owned())
            }
            Reader::Other(formatter) => formatter
                .as_ref()
                .and_then(|formatter| formatter.value(row).try_to_string().ok())
                .map_or(Cell::Null, Cell::Other),
        }
    }
}

/// The text that all rows have, when the array is a dictionary of one.
fn same<'a>(text: &TextColumn<'a>) -> Option<&'a str> {
    let (dictionary, values) = text.dictionary()?;
    if values == 1 && dictionary.keys().null_count() == 0 { text.get(0) } else { None }
}

fn reader(array: &ArrayRef) -> Reader<'_> {
    if let Some(text) = TextColumn::new(array) {
        return Reader::Text(text);
    }
    if let Some(dictionary) = array.as_any().downcast_ref::<DictionaryArray<Int32Type>>() {
        return Reader::Keyed(dictionary, Box::new(ColumnReader::new(dictionary.values())));
    }
    match array.data_type() {
        DataType::Int8 => integer!(Int8Type),
        DataType::Int16 => integer!(Int16Type),
        DataType::Int32 => integer!(Int32Type),
        DataType::Int64 => integer!(Int64Type),
        DataType::UInt8 => integer!(UInt8Type),
        DataType::UInt16 => integer!(UInt16Type),
        DataType::UInt32 => integer!(UInt32Type),
        DataType::UInt64 => integer!(UInt64Type),
        DataType::Float32 => {
            Reader::Float(|array, row| f64::from(array.as_primitive::<Float32Type>().value(row)))
        }
        DataType::Float64 => Reader::Float(|array, row| array.as_primitive::<Float64Type>().value(row)),
        DataType::Boolean => Reader::Bool(array.as_boolean()),
        DataType::Timestamp(TimeUnit::Nanosecond, _) => {
            Reader::Time(|array, row| array.as_primitive::<TimestampNanosecondType>().value(row))
        }
        DataType::List(_) | DataType::Struct(_) | DataType::Map(..) => Reader::Nested,
        _ => Reader::Other(ArrayFormatter::try_new(array.as_ref(), &SHOWN).ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int32Array, Int64Array, StringArray, TimestampMillisecondArray};
    use std::sync::Arc;

    #[test]
    fn a_dictionary_of_numbers_reads_as_numbers() {
        let keys = Int32Array::from(vec![Some(1), None, Some(0)]);
        let values = Arc::new(Int64Array::from(vec![7, 8]));
        let array: ArrayRef = Arc::new(DictionaryArray::new(keys, values));
        let source = ColumnReader::new(&array);
        assert!(source.is_number());
        let cells: Vec<_> = (0..4).map(|row| source.cell(row)).collect();
        assert_eq!(cells, [Cell::Integer(8), Cell::Null, Cell::Integer(7), Cell::Null]);
    }

    #[test]
    fn a_dictionary_of_one_text_is_the_same_in_all_rows() {
        let keyed = |keys: Vec<Option<i32>>, texts: Vec<&str>| -> ArrayRef {
            Arc::new(DictionaryArray::new(Int32Array::from(keys), Arc::new(StringArray::from(texts))))
        };
        assert_eq!(ColumnReader::new(&keyed(vec![Some(0); 3], vec!["a"])).same, Some("a"));
        assert_eq!(ColumnReader::new(&keyed(vec![Some(0), None], vec!["a"])).same, None);
        assert_eq!(ColumnReader::new(&keyed(vec![Some(0), Some(1)], vec!["a", "b"])).same, None);
    }

    #[test]
    fn a_type_without_a_reader_of_its_own_reads_as_text() {
        let array: ArrayRef = Arc::new(TimestampMillisecondArray::from(vec![1_000]));
        assert_eq!(ColumnReader::new(&array).cell(0), Cell::Other("1970-01-01T00:00:01".into()));
        let array: ArrayRef = Arc::new(StringArray::from(vec!["x"]));
        assert_eq!(ColumnReader::new(&array).cell(0), Cell::Text("x"));
    }
}
