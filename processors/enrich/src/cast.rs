//! Casting attribute columns from text.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, Float64Array, Int64Array, new_null_array};
use arrow::compute::cast;
use arrow::datatypes::DataType;
use arrow::error::ArrowError;
use serde::Deserialize;
use weir_pdata::text::TextColumn;

/// The types that an attribute can be cast to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum CastType {
    /// Signed 64-bit integer.
    Int64,
    /// Finite 64-bit float.
    Float64,
    /// `true` or `false`, in any case.
    Bool,
}

/// A column that was cast.
#[derive(Debug)]
pub(crate) struct Cast {
    /// The column in its new type; null where the value did not fit.
    pub array: ArrayRef,
    /// Rows whose value did not fit, ascending, with the value.
    pub misfits: Vec<(usize, String)>,
}

impl CastType {
    /// The type of the column.
    pub(crate) const fn data_type(self) -> DataType {
        match self {
            CastType::Int64 => DataType::Int64,
            CastType::Float64 => DataType::Float64,
            CastType::Bool => DataType::Boolean,
        }
    }
}

/// Casts a column. A column that is neither text nor of the type already is read as the text that Arrow
/// writes for it. `None`: there is no such text (lists, structs), the column stays as it is.
pub(crate) fn cast_column(column: &ArrayRef, to: CastType) -> Option<Cast> {
    let data_type = to.data_type();
    if *column.data_type() == data_type {
        return Some(Cast { array: Arc::clone(column), misfits: Vec::new() });
    }
    if column.logical_null_count() == column.len() {
        return Some(Cast { array: new_null_array(&data_type, column.len()), misfits: Vec::new() });
    }
    let as_text;
    let text = match TextColumn::new(column) {
        Some(text) => text,
        None => {
            as_text = cast(column, &DataType::Utf8View).ok()?;
            TextColumn::new(&as_text)?
        }
    };
    let mut misfits = Vec::new();
    let rows = column.len();
    let array: ArrayRef = match to {
        CastType::Int64 => {
            Arc::new(Int64Array::from_iter(parse(text, rows, &mut misfits, |text| text.parse().ok())))
        }
        CastType::Float64 => Arc::new(Float64Array::from_iter(parse(text, rows, &mut misfits, finite))),
        CastType::Bool => Arc::new(BooleanArray::from_iter(parse(text, rows, &mut misfits, truth))),
    };
    Some(Cast { array, misfits })
}

fn parse<'a, T>(
    text: TextColumn<'a>,
    rows: usize,
    misfits: &'a mut Vec<(usize, String)>,
    read: impl Fn(&str) -> Option<T> + 'a,
) -> impl Iterator<Item = Option<T>> + 'a {
    (0..rows).map(move |row| {
        let value = text.get(row)?;
        let read = read(value);
        if read.is_none() {
            misfits.push((row, value.to_owned()));
        }
        read
    })
}

fn finite(text: &str) -> Option<f64> {
    text.parse().ok().filter(|number: &f64| number.is_finite())
}

fn truth(text: &str) -> Option<bool> {
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

/// The values as texts.
///
/// # Errors
/// None that is known: attributes are texts, numbers and truth values.
pub(crate) fn as_text(array: &ArrayRef) -> Result<ArrayRef, ArrowError> {
    if TextColumn::new(array).is_some() { Ok(Arc::clone(array)) } else { cast(array, &DataType::Utf8View) }
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, DictionaryArray, StringViewArray};
    use arrow::datatypes::{Float64Type, Int32Type, Int64Type};
    use proptest::prelude::*;

    use super::*;

    fn views(values: &[Option<&str>]) -> ArrayRef {
        Arc::new(StringViewArray::from(values.to_vec()))
    }

    #[test]
    fn what_fits_becomes_a_value_and_the_rest_is_kept_aside() {
        let column =
            views(&[Some("7"), None, Some("x"), Some("-9223372036854775808"), Some(""), Some("1.0")]);
        let Cast { array, misfits } = cast_column(&column, CastType::Int64).unwrap();
        let numbers: Vec<_> = array.as_primitive::<Int64Type>().iter().collect();
        assert_eq!(numbers, [Some(7), None, None, Some(i64::MIN), None, None]);
        assert_eq!(misfits, [(2, "x".to_owned()), (4, String::new()), (5, "1.0".to_owned())]);
    }

    #[test]
    fn floats_are_finite_and_truth_has_two_words() {
        let column = views(&[Some("1e3"), Some("NaN"), Some("inf"), Some("1e999"), Some("-0.5")]);
        let Cast { array, misfits } = cast_column(&column, CastType::Float64).unwrap();
        let numbers: Vec<_> = array.as_primitive::<Float64Type>().iter().collect();
        assert_eq!(numbers, [Some(1000.0), None, None, None, Some(-0.5)]);
        assert_eq!(misfits.len(), 3);
        let column = views(&[Some("True"), Some("false"), Some("1"), None]);
        let Cast { array, misfits } = cast_column(&column, CastType::Bool).unwrap();
        let truths: Vec<_> = array.as_boolean().iter().collect();
        assert_eq!(truths, [Some(true), Some(false), None, None]);
        assert_eq!(misfits, [(2, "1".to_owned())]);
    }

    #[test]
    fn dictionaries_and_other_types_are_read_as_text() {
        let dictionary: DictionaryArray<Int32Type> =
            [Some("5"), None, Some("no"), Some("5")].into_iter().collect();
        let cast = cast_column(&(Arc::new(dictionary) as ArrayRef), CastType::Int64).unwrap();
        assert_eq!(
            cast.array.as_primitive::<Int64Type>().iter().collect::<Vec<_>>(),
            [Some(5), None, None, Some(5)]
        );
        assert_eq!(cast.misfits, [(2, "no".to_owned())]);
        let numbers = Arc::new(Int64Array::from(vec![Some(2), None])) as ArrayRef;
        let cast = cast_column(&numbers, CastType::Float64).unwrap();
        assert_eq!(cast.array.as_primitive::<Float64Type>().iter().collect::<Vec<_>>(), [Some(2.0), None]);
        assert!(cast.misfits.is_empty());
        let same = cast_column(&numbers, CastType::Int64).unwrap();
        assert!(Arc::ptr_eq(&same.array, &numbers));
    }

    proptest! {
        #[test]
        fn every_value_is_cast_or_kept(values in prop::collection::vec(prop::option::of("[0-9a-z.+-]{0,5}"), 0..40)) {
            let texts: Vec<Option<&str>> = values.iter().map(Option::as_deref).collect();
            for to in [CastType::Int64, CastType::Float64, CastType::Bool] {
                let Cast { array, misfits } = cast_column(&views(&texts), to).unwrap();
                prop_assert_eq!(array.data_type(), &to.data_type());
                for (row, value) in texts.iter().enumerate() {
                    let kept = misfits.iter().any(|(at, text)| *at == row && Some(&**text) == *value);
                    let cast = u8::from(array.is_valid(row));
                    prop_assert_eq!(u8::from(value.is_some()), cast + u8::from(kept));
                }
            }
        }
    }
}
