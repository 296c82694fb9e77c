//! Arrays of views that are not checked a second time.
//!
//! Arrow checks every view of an array that is made from parts: that it lies within its buffer, and that its
//! bytes are UTF-8. Decoders have just done both. Measured with `measure_decode` it is a tenth of the
//! decoder.
//!
//! The invariant that callers keep: every view was made by [`view`](crate::columns::views::view), or is 0
//! (the empty text), from bytes at that offset of the buffer that its source stands for, and for texts these
//! bytes are UTF-8. Builds with debug assertions, which are those that tests, property tests and fuzzing run,
//! check every array as Arrow does.
#![allow(unsafe_code, reason = "the one place where arrays are made unchecked; the invariant is above")]

use std::sync::Arc;

use arrow::array::{BinaryViewArray, StringViewArray};
use arrow::buffer::{Buffer, NullBuffer, ScalarBuffer};
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
