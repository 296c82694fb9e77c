//! Reading blocks that the exporter has written as columns again, when rows of a block have to be told apart.
//!
//! The result has columns that [`convert`](crate::convert::convert) makes the same rows of. They are
//! those of the table, so what the batch had no column for is among its attributes; and a text without a
//! value is NULL, as no value is the empty text in a table.
//!

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryViewArray, BooleanArray, DictionaryArray, Float32Array, Float64Array, Int8Array,
    Int16Array, Int32Array, Int64Array, ListArray, RecordBatch, RecordBatchOptions, StringViewArray,
    StructArray, TimestampNanosecondArray, UInt8Array, UInt16Array, UInt32Array, UInt64Array, make_array,
};
use arrow::buffer::{BooleanBuffer, NullBuffer, OffsetBuffer};
use arrow::datatypes::{Field, Fields, Schema};
use arrow::error::ArrowError;
use weir_pdata::attributes::ValueType;
use weir_pdata::schema;

use crate::native::block::Body;
use crate::native::frames::{FrameError, unframed};

/// Why bytes are no block.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error(transparent)]
    Frames(#[from] FrameError),
    #[error("the block ends too early")]
    Short,
    #[error("a text is not UTF-8")]
    Text,
    #[error("a length or a number is out of range")]
    Range,
    #[error("values of type {0} cannot be read")]
    Type(String),
    #[error("the columns do not fit together: {0}")]
    Columns(String),
}

impl From<ArrowError> for DecodeError {
    fn from(error: ArrowError) -> DecodeError {
        DecodeError::Columns(error.to_string())
    }
}

/// The columns of a block.
pub(crate) fn read(body: &Body, compressed: bool) -> Result<RecordBatch, DecodeError> {
    let bytes = if compressed { unframed(&body.chunks)? } else { body.chunks.concat() };
    let mut reading = BlockReader(&bytes);
    let (count, rows) = (reading.length()?, reading.length()?);
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let (name, kind) = (reading.text()?, reading.text()?);
        for _ in kind.matches("LowCardinality") {
            reading.number()?;
        }
        let values = reading.values(&kind, rows)?;
        fields.push(Field::new(name, values.data_type().clone(), true));
        columns.push(values);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    Ok(RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)?)
}

/// Bytes still to be read.
pub(crate) struct BlockReader<'a>(pub &'a [u8]);

impl<'a> BlockReader<'a> {
    fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(DecodeError::Short)?;
        self.0 = rest;
        Ok(taken)
    }

    /// So many values of a fixed size.
    fn fixed<T, const N: usize>(
        &mut self,
        count: usize,
        of: impl Fn([u8; N]) -> T,
    ) -> Result<Vec<T>, DecodeError> {
        let bytes = self.take(count.checked_mul(N).ok_or(DecodeError::Range)?)?;
        Ok(bytes.as_chunks().0.iter().map(|bytes| of(*bytes)).collect())
    }

    fn number(&mut self) -> Result<u64, DecodeError> {
        Ok(self.fixed(1, u64::from_le_bytes)?[0])
    }

    fn length(&mut self) -> Result<usize, DecodeError> {
        let mut length = 0_usize;
        for shift in (0..usize::BITS).step_by(7) {
            let byte = self.take(1)?[0];
            length |= usize::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(length);
            }
        }
        Err(DecodeError::Range)
    }

    /// The next text.
    pub(crate) fn text(&mut self) -> Result<String, DecodeError> {
        let length = self.length()?;
        String::from_utf8(self.take(length)?.to_vec()).map_err(|_| DecodeError::Text)
    }

    fn texts(&mut self, count: usize) -> Result<Vec<String>, DecodeError> {
        (0..count).map(|_| self.text()).collect()
    }

    /// The texts of a `LowCardinality(String)`: the number of each, and the distinct ones.
    pub(crate) fn dictionary(&mut self, count: usize) -> Result<(Vec<i32>, Vec<String>), DecodeError> {
        // Of nothing the format has nothing.
        if count == 0 {
            return Ok((Vec::new(), Vec::new()));
        }
        let width = self.number()? & 0xff;
        let distinct = self.number()?;
        let distinct = self.texts(usize::try_from(distinct).map_err(|_| DecodeError::Range)?)?;
        if self.number()? != count as u64 {
            return Err(DecodeError::Range);
        }
        let numbers = match width {
            0 => self.fixed(count, |bytes| i32::from(u8::from_le_bytes(bytes)))?,
            1 => self.fixed(count, |bytes| i32::from(u16::from_le_bytes(bytes)))?,
            2 => self.fixed(count, i32::from_le_bytes)?,
            _ => return Err(DecodeError::Range),
        };
        let known = |number: &i32| usize::try_from(*number).is_ok_and(|number| number < distinct.len());
        if numbers.iter().all(known) { Ok((numbers, distinct)) } else { Err(DecodeError::Range) }
    }

    /// Where the lists of `rows` rows end, as Arrow has it.
    fn ends(&mut self, rows: usize) -> Result<OffsetBuffer<i32>, DecodeError> {
        let ends = self.fixed(rows, u64::from_le_bytes)?;
        let ends = ends.into_iter().map(|end| i32::try_from(end).map_err(|_| DecodeError::Range));
        let offsets = std::iter::once(Ok(0)).chain(ends).collect::<Result<Vec<_>, _>>()?;
        if offsets.is_sorted() { Ok(OffsetBuffer::new(offsets.into())) } else { Err(DecodeError::Range) }
    }

    fn values(&mut self, kind: &str, rows: usize) -> Result<ArrayRef, DecodeError> {
        if let Some(inner) = inside(kind, "Nullable") {
            let there = self.fixed(rows, |[byte]| byte == 0)?;
            let nulls = NullBuffer::new(BooleanBuffer::from(there));
            let values: ArrayRef = match inner {
                // An empty one is a value here.
                "String" => Arc::new(StringViewArray::from_iter_values(self.texts(rows)?)),
                _ => self.values(inner, rows)?,
            };
            return Ok(make_array(values.to_data().into_builder().nulls(Some(nulls)).build()?));
        }
        if kind == "LowCardinality(String)" {
            let (numbers, dictionary) = self.dictionary(rows)?;
            let filled = |number: i32| Some(number).filter(|number| !dictionary[*number as usize].is_empty());
            let numbers: Int32Array = numbers.into_iter().map(filled).collect();
            return Ok(Arc::new(DictionaryArray::try_new(
                numbers,
                Arc::new(StringViewArray::from(dictionary)),
            )?));
        }
        if let Some(inner) = inside(kind, "Map") {
            return self.attributes(inner, rows);
        }
        if let Some(inner) = inside(kind, "Array") {
            return match inside(inner, "Tuple") {
                Some(fields) => self.structures(fields, rows),
                None => self.lists(inner, rows),
            };
        }
        let name = kind.split('(').next().unwrap_or_default();
        Ok(match name {
            "String" => {
                let filled = |text: String| Some(text).filter(|text| !text.is_empty());
                Arc::new(StringViewArray::from_iter(self.texts(rows)?.into_iter().map(filled)))
            }
            "Bool" => Arc::new(BooleanArray::from(self.fixed(rows, |[byte]| byte != 0)?)),
            "Int8" => Arc::new(Int8Array::from(self.fixed(rows, i8::from_le_bytes)?)),
            "Int16" => Arc::new(Int16Array::from(self.fixed(rows, i16::from_le_bytes)?)),
            "Int32" => Arc::new(Int32Array::from(self.fixed(rows, i32::from_le_bytes)?)),
            "Int64" => Arc::new(Int64Array::from(self.fixed(rows, i64::from_le_bytes)?)),
            "UInt8" => Arc::new(UInt8Array::from(self.fixed(rows, u8::from_le_bytes)?)),
            "UInt16" => Arc::new(UInt16Array::from(self.fixed(rows, u16::from_le_bytes)?)),
            "UInt32" => Arc::new(UInt32Array::from(self.fixed(rows, u32::from_le_bytes)?)),
            "UInt64" => Arc::new(UInt64Array::from(self.fixed(rows, u64::from_le_bytes)?)),
            "Float32" => Arc::new(Float32Array::from(self.fixed(rows, f32::from_le_bytes)?)),
            "Float64" => Arc::new(Float64Array::from(self.fixed(rows, f64::from_le_bytes)?)),
            "DateTime" => {
                let nanos = self.fixed(rows, |bytes| i64::from(u32::from_le_bytes(bytes)) * 1_000_000_000)?;
                times(nanos)
            }
            "DateTime64" => {
                let unit = match inside(kind, name).and_then(|inner| inner.split(',').next()) {
                    Some("3") => 1_000_000,
                    Some("6") => 1_000,
                    Some("9") => 1,
                    _ => return Err(DecodeError::Type(kind.into())),
                };
                times(self.fixed(rows, |bytes| i64::from_le_bytes(bytes).saturating_mul(unit))?)
            }
            _ => return Err(DecodeError::Type(kind.into())),
        })
    }

    /// A map, as attribute lists.
    fn attributes(&mut self, inner: &str, rows: usize) -> Result<ArrayRef, DecodeError> {
        let ends = self.ends(rows)?;
        let count = usize::try_from(*ends.last().unwrap_or(&0)).map_err(|_| DecodeError::Range)?;
        let (keys, names) = self.dictionary(count)?;
        let (kind, values) = match inner.strip_prefix("LowCardinality(String), ") {
            Some("String") => (ValueType::String, BinaryViewArray::from_iter_values(self.texts(count)?)),
            Some("Float64") => {
                let values = self.fixed(count, |bytes: [u8; 8]| bytes)?;
                (ValueType::Float64, BinaryViewArray::from_iter_values(values))
            }
            _ => return Err(DecodeError::Type(format!("Map({inner})"))),
        };
        let keys = DictionaryArray::try_new(Int32Array::from(keys), Arc::new(StringViewArray::from(names)))?;
        let kinds = UInt8Array::from(vec![kind as u8; count]);
        let columns: Vec<ArrayRef> = vec![Arc::new(keys), Arc::new(kinds), Arc::new(values)];
        list(Arc::new(StructArray::try_new(schema::attribute_entry(), columns, None)?), ends)
    }

    fn lists(&mut self, inner: &str, rows: usize) -> Result<ArrayRef, DecodeError> {
        let ends = self.ends(rows)?;
        let count = usize::try_from(*ends.last().unwrap_or(&0)).map_err(|_| DecodeError::Range)?;
        list(self.values(inner, count)?, ends)
    }

    fn structures(&mut self, inner: &str, rows: usize) -> Result<ArrayRef, DecodeError> {
        let ends = self.ends(rows)?;
        let count = usize::try_from(*ends.last().unwrap_or(&0)).map_err(|_| DecodeError::Range)?;
        let (mut fields, mut columns) = (Vec::new(), Vec::new());
        for field in parts(inner) {
            let (name, kind) = field.split_once(' ').ok_or_else(|| DecodeError::Type(inner.into()))?;
            let values = self.values(kind, count)?;
            fields.push(Field::new(name, values.data_type().clone(), true));
            columns.push(values);
        }
        let entries = StructArray::try_new_with_length(Fields::from(fields), columns, None, count)?;
        list(Arc::new(entries), ends)
    }
}

fn list(entries: ArrayRef, ends: OffsetBuffer<i32>) -> Result<ArrayRef, DecodeError> {
    let item = Field::new("item", entries.data_type().clone(), true);
    Ok(Arc::new(ListArray::try_new(Arc::new(item), ends, entries, None)?))
}

fn times(nanos: Vec<i64>) -> ArrayRef {
    Arc::new(TimestampNanosecondArray::from(nanos).with_timezone("UTC"))
}

fn inside<'a>(kind: &'a str, name: &str) -> Option<&'a str> {
    kind.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')')
}

/// The parts between commas outside of brackets.
fn parts(inner: &str) -> Vec<&str> {
    let mut depth = 0;
    let outside = move |letter: char| {
        match letter {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        depth == 0 && letter == ','
    };
    inner.split(outside).map(str::trim).collect()
}

/// The rows of the block of rows that were encoded without compression: `column=value`, in the order sent.
#[cfg(test)]
pub(crate) fn rows(encoded: &[&crate::native::encoded_rows::EncodedRows]) -> Vec<String> {
    let body = crate::native::block::block(encoded, &mut crate::native::scratch::Scratch::new(false));
    let columns = read(&body, false).unwrap();
    assert!(
        columns
            .schema()
            .fields()
            .iter()
            .map(|field| field.name().as_str())
            .eq(body.columns.iter().map(|name| &**name))
    );
    shown(&columns)
}

/// The rows of these columns: `column=value`.
#[cfg(test)]
pub(crate) fn shown(columns: &RecordBatch) -> Vec<String> {
    use crate::convert::cell::ColumnReader;
    use weir_pdata::attributes::AttributeColumn;

    let cell = |array: &ArrayRef, row: usize| match AttributeColumn::new(array) {
        Some(lists) => {
            let entries = lists.row(row).map(|(key, value)| format!("{key}: {value}"));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(", "))
        }
        None if array.is_null(row) => "NULL".into(),
        None => ColumnReader::new(array).cell(row).to_string(),
    };
    let row = |row: usize| {
        let schema = columns.schema();
        let cells = schema.fields().iter().zip(columns.columns());
        cells
            .map(|(field, array)| format!("{}={}", field.name(), cell(array, row)))
            .collect::<Vec<_>>()
            .join(" ")
    };
    (0..columns.num_rows()).map(row).collect()
}
