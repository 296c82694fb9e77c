//! Ids and names that are built from parts of a segment.

use hashbrown::HashMap;

use super::names;
use crate::columns::names::unknown;
use crate::columns::text::Text;
use crate::columns::views::{ViewBuffer, view};

/// Builds `{segment}.{number}`; null when the segment has no id.
pub(super) fn span_id(built: &mut Vec<u8>, bytes: &[u8], segment: Text, number: i32) -> Option<u128> {
    if segment.len() == 0 {
        return None;
    }
    let start = built.len();
    built.extend_from_slice(segment.bytes(bytes));
    built.push(b'.');
    put_number(built, number);
    Some(view(built, ViewBuffer::Built, start, built.len() - start))
}

/// Appends a number in decimal.
fn put_number(built: &mut Vec<u8>, number: i32) {
    let (mut digits, mut at, mut left) = ([0; 10], 10, number.unsigned_abs());
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    if number < 0 {
        built.push(b'-');
    }
    built.extend_from_slice(&digits[at..]);
}

/// A view of a reference type's name, which is built once a batch.
pub(super) fn ref_type(
    known: &mut HashMap<i32, u128, foldhash::fast::RandomState>,
    built: &mut Vec<u8>,
    number: i32,
) -> u128 {
    *known.entry(number).or_insert_with(|| {
        let start = built.len();
        let name = usize::try_from(number).ok().and_then(|number| names::REF_TYPES.get(number));
        match name {
            Some(name) => built.extend_from_slice(name.as_bytes()),
            None => built.extend_from_slice(unknown(number).as_bytes()),
        }
        view(built, ViewBuffer::Built, start, built.len() - start)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_everywhere() {
        for number in [0, 1, 9, 10, 99, 100, 12345, i32::MAX, -1, -10, i32::MIN] {
            let mut built = b"x".to_vec();
            put_number(&mut built, number);
            assert_eq!(built, format!("x{number}").into_bytes());
        }
    }
}
