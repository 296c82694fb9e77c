//! Span ids in parts.
//!
//! SkyWalking's `span_id` is `{segment_id}.{segment_span_id}`, and the parent's id is made in the same way. A
//! batch whose readers [take ids in parts](crate::Demand::id_parts) has no such texts. It has
//! [`PARENT_SEGMENT_ID`] and [`PARENT_NUMBER`] instead; the parts of the span's own id are columns in any
//! case. A source that has an id of another form (OTLP, JSON) keeps the texts.
//!
//! | [`PARENT_SEGMENT_ID`] | [`PARENT_NUMBER`] | `parent_span_id` |
//! |---|---|---|
//! | text | any | `{parent_segment_id}.{number}` |
//! | none | 0 or more | `{segment_id}.{number}`; none where `segment_id` is none |
//! | none | negative | none |
//!
//! A store that computes the texts from the parts holds ids of another form in [`OWN_SPAN_ID`] and
//! [`OWN_PARENT_SPAN_ID`] ([`in_parts`]).

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, Int32Array, PrimitiveArray, RecordBatch, RecordBatchOptions, StringViewArray,
    StringViewBuilder,
};
use arrow::datatypes::{DataType, Field, FieldRef, Int32Type, Schema};

use crate::text::TextColumn;

/// The segment of a span's parent, where that is another segment.
pub const PARENT_SEGMENT_ID: &str = "parent_segment_id";
/// The number of a span's parent in the parent's segment; negative at a root. Never null.
pub const PARENT_NUMBER: &str = "parent_segment_span_id";
/// The id of a span, where it is not made of segment and number.
pub const OWN_SPAN_ID: &str = "own_span_id";
/// The id of a span's parent, where it is not made of segment and number.
pub const OWN_PARENT_SPAN_ID: &str = "own_parent_span_id";

/// The columns from which a store computes `span_id` and `parent_span_id`, beside `segment_id` and
/// `segment_span_id`.
pub const PARTS: [&str; 4] = [PARENT_SEGMENT_ID, PARENT_NUMBER, OWN_SPAN_ID, OWN_PARENT_SPAN_ID];

const SPAN_ID: &str = "span_id";
const PARENT_SPAN_ID: &str = "parent_span_id";
/// The ids as texts.
pub(crate) const TEXTS: [&str; 2] = [SPAN_ID, PARENT_SPAN_ID];
const ROOT: i32 = -1;

/// The fields of [`PARENT_SEGMENT_ID`] and [`PARENT_NUMBER`], as decoders build them.
pub(crate) fn fields() -> [FieldRef; 2] {
    [
        Arc::new(Field::new(PARENT_SEGMENT_ID, DataType::Utf8View, true)),
        Arc::new(Field::new(PARENT_NUMBER, DataType::Int32, false)),
    ]
}

/// The batch with `span_id` and `parent_span_id` as texts, and without the parts that are only there to make
/// them. A batch without such parts comes back as it is; texts that are there already stay.
#[must_use]
pub fn as_texts(batch: &RecordBatch) -> Cow<'_, RecordBatch> {
    with_texts_without(batch, &PARTS)
}

/// The batch with `span_id` and `parent_span_id` as texts, beside the parts that it has.
#[must_use]
pub fn with_texts(batch: &RecordBatch) -> Cow<'_, RecordBatch> {
    with_texts_without(batch, &[])
}

fn with_texts_without<'a>(batch: &'a RecordBatch, gone: &[&str]) -> Cow<'a, RecordBatch> {
    if !PARTS.iter().any(|part| batch.column_by_name(part).is_some()) {
        return Cow::Borrowed(batch);
    }
    let texts = SpanTexts::new(batch);
    let id = || build(batch.num_rows(), |row, text| texts.id(row, text));
    let parent = || build(batch.num_rows(), |row, text| texts.parent(row, text));
    replace(batch, &[(SPAN_ID, &id), (PARENT_SPAN_ID, &parent)], gone)
}

/// The batch with the ids in [`PARTS`] only: without texts where it has parts already, else with the texts as
/// own ids.
#[must_use]
pub fn in_parts(batch: &RecordBatch) -> Cow<'_, RecordBatch> {
    if batch.column_by_name(PARENT_NUMBER).is_some() {
        return replace(batch, &[], &TEXTS);
    }
    let taken = |name| batch.column_by_name(name).map(Arc::clone);
    let none = || Arc::new(StringViewArray::new_null(batch.num_rows())) as ArrayRef;
    let id = || taken(SPAN_ID).unwrap_or_else(none);
    let parent = || taken(PARENT_SPAN_ID).unwrap_or_else(none);
    let roots = || Arc::new(Int32Array::from_value(ROOT, batch.num_rows())) as ArrayRef;
    replace(batch, &[(OWN_SPAN_ID, &id), (OWN_PARENT_SPAN_ID, &parent), (PARENT_NUMBER, &roots)], &TEXTS)
}

/// The batch without the columns `gone`, and with new ones where no column of the name is, at the place of
/// the first that goes.
fn replace<'a>(
    batch: &'a RecordBatch,
    new: &[(&str, &dyn Fn() -> ArrayRef)],
    gone: &[&str],
) -> Cow<'a, RecordBatch> {
    let (mut fields, mut arrays) = (Vec::new(), Vec::new());
    let mut missing = Some(new);
    let mut add_missing = |fields: &mut Vec<FieldRef>, arrays: &mut Vec<ArrayRef>| {
        for (name, array) in missing.take().into_iter().flatten() {
            if batch.column_by_name(name).is_none() {
                let array = array();
                fields.push(Arc::new(Field::new(*name, array.data_type().clone(), array.is_nullable())));
                arrays.push(array);
            }
        }
    };
    for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        if gone.contains(&field.name().as_str()) {
            add_missing(&mut fields, &mut arrays);
        } else {
            fields.push(Arc::clone(field));
            arrays.push(Arc::clone(array));
        }
    }
    add_missing(&mut fields, &mut arrays);
    let schema = Schema::new_with_metadata(fields, batch.schema_ref().metadata().clone());
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    let replaced = RecordBatch::try_new_with_options(Arc::new(schema), arrays, &options);
    replaced.map_or(Cow::Borrowed(batch), Cow::Owned)
}

fn build(rows: usize, mut text: impl FnMut(usize, &mut String) -> bool) -> ArrayRef {
    let mut built = StringViewBuilder::with_capacity(rows);
    let mut value = String::new();
    for row in 0..rows {
        value.clear();
        if text(row, &mut value) { built.append_value(&value) } else { built.append_null() }
    }
    Arc::new(built.finish())
}

/// The texts of the ids of a batch, from their parts.
struct SpanTexts<'a> {
    segment: Option<TextColumn<'a>>,
    number: Option<&'a PrimitiveArray<Int32Type>>,
    parent_segment: Option<TextColumn<'a>>,
    parent_number: Option<&'a PrimitiveArray<Int32Type>>,
    own: Option<TextColumn<'a>>,
    own_parent: Option<TextColumn<'a>>,
}

impl<'a> SpanTexts<'a> {
    fn new(batch: &'a RecordBatch) -> SpanTexts<'a> {
        let text = |name| batch.column_by_name(name).and_then(TextColumn::new);
        let number = |name| batch.column_by_name(name).and_then(|array: &ArrayRef| array.as_primitive_opt());
        SpanTexts {
            segment: text("segment_id"),
            number: number("segment_span_id"),
            parent_segment: text(PARENT_SEGMENT_ID),
            parent_number: number(PARENT_NUMBER),
            own: text(OWN_SPAN_ID),
            own_parent: text(OWN_PARENT_SPAN_ID),
        }
    }

    /// Writes the id of a span; whether it has one.
    fn id(&self, row: usize, out: &mut String) -> bool {
        let number = || self.number.filter(|numbers| numbers.is_valid(row)).map(|numbers| numbers.value(row));
        write(out, present(self.own, row), || Some((present(self.segment, row)?, number()?)))
    }

    /// Writes the id of a span's parent; whether it has one.
    fn parent(&self, row: usize, out: &mut String) -> bool {
        let number = self.parent_number.map_or(ROOT, |numbers| numbers.value(row));
        write(out, present(self.own_parent, row), || {
            let other = present(self.parent_segment, row);
            let segment = other.or_else(|| present(self.segment, row).filter(|_| number >= 0))?;
            Some((segment, number))
        })
    }
}

fn write<'a>(out: &mut String, own: Option<&str>, parts: impl FnOnce() -> Option<(&'a str, i32)>) -> bool {
    use std::fmt::Write as _;
    if let Some(own) = own {
        out.push_str(own);
        return true;
    }
    // Writing into a text does not fail.
    parts().is_some_and(|(segment, number)| write!(out, "{segment}.{number}").is_ok())
}

/// The text of a row. A store has the empty text where there is none.
fn present<'a>(column: Option<TextColumn<'a>>, row: usize) -> Option<&'a str> {
    column?.get(row).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(values: &[Option<&str>]) -> ArrayRef {
        Arc::new(StringViewArray::from(values.to_vec()))
    }

    fn rows_of(batch: &RecordBatch, name: &str) -> Vec<Option<String>> {
        let column = TextColumn::new(batch.column_by_name(name).unwrap()).unwrap();
        (0..batch.num_rows()).map(|row| column.get(row).map(str::to_owned)).collect()
    }

    fn some(texts: &[&str]) -> Vec<Option<String>> {
        texts.iter().map(|text| (!text.is_empty()).then(|| (*text).to_owned())).collect()
    }

    #[test]
    fn texts_are_made_of_parts() {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("segment_id", texts(&[Some("a.1"), Some("a.1"), Some("a.1"), None])),
            (PARENT_SEGMENT_ID, texts(&[None, Some("b"), None, None])),
            ("segment_span_id", Arc::new(Int32Array::from(vec![1, 0, 0, 5]))),
            (PARENT_NUMBER, Arc::new(Int32Array::from(vec![0, -3, -1, 4]))),
            ("service", texts(&[None, None, None, Some("s")])),
        ];
        let batch = RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, array)| (name, array, true)),
        )
        .unwrap();
        let made = as_texts(&batch);
        let names: Vec<_> = made.schema_ref().fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(names, ["segment_id", "span_id", "parent_span_id", "segment_span_id", "service"]);
        assert_eq!(rows_of(&made, "span_id"), some(&["a.1.1", "a.1.0", "a.1.0", ""]));
        assert_eq!(rows_of(&made, "parent_span_id"), some(&["a.1.0", "b.-3", "", ""]));
        assert!(matches!(as_texts(&made), Cow::Borrowed(_)), "there is nothing to do");
        let beside = with_texts(&batch);
        assert_eq!(beside.num_columns(), 7);
        assert_eq!(beside.column_by_name("span_id"), made.column_by_name("span_id"));
        assert!(matches!(in_parts(&batch), Cow::Owned(unchanged) if unchanged == batch));
    }

    #[test]
    fn ids_of_another_form_stay_as_they_are() {
        let columns: Vec<(&str, ArrayRef)> = vec![
            ("span_id", texts(&[Some("00f067aa0ba902b7"), None])),
            ("segment_id", texts(&[Some("a"), None])),
            ("segment_span_id", Arc::new(Int32Array::from(vec![Some(1), None]))),
            ("parent_span_id", texts(&[None, Some("53995c3f42cd8ad8")])),
        ];
        let batch = RecordBatch::try_from_iter_with_nullable(
            columns.into_iter().map(|(name, array)| (name, array, true)),
        )
        .unwrap();
        let parts = in_parts(&batch);
        let names: Vec<_> = parts.schema_ref().fields().iter().map(|field| field.name().clone()).collect();
        assert_eq!(names, [OWN_SPAN_ID, OWN_PARENT_SPAN_ID, PARENT_NUMBER, "segment_id", "segment_span_id"]);
        let back = as_texts(&parts);
        assert_eq!(rows_of(&back, "span_id"), some(&["00f067aa0ba902b7", ""]));
        assert_eq!(rows_of(&back, "parent_span_id"), some(&["", "53995c3f42cd8ad8"]));
    }
}
