use super::*;
use arrow::array::{
    BinaryViewArray, BooleanArray, DictionaryArray, Int32Array, MapBuilder, StringBuilder, StringViewArray,
    TimestampNanosecondArray, UInt8Array,
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
