//! Arrays that are checked once, and in few instructions.
//!
//! **Views** are not checked here. Arrow checks every view of an array that is made from parts: that it lies
//! within its buffer, and that its bytes are UTF-8. Decoders have just done both. Measured with
//! `measure_decode` it is a tenth of the decoder.
//!
//! The invariant that callers keep: every view was made by [`view`](crate::columns::views::view), or is 0
//! (the empty text), from bytes at that offset of the buffer that its source stands for, and for texts these
//! bytes are UTF-8. Builds with debug assertions, which are those that tests, property tests and fuzzing run,
//! check every array as Arrow does.
//!
//! **Keys of dictionaries and offsets of lists** are checked here, with loops that the compiler makes vectors
//! of. Arrow's stop at the first that is wrong, and take ten times as many instructions.
#![allow(unsafe_code, reason = "the one place where arrays are made unchecked; the invariant is above")]

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryViewArray, DictionaryArray, PrimitiveArray, StringViewArray};
use arrow::buffer::{Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::Int32Type;
use arrow::error::ArrowError;

/// The texts that these views show.
///
/// # Errors
/// With debug assertions, when the invariant is broken.
pub(crate) fn text(
    views: ScalarBuffer<u128>,
    buffers: Arc<[Buffer]>,
    nulls: Option<NullBuffer>,
) -> Result<StringViewArray, ArrowError> {
    if cfg!(debug_assertions) {
        return StringViewArray::try_new(views, buffers, nulls);
    }
    // SAFETY: the views are valid for the buffers and show UTF-8, by the invariant of this module.
    Ok(unsafe { StringViewArray::new_unchecked(views, buffers, nulls) })
}

/// The bytes that these views show.
///
/// # Errors
/// With debug assertions, when the invariant is broken.
pub(crate) fn binary(
    views: ScalarBuffer<u128>,
    buffers: Arc<[Buffer]>,
) -> Result<BinaryViewArray, ArrowError> {
    if cfg!(debug_assertions) {
        return BinaryViewArray::try_new(views, buffers, None);
    }
    // SAFETY: the views are valid for the buffers, by the invariant of this module.
    Ok(unsafe { BinaryViewArray::new_unchecked(views, buffers, None) })
}

/// A dictionary: `keys` are indexes of `values`.
///
/// # Errors
/// They are not.
pub(crate) fn dictionary(
    keys: PrimitiveArray<Int32Type>,
    values: ArrayRef,
) -> Result<DictionaryArray<Int32Type>, ArrowError> {
    // A negative key is a large number then. Keys of missing values are looked at too, and are 0 mostly.
    let most = keys.values().iter().fold(0, |most, key| key.cast_unsigned().max(most)) as usize;
    if most >= values.len() {
        return DictionaryArray::try_new(keys, values);
    }
    // SAFETY: every key is an index of the values.
    Ok(unsafe { DictionaryArray::new_unchecked(keys, values) })
}

/// Where lists begin and end.
///
/// # Errors
/// They do not begin at 0, or one ends before it begins.
pub(crate) fn offsets(offsets: Vec<i32>) -> Result<OffsetBuffer<i32>, ArrowError> {
    let rise = offsets.windows(2).fold(true, |rise, two| rise & (two[0] <= two[1]));
    if offsets.first() != Some(&0) || !rise {
        return Err(ArrowError::InvalidArgumentError("lists do not lie one after the other".to_owned()));
    }
    // SAFETY: there is an offset, none is negative, and none is below the one before it.
    Ok(unsafe { OffsetBuffer::new_unchecked(ScalarBuffer::from(offsets)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_beyond_the_values_are_refused() {
        let values = || Arc::new(StringViewArray::from(vec!["a", "b"])) as ArrayRef;
        let of = |keys: Vec<Option<i32>>| dictionary(PrimitiveArray::from(keys), values()).is_ok();
        assert!(of(vec![Some(0), Some(1), None]));
        assert!(of(vec![]));
        assert!(!of(vec![Some(0), Some(2)]));
        assert!(!of(vec![Some(-1)]));
        // Under a missing value may be anything.
        let nulls = NullBuffer::from(vec![true, false]);
        let keys = PrimitiveArray::new(vec![1, 7].into(), Some(nulls));
        assert!(dictionary(keys, values()).is_ok());
        let none = Arc::new(StringViewArray::new_null(0)) as ArrayRef;
        assert!(dictionary(PrimitiveArray::from(vec![0]), none.clone()).is_err());
        assert!(dictionary(PrimitiveArray::from(Vec::<i32>::new()), none).is_ok());
    }

    #[test]
    fn offsets_that_fall_are_refused() {
        for good in [vec![0], vec![0, 0, 3], vec![0, 5]] {
            assert_eq!(offsets(good.clone()).unwrap(), OffsetBuffer::new(good.into()));
        }
        for bad in [vec![], vec![1], vec![0, 3, 2], vec![0, -1], vec![-1, 0]] {
            assert!(offsets(bad.clone()).is_err(), "{bad:?}");
        }
    }
}
