use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::skywalking::KeyStringValuePair;

const KEY: u32 = bytes(1);
const VALUE: u32 = bytes(2);

/// The same message as prost would read, written with the reader.
fn pair(bytes_of: &[u8]) -> Result<(Vec<u8>, Vec<u8>), WireError> {
    let mut reader = Reader::new(bytes_of);
    let (mut key, mut value): (&[u8], &[u8]) = (&[], &[]);
    while let Some(tag) = reader.next_tag()? {
        match tag {
            KEY => key = reader.bytes()?,
            VALUE => value = reader.bytes()?,
            other => reader.skip_unknown(other, 2)?,
        }
    }
    Ok((key.to_vec(), value.to_vec()))
}

fn agree(bytes: &[u8]) {
    match (KeyStringValuePair::decode(bytes), pair(bytes)) {
        (Ok(theirs), ours) => {
            assert_eq!(ours, Ok((theirs.key.into_bytes(), theirs.value.into_bytes())));
        }
        // prost checks UTF-8 too.
        (Err(_), Ok((key, value))) => {
            assert!(
                std::str::from_utf8(&key).is_err() || std::str::from_utf8(&value).is_err() || repeated(bytes)
            );
        }
        (Err(_), Err(_)) => {}
    }
}

/// Whether a field comes twice: the earlier one may be the one that is not UTF-8.
fn repeated(of: &[u8]) -> bool {
    let (mut reader, mut fields) = (Reader::new(of), 0);
    while let Ok(Some(tag)) = reader.next_tag() {
        fields += usize::from(tag == bytes(1) || tag == bytes(2));
        if reader.skip(tag, MAX_DEPTH).is_err() {
            break;
        }
    }
    fields > 2
}

#[test]
fn a_varint_takes_at_most_64_bits() {
    for value in [0, 1, 127, 128, 300, u64::from(u32::MAX), u64::MAX] {
        let mut encoded = Vec::new();
        prost::encoding::encode_varint(value, &mut encoded);
        let mut reader = Reader::new(&encoded);
        assert_eq!(reader.varint(), Ok(value));
        assert_eq!(reader.offset(), encoded.len());
    }
    let ten = |last| [[0xff; 9].as_slice(), &[last]].concat();
    assert_eq!(Reader::new(&ten(1)).varint(), Ok(u64::MAX));
    let error = WireError { offset: 0, what: Malformed::Varint };
    assert_eq!(Reader::new(&ten(2)).varint(), Err(error));
    assert_eq!(Reader::new(&[0xff; 11]).varint(), Err(error));
    assert_eq!(Reader::new(&[0x80]).varint(), Err(error));
    assert_eq!(Reader::new(&[]).varint(), Err(error));
}

#[test]
fn an_int32_is_the_low_half_of_its_varint() {
    let mut encoded = Vec::new();
    prost::encoding::encode_varint(u64::MAX, &mut encoded);
    prost::encoding::encode_varint(0x1_0000_0007, &mut encoded);
    let mut reader = Reader::new(&encoded);
    assert_eq!((reader.int32(), reader.int32()), (Ok(-1), Ok(7)));
}

#[test]
fn fixed_values_are_little_endian_and_end_within_their_message() {
    let mut reader = Reader::new(&[1, 2, 0, 0, 0, 0, 0, 0x80, 5, 0, 0, 1, 9]);
    assert_eq!(reader.fixed64(), Ok(0x8000_0000_0000_0201));
    assert_eq!(reader.fixed32(), Ok(0x0100_0005));
    let beyond = |bytes| Err(WireError { offset: 12, what: Malformed::Length(bytes) });
    assert_eq!(reader.fixed32(), beyond(4));
    assert_eq!(reader.fixed64().map(|_| 0), beyond(8));
}

#[test]
fn an_error_says_where() {
    let mut reader = Reader::new(&[0x0a, 5, b'a']);
    assert_eq!(reader.next_tag(), Ok(Some(bytes(1))));
    let error = reader.bytes().unwrap_err();
    assert_eq!(error, WireError { offset: 2, what: Malformed::Length(5) });
    assert_eq!(error.to_string(), "byte 2: a value of 5 bytes reaches beyond the end of its message");
}

#[test]
fn a_nested_message_cannot_read_its_parents_bytes() {
    let mut reader = Reader::new(&[0x0a, 2, 0x0a, 5, b'a', b'b', b'c', b'd', b'e']);
    reader.next_tag().unwrap();
    let mut nested = reader.message().unwrap();
    assert_eq!(nested.next_tag(), Ok(Some(bytes(1))));
    assert_eq!(nested.bytes(), Err(WireError { offset: 4, what: Malformed::Length(5) }));
}

#[test]
fn unknown_groups_are_skipped_up_to_the_depth_that_prost_allows() {
    for depth in [1, 50, 98, 99, 100, 101, 300] {
        let nested = [vec![0x1b; depth], vec![0x1c; depth]].concat();
        assert_eq!(pair(&nested).is_ok(), KeyStringValuePair::decode(&*nested).is_ok(), "{depth}");
    }
}

#[test]
fn a_known_field_of_another_wire_type_is_an_error() {
    let error = pair(&[0x08, 1]).unwrap_err();
    assert_eq!(error, WireError { offset: 1, what: Malformed::WireType(1, 0) });
}

proptest! {
    #[test]
    fn any_bytes_mean_what_they_mean_to_prost(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        agree(&bytes);
    }

    #[test]
    fn plausible_bytes_mean_what_they_mean_to_prost(
        fields in prop::collection::vec((0u32..6, 0u32..7, prop::collection::vec(0u8..4, 0..4)), 0..6),
    ) {
        let mut bytes = Vec::new();
        for (number, wire_type, value) in fields {
            bytes.push((number << 3 | wire_type) as u8);
            if wire_type == 2 {
                bytes.push(value.len() as u8);
            }
            bytes.extend(value);
        }
        agree(&bytes);
    }
}
