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

/// The batch that was encoded, without an ack, and when it was queued. `None`: an earlier version did not write that down.
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

/// The same values, where views hold only what they show. Without this every column would be written with the whole
/// arena that it looks into.
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
mod tests {
    use super::*;
    use arrow::array::{
        BinaryViewArray, BooleanArray, DictionaryArray, Int32Array, MapBuilder, StringBuilder,
        StringViewArray, TimestampNanosecondArray, UInt8Array,
    };
    use arrow::datatypes::{Field, Fields as ArrowFields, Int32Type};

    /// Views into one large arena, as the decoders make them.
    fn views(texts: &[&str]) -> StringViewArray {
        let mut arena = vec![b'-'; 1 << 20];
        let mut views = Vec::new();
        for text in texts {
            let at = u32::try_from(arena.len()).unwrap();
            arena.extend(text.as_bytes());
            views.push(arrow::array::make_view(text.as_bytes(), 0, at));
        }
        StringViewArray::new(views.into(), vec![Buffer::from_vec(arena)], None)
    }

    fn dictionary(keys: &[Option<i32>], values: ArrayRef) -> ArrayRef {
        Arc::new(DictionaryArray::<Int32Type>::new(Int32Array::from(keys.to_vec()), values))
    }

    /// A list of attributes: {key: dictionary of views, type, value: binary view}.
    fn attributes(lengths: &[usize]) -> ListArray {
        let count: usize = lengths.iter().sum();
        let keys: Vec<Option<i32>> = (0..count).map(|at| Some(i32::try_from(at % 2).unwrap())).collect();
        let key = dictionary(&keys, Arc::new(views(&["a key longer than twelve bytes", "short"])));
        let values: Vec<Vec<u8>> = (0..count).map(|at| vec![u8::try_from(at).unwrap(); at * 3]).collect();
        let value: ArrayRef = Arc::new(BinaryViewArray::from_iter(values.iter().map(Some)));
        let kind: ArrayRef = Arc::new(UInt8Array::from_iter_values((0..count).map(|at| at as u8)));
        let fields = ArrowFields::from(vec![
            Field::new("key", key.data_type().clone(), false),
            Field::new("type", DataType::UInt8, false),
            Field::new("value", DataType::BinaryView, true),
        ]);
        let entries = StructArray::new(fields.clone(), vec![key, kind, value], None);
        let field = Arc::new(Field::new("item", DataType::Struct(fields), false));
        let offsets = OffsetBuffer::from_lengths(lengths.iter().copied());
        ListArray::new(field, offsets, Arc::new(entries), None)
    }

    fn batch() -> EventBatch {
        let mut map = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
        for at in 0..4 {
            map.keys().append_value("k");
            map.values().append_value(at.to_string());
            map.append(at != 2).unwrap();
        }
        let times = TimestampNanosecondArray::from(vec![1, 2, 3, 4]).with_timezone("UTC");
        let resources = dictionary(&[Some(1), None, Some(0), Some(1)], Arc::new(attributes(&[2, 1])));
        let columns = RecordBatch::try_from_iter_with_nullable([
            ("time", Arc::new(times) as ArrayRef, false),
            ("message", Arc::new(views(&["one of more than twelve bytes", "", "three", "四"])), true),
            (
                "service",
                dictionary(&[Some(0), Some(1), None, Some(0)], Arc::new(views(&["pay", "a longer service"]))),
                true,
            ),
            ("attributes", Arc::new(attributes(&[0, 3, 1, 2])), true),
            ("resource", resources, true),
            ("labels", Arc::new(map.finish()), true),
            ("ok", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false), None])), true),
        ])
        .unwrap();
        let origin = Origin { identity: Some("w/1".into()), ..Origin::lane("kafka/t/3".into(), 7..11) };
        EventBatch::columns(Signal::Logs, columns, origin, Ack::none())
    }

    #[test]
    fn a_batch_and_its_slices_come_back_with_their_types_and_without_the_arena() {
        let batch = batch();
        let columns = batch.as_columns().unwrap();
        for (from, length) in [(0, 4), (0, 1), (1, 2), (3, 1), (2, 0)] {
            let part = columns.slice(from, length);
            let bytes = encode(&batch.clone().with_columns(part.clone()), 1_700_000_000_123).unwrap();
            assert!(bytes.len() < 10_000, "{} bytes", bytes.len());
            let (back, queued_ms) = decode(&bytes).unwrap();
            assert_eq!(queued_ms, Some(1_700_000_000_123));
            assert_eq!(back.as_columns().unwrap(), &part, "rows {from}+{length}");
            assert_eq!(back.as_columns().unwrap().schema(), part.schema());
            assert_eq!((back.signal, &*back.origin.lane), (Signal::Logs, "kafka/t/3"));
            assert_eq!((back.origin.positions, back.origin.identity.as_deref()), (7..11, Some("w/1")));
        }
    }

    #[test]
    fn bytes_that_are_no_batch_are_refused_and_never_panic() {
        let bytes = encode(&batch(), 5).unwrap();
        for length in 0..bytes.len() - 8 {
            // The end-of-stream mark at the end may be missing.
            assert!(decode(&bytes[..length]).is_err(), "cut at {length}");
        }
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 0x20;
            let _ = decode(&flipped);
        }
        let mut newer = bytes;
        newer[0] = 3;
        assert!(decode(&newer).unwrap_err().contains("version is 3"));
    }

    #[test]
    fn a_record_of_the_first_version_is_read_without_its_time() {
        let batch = batch();
        let mut bytes = encode(&batch, 5).unwrap();
        bytes.drain(2..10);
        bytes[0] = 1;
        let (back, queued_ms) = decode(&bytes).unwrap();
        assert_eq!((back.as_columns(), queued_ms), (batch.as_columns(), None));
    }
}
