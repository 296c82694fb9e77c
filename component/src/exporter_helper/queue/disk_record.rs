//! A batch as a record of a queue on disk. The bytes are described in `docs/storage-format.md`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, ListArray, MapArray, RecordBatch, RecordBatchOptions, StructArray,
};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::writer::StreamWriter;
use weir_pdata::{Ack, EventBatch, Origin, Signal};

const VERSION: u8 = 2;
/// Without the time.
const VERSION_1: u8 = 1;

/// The batch without its ack, and when it was queued: milliseconds since 1970.
///
/// # Errors
/// When it has no columns, or Arrow cannot write them.
pub(crate) fn encode(batch: &EventBatch, queued_ms: i64) -> Result<Vec<u8>, ArrowError> {
    let columns = batch
        .as_columns()
        .ok_or_else(|| ArrowError::NotYetImplemented("a batch that is not decoded".to_owned()))?;
    let columns = compact_batch(columns)?;
    let mut bytes = vec![VERSION, batch.signal as u8];
    bytes.extend(queued_ms.to_le_bytes());
    text(&mut bytes, &batch.origin.lane);
    bytes.extend(batch.origin.positions.start.to_le_bytes());
    bytes.extend(batch.origin.positions.end.to_le_bytes());
    match &batch.origin.identity {
        Some(identity) => {
            bytes.push(1);
            text(&mut bytes, identity);
        }
        None => bytes.push(0),
    }
    let mut writer = StreamWriter::try_new(bytes, &columns.schema())?;
    writer.write(&columns)?;
    writer.into_inner()
}

fn text(bytes: &mut Vec<u8>, text: &str) {
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX);
    bytes.extend(length.to_le_bytes());
    bytes.extend(text.as_bytes().iter().take(length as usize));
}

/// The batch that was encoded, without an ack, and when it was queued. `None`: an earlier version did not
/// write that down.
///
/// # Errors
/// Why these bytes are none.
pub(crate) fn decode(bytes: &[u8]) -> Result<(EventBatch, Option<i64>), String> {
    let mut fields = Fields { bytes, at: 0 };
    let version = fields.byte()?;
    if !matches!(version, VERSION_1 | VERSION) {
        return Err(format!("its version is {version}, this program reads up to {VERSION}"));
    }
    let signal = fields.byte()?;
    let signal = *Signal::ALL.get(usize::from(signal)).ok_or_else(|| format!("unknown signal {signal}"))?;
    let queued_ms = if version == VERSION_1 { None } else { Some(fields.number()?) };
    let lane = fields.text()?;
    let positions = fields.number()?..fields.number()?;
    let identity = match fields.byte()? {
        0 => None,
        _ => Some(fields.text()?),
    };
    let columns = bytes.get(fields.at..).ok_or("it is too short")?;
    // The one copy: Arrow reads from it in place, aligned as it wants.
    let columns = Buffer::from_slice_ref(columns);
    // Arrow trusts some of what it reads; bytes that are not its own make it panic.
    let columns = catch_unwind(AssertUnwindSafe(|| decode_columns(columns)))
        .map_err(|_| "Arrow cannot read it")?
        .map_err(|error| error.to_string())?;
    let origin = Origin { identity, ..Origin::lane(lane, positions) };
    Ok((EventBatch::columns(signal, columns, origin, Ack::none()), queued_ms))
}

fn decode_columns(mut bytes: Buffer) -> Result<RecordBatch, ArrowError> {
    let mut decoder = StreamDecoder::new();
    while !bytes.is_empty() {
        if let Some(batch) = decoder.decode(&mut bytes)? {
            return Ok(batch);
        }
    }
    Err(ArrowError::IpcError("there is no batch in it".to_owned()))
}

/// Reads what stands before the columns.
struct Fields<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(length);
        let taken = end.and_then(|end| self.bytes.get(self.at..end)).ok_or("it is too short")?;
        self.at += length;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, String> {
        Ok(self.take(1)?.first().copied().unwrap_or_default())
    }

    fn number(&mut self) -> Result<i64, String> {
        let bytes = self.take(8)?.try_into().map_err(|_| "it is too short")?;
        Ok(i64::from_le_bytes(bytes))
    }

    fn text(&mut self) -> Result<Arc<str>, String> {
        let length = u32::from_le_bytes(self.take(4)?.try_into().map_err(|_| "it is too short")?);
        let text = self.take(length as usize)?;
        std::str::from_utf8(text).map(Arc::from).map_err(|error| error.to_string())
    }
}

fn compact_batch(columns: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let compacted = columns.columns().iter().map(compact).collect::<Result<_, _>>()?;
    let options = RecordBatchOptions::new().with_row_count(Some(columns.num_rows()));
    RecordBatch::try_new_with_options(columns.schema(), compacted, &options)
}

/// The same values, where views hold only what they show. Without this every column would be written with the
/// whole arena that it looks into.
fn compact(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    Ok(match array.data_type() {
        DataType::Utf8View => Arc::new(array.as_string_view().gc()),
        DataType::BinaryView => Arc::new(array.as_binary_view().gc()),
        DataType::Dictionary(_, _) => {
            let dictionary = array.as_any_dictionary();
            dictionary.with_values(compact(dictionary.values())?)
        }
        DataType::Struct(fields) if !fields.is_empty() => Arc::new(compact_struct(array.as_struct())?),
        DataType::List(field) => {
            let list = array.as_list::<i32>();
            let (offsets, values) = rebased(list.offsets(), list.values());
            Arc::new(ListArray::try_new(
                Arc::clone(field),
                offsets,
                compact(&values)?,
                list.nulls().cloned(),
            )?)
        }
        DataType::Map(field, sorted) => {
            let map = array.as_map();
            let entries: ArrayRef = Arc::new(map.entries().clone());
            let (offsets, entries) = rebased(map.offsets(), &entries);
            let entries = compact_struct(entries.as_struct())?;
            Arc::new(MapArray::try_new(Arc::clone(field), offsets, entries, map.nulls().cloned(), *sorted)?)
        }
        _ => Arc::clone(array),
    })
}

fn compact_struct(array: &StructArray) -> Result<StructArray, ArrowError> {
    let columns = array.columns().iter().map(compact).collect::<Result<_, _>>()?;
    StructArray::try_new(array.fields().clone(), columns, array.nulls().cloned())
}

/// The part of the values that a list uses, and its offsets there.
fn rebased(offsets: &OffsetBuffer<i32>, values: &ArrayRef) -> (OffsetBuffer<i32>, ArrayRef) {
    let (first, last) = (offsets.first().copied().unwrap_or(0), offsets.last().copied().unwrap_or(0));
    let begin = usize::try_from(first).unwrap_or_default();
    let length = usize::try_from(last - first).unwrap_or_default();
    let moved: ScalarBuffer<i32> = offsets.iter().map(|offset| offset - first).collect();
    (OffsetBuffer::new(moved), values.slice(begin, length))
}

#[cfg(test)]
mod tests;
