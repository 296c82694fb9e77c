//! Building columns of single values: text, numbers, times.
//!
//! The arrays are plain ones that every server version reads: `Binary`, or a dictionary of it with the narrowest keys; never views.
//! A value that does not fit its column (text in a number, a number out of range, a time before 1970 or after
//! 2106) is reported as a [`Misfit`]; the column then holds NULL, the type's zero, or the nearest time. The server
//! would store something arbitrary instead.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanArray, BooleanBufferBuilder, DictionaryArray,
    NullBufferBuilder, PrimitiveArray,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    ArrowTimestampType, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type,
    TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType,
    UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use weir_pdata::text::TextColumn;

use crate::columns::{Column, Integer, Kind, Precision};
use crate::source::{Cell, Source};
use crate::texts::{Interner, Texts, TooLarge};

/// The values of one column in one batch: its reader, when the batch has the column, and the number of rows.
pub(crate) type Part<'a> = (Option<Source<'a>>, usize);

/// A value that does not fit its column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Misfit {
    /// The row, counted over all batches.
    pub row: usize,
    /// The value as text.
    pub value: String,
}

/// The first time that a `DateTime` holds, in nanoseconds: 1970-01-01.
const FIRST_TIME: i64 = 0;
/// The last: 2106-02-07 06:28:15.999999999. Days, minutes and TTL are computed as `Date` and `DateTime`, and wrap beyond.
const LAST_TIME: i64 = u32::MAX as i64 * 1_000_000_000 + 999_999_999;

/// The nearest time that tables can be ordered and partitioned by.
pub(crate) fn clamped(nanos: i64) -> i64 {
    nanos.clamp(FIRST_TIME, LAST_TIME)
}

/// Builds the values of `column` from those of all batches. `None` for kinds that hold more than a single value.
pub(crate) fn build(
    column: &Column,
    parts: &[Part<'_>],
    misfits: &mut Vec<Misfit>,
) -> Result<Option<ArrayRef>, TooLarge> {
    let mut cells = Cells { parts, nullable: column.nullable, misfits };
    Ok(Some(match column.kind {
        Kind::Text => return text(parts, column.nullable).map(Some),
        Kind::Integer(Integer::I8) => cells.integers::<Int8Type>(),
        Kind::Integer(Integer::I16) => cells.integers::<Int16Type>(),
        Kind::Integer(Integer::I32) => cells.integers::<Int32Type>(),
        Kind::Integer(Integer::I64) => cells.integers::<Int64Type>(),
        Kind::Integer(Integer::U8) => cells.integers::<UInt8Type>(),
        Kind::Integer(Integer::U16) => cells.integers::<UInt16Type>(),
        Kind::Integer(Integer::U32) => cells.integers::<UInt32Type>(),
        Kind::Integer(Integer::U64) => cells.integers::<UInt64Type>(),
        Kind::Float32 => Arc::new(cells.numbers::<Float32Type>(|cell| float(cell).map(|value| value as f32))),
        Kind::Float64 => Arc::new(cells.numbers::<Float64Type>(float)),
        Kind::Bool => cells.booleans(),
        Kind::Time(precision) => cells.times(precision),
        Kind::TextMap | Kind::NumberMap | Kind::Links | Kind::SpanEvents | Kind::Unknown => return Ok(None),
    }))
}

struct Cells<'a, 'b> {
    parts: &'b [Part<'a>],
    nullable: bool,
    misfits: &'b mut Vec<Misfit>,
}

impl Cells<'_, '_> {
    /// Reads every row with `read`, which gives `None` when the value does not fit.
    fn read<T: Default + Copy>(&mut self, read: impl Fn(&Cell<'_>) -> Option<T>) -> Vec<Option<T>> {
        let none = if self.nullable { None } else { Some(T::default()) };
        let mut values = Vec::with_capacity(self.parts.iter().map(|(_, rows)| rows).sum());
        for (source, rows) in self.parts {
            let Some(source) = source else {
                values.resize(values.len() + rows, none);
                continue;
            };
            for row in 0..*rows {
                let value = match source.cell(row) {
                    Cell::Null => none,
                    cell => read(&cell).map_or_else(
                        || {
                            self.misfits.push(Misfit { row: values.len(), value: cell.to_string() });
                            none
                        },
                        Some,
                    ),
                };
                values.push(value);
            }
        }
        values
    }

    /// The values as they are, and which are there, when all batches have them in the column's own type.
    fn same<T: ArrowPrimitiveType>(&self) -> Option<(Vec<T::Native>, Option<NullBuffer>)> {
        let rows = self.parts.iter().map(|(_, rows)| rows).sum();
        let mut values = Vec::with_capacity(rows);
        let mut there = NullBufferBuilder::new(rows);
        for (source, rows) in self.parts {
            let Some(source) = source else {
                values.resize(values.len() + rows, T::Native::default());
                there.append_n_nulls(*rows);
                continue;
            };
            let array = source.array().as_any().downcast_ref::<PrimitiveArray<T>>()?;
            match array.nulls().filter(|nulls| nulls.null_count() > 0) {
                None => {
                    values.extend_from_slice(array.values());
                    there.append_n_non_nulls(*rows);
                }
                Some(nulls) => {
                    values.extend(array.iter().map(Option::unwrap_or_default));
                    there.append_buffer(nulls);
                }
            }
        }
        Some((values, there.finish().filter(|_| self.nullable)))
    }

    fn numbers<T: ArrowPrimitiveType>(
        &mut self,
        read: impl Fn(&Cell<'_>) -> Option<T::Native>,
    ) -> PrimitiveArray<T> {
        match self.same::<T>() {
            Some((values, nulls)) => PrimitiveArray::new(values.into(), nulls),
            None => PrimitiveArray::from_iter(self.read(read)),
        }
    }

    fn integers<T: ArrowPrimitiveType>(&mut self) -> ArrayRef
    where
        T::Native: TryFrom<i128>,
    {
        let read = |cell: &Cell<'_>| integer(cell).and_then(|number| T::Native::try_from(number).ok());
        Arc::new(self.numbers::<T>(read))
    }

    fn booleans(&mut self) -> ArrayRef {
        let arrays = self.parts.iter().map(|(source, _)| source.as_ref()?.array().as_boolean_opt());
        let same: Option<Vec<_>> =
            arrays.map(|array| array.filter(|array| array.null_count() == 0)).collect();
        let Some(arrays) = same else {
            return Arc::new(self.read(boolean).into_iter().collect::<BooleanArray>());
        };
        let rows = self.parts.iter().map(|(_, rows)| rows).sum();
        let mut values = BooleanBufferBuilder::new(rows);
        arrays.iter().for_each(|array| values.append_buffer(array.values()));
        Arc::new(BooleanArray::new(values.finish(), None))
    }

    /// Times, clamped. A clamped time is a misfit too: its own value must not be lost.
    fn times(&mut self, precision: Precision) -> ArrayRef {
        let read = |cell: &Cell<'_>| match cell {
            Cell::Time(nanos) => Some(*nanos),
            _ => None,
        };
        let (_, nanos, nulls) = self.numbers::<TimestampNanosecondType>(read).into_parts();
        let mut nanos = Vec::from(nanos);
        for (row, value) in nanos.iter_mut().enumerate() {
            if clamped(*value) != *value {
                self.misfits.push(Misfit { row, value: value.to_string() });
                *value = clamped(*value);
            }
        }
        match precision {
            Precision::Seconds => times::<TimestampSecondType>(nanos, 1_000_000_000, nulls),
            Precision::Millis => times::<TimestampMillisecondType>(nanos, 1_000_000, nulls),
            Precision::Micros => times::<TimestampMicrosecondType>(nanos, 1_000, nulls),
            Precision::Nanos => times::<TimestampNanosecondType>(nanos, 1, nulls),
        }
    }
}

fn integer(cell: &Cell<'_>) -> Option<i128> {
    match cell {
        Cell::Integer(number) => Some(*number),
        Cell::Bool(value) => Some(i128::from(*value)),
        Cell::Text(text) => text.parse().ok(),
        // Exact below 2^53 only.
        Cell::Float(number) if number.fract() == 0.0 && number.abs() < 9_007_199_254_740_992.0 => {
            Some(*number as i128)
        }
        _ => None,
    }
}

fn float(cell: &Cell<'_>) -> Option<f64> {
    match cell {
        Cell::Float(number) => Some(*number),
        Cell::Integer(number) => Some(*number as f64),
        Cell::Text(text) => text.parse().ok(),
        _ => None,
    }
}

fn boolean(cell: &Cell<'_>) -> Option<bool> {
    match cell {
        Cell::Bool(value) => Some(*value),
        Cell::Integer(0) | Cell::Text("false" | "0") => Some(false),
        Cell::Integer(1) | Cell::Text("true" | "1") => Some(true),
        _ => None,
    }
}

/// Times in units of so many nanoseconds.
fn times<T: ArrowTimestampType>(nanos: Vec<i64>, unit: i64, nulls: Option<NullBuffer>) -> ArrayRef {
    let values =
        if unit == 1 { nanos } else { nanos.into_iter().map(|nanos| nanos.div_euclid(unit)).collect() };
    Arc::new(PrimitiveArray::<T>::new(values.into(), nulls).with_timezone("UTC"))
}

/// A text column: a dictionary when one of the sources is one, else plain text.
fn text(parts: &[Part<'_>], nullable: bool) -> Result<ArrayRef, TooLarge> {
    let is_dictionary = |(source, _): &Part<'_>| {
        source.as_ref().and_then(Source::text).is_some_and(|text| text.dictionary().is_some())
    };
    if parts.iter().any(is_dictionary) { dictionary(parts, nullable) } else { plain(parts, nullable) }
}

fn plain(parts: &[Part<'_>], nullable: bool) -> Result<ArrayRef, TooLarge> {
    let rows = parts.iter().map(|(_, rows)| rows).sum();
    let texts = parts.iter().filter_map(|(source, _)| source.as_ref().and_then(Source::text));
    let mut values = Texts::with_room(rows, texts.map(|text| text.bytes()).sum());
    let mut there = NullBufferBuilder::new(rows);
    for (source, rows) in parts {
        if let Some(TextColumn::View(array)) = source.as_ref().and_then(Source::text) {
            let views = array.views().iter().copied();
            match array.nulls().filter(|nulls| nulls.null_count() > 0) {
                None => {
                    values.push_views(views, array.data_buffers())?;
                    there.append_n_non_nulls(*rows);
                }
                Some(nulls) => {
                    let views = views.zip(nulls.iter()).map(|(view, there)| if there { view } else { 0 });
                    values.push_views(views, array.data_buffers())?;
                    there.append_buffer(nulls);
                }
            }
            continue;
        }
        for row in 0..*rows {
            let cell = source.as_ref().map_or(Cell::Null, |source| source.cell(row));
            there.append(cell != Cell::Null);
            match cell {
                Cell::Text(text) => values.push(text.as_bytes())?,
                other => values.write(&other)?,
            }
        }
    }
    Ok(Arc::new(values.finish(there.finish().filter(|_| nullable))))
}

/// Distinct texts of a batch for which there is room from the beginning.
const DISTINCT: usize = 16;

fn dictionary(parts: &[Part<'_>], nullable: bool) -> Result<ArrayRef, TooLarge> {
    let rows = parts.iter().map(|(_, rows)| rows).sum();
    // Of views nobody knows how many are distinct.
    let distinct = |text: TextColumn<'_>| text.dictionary().map_or(DISTINCT, |(_, texts)| texts.min(rows));
    let texts = parts.iter().filter_map(|(source, _)| source.as_ref()?.text().map(distinct)).sum();
    let mut numbers = Numbers {
        interned: Interner::with_room(texts),
        keys: Vec::with_capacity(rows),
        nullable,
        there: NullBufferBuilder::new(rows),
    };
    for (source, rows) in parts {
        match source.as_ref().map(|source| (source, source.text())) {
            None => (0..*rows).try_for_each(|_| numbers.push(None))?,
            Some((_, Some(text))) => match text.dictionary() {
                Some((dictionary, _)) => numbers.push_dictionary(text, dictionary)?,
                None => (0..*rows).try_for_each(|row| numbers.push(text.get(row)))?,
            },
            Some((source, None)) => {
                for row in 0..*rows {
                    match source.cell(row) {
                        Cell::Null => numbers.push(None)?,
                        cell => numbers.push(Some(&cell.to_string()))?,
                    }
                }
            }
        }
    }
    Ok(numbers.interned.finish(&numbers.keys, numbers.there.finish()))
}

/// The numbers of a column's texts.
struct Numbers {
    interned: Interner,
    keys: Vec<i32>,
    nullable: bool,
    there: NullBufferBuilder,
}

impl Numbers {
    fn push(&mut self, text: Option<&str>) -> Result<(), TooLarge> {
        let there = text.is_some() || !self.nullable;
        self.there.append(there);
        self.keys.push(if there { self.interned.key(text.unwrap_or_default())? } else { 0 });
        Ok(())
    }

    /// Adds the texts of a dictionary, each looked up once.
    fn push_dictionary(
        &mut self,
        text: TextColumn<'_>,
        dictionary: &DictionaryArray<Int32Type>,
    ) -> Result<(), TooLarge> {
        const UNUSED: i32 = -2;
        const USED: i32 = -1;
        let (keys, names) = (dictionary.keys(), TextColumn::new(dictionary.values()));
        let Some(names) = names.filter(|_| dictionary.values().null_count() == 0) else {
            return (0..keys.len()).try_for_each(|row| self.push(text.get(row)));
        };
        let nulls = keys.nulls().filter(|nulls| nulls.null_count() > 0);
        let mut numbers = vec![UNUSED; dictionary.values().len()];
        for (row, key) in keys.values().iter().enumerate() {
            if nulls.is_none_or(|nulls| nulls.is_valid(row)) {
                numbers[*key as usize] = USED;
            }
        }
        for (entry, number) in numbers.iter_mut().enumerate().filter(|(_, number)| **number == USED) {
            *number = self.interned.key(names.get(entry).unwrap_or_default())?;
        }
        let Some(nulls) = nulls else {
            self.keys.extend(keys.values().iter().map(|key| numbers[*key as usize]));
            self.there.append_n_non_nulls(keys.len());
            return Ok(());
        };
        let missing = if self.nullable { 0 } else { self.interned.key("")? };
        self.keys.extend(keys.iter().map(|key| key.map_or(missing, |key| numbers[key as usize])));
        if self.nullable {
            self.there.append_buffer(nulls);
        } else {
            self.there.append_n_non_nulls(keys.len());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{
        AsArray, BinaryArray, DictionaryArray, Float64Array, Int64Array, StringViewArray,
        TimestampNanosecondArray,
    };

    fn column(kind: Kind, nullable: bool) -> Column {
        Column { name: "c".into(), kind, nullable }
    }

    fn built(kind: Kind, nullable: bool, arrays: &[ArrayRef]) -> (ArrayRef, Vec<Misfit>) {
        let parts: Vec<Part<'_>> =
            arrays.iter().map(|array| (Some(Source::new(array)), array.len())).collect();
        let mut misfits = Vec::new();
        let array = build(&column(kind, nullable), &parts, &mut misfits).unwrap().unwrap();
        (array, misfits)
    }

    fn misfit(row: usize, value: &str) -> Misfit {
        Misfit { row, value: value.into() }
    }

    #[test]
    fn a_number_out_of_range_is_a_misfit_and_not_wrapped() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(-1), Some(7), None, Some(i64::MAX)]));
        let (array, misfits) = built(Kind::Integer(Integer::U32), false, &[numbers]);
        assert_eq!(array.as_primitive::<UInt32Type>().values().as_ref(), [0, 7, 0, 0]);
        assert_eq!(misfits, [misfit(0, "-1"), misfit(3, "9223372036854775807")]);
    }

    #[test]
    fn text_in_a_number_is_read_when_it_is_one() {
        let texts: ArrayRef = Arc::new(StringViewArray::from(vec![Some("42"), Some("x"), None]));
        let (array, misfits) = built(Kind::Integer(Integer::I64), true, &[texts]);
        assert_eq!(array.as_primitive::<Int64Type>().iter().collect::<Vec<_>>(), [Some(42), None, None]);
        assert_eq!(misfits, [misfit(1, "x")]);
    }

    #[test]
    fn absurd_times_are_clamped_and_reported() {
        let absurd = vec![Some(-1), Some(0), Some(i64::MIN), Some(i64::MAX), Some(1_749_088_705_000_000_000)];
        let times: ArrayRef = Arc::new(TimestampNanosecondArray::from(absurd).with_timezone("UTC"));
        let (array, misfits) = built(Kind::Time(Precision::Nanos), false, &[times]);
        let stored = array.as_primitive::<TimestampNanosecondType>().values().to_vec();
        assert_eq!(stored, [0, 0, 0, LAST_TIME, 1_749_088_705_000_000_000]);
        assert_eq!(misfits.iter().map(|misfit| misfit.row).collect::<Vec<_>>(), [0, 2, 3]);
    }

    #[test]
    fn dictionaries_of_several_batches_become_one() {
        let first: DictionaryArray<Int32Type> = vec![Some("a"), Some("b"), None].into_iter().collect();
        let second: DictionaryArray<Int32Type> = vec![Some("b"), Some("c")].into_iter().collect();
        let third: ArrayRef = Arc::new(StringViewArray::from(vec!["a", "d"]));
        let (array, _) = built(Kind::Text, false, &[Arc::new(first), Arc::new(second), third]);
        let array = array.as_dictionary::<UInt8Type>();
        let texts = array.downcast_dict::<BinaryArray>().unwrap();
        let all: Vec<_> = texts.into_iter().collect();
        assert_eq!(all, ["a", "b", "", "b", "c", "a", "d"].map(|text| Some(text.as_bytes())));
        assert_eq!(array.values().len(), 5);
    }

    #[test]
    fn any_value_has_a_text() {
        let numbers: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.5), None]));
        let (array, misfits) = built(Kind::Text, true, &[numbers]);
        assert_eq!(array.as_binary::<i32>().iter().collect::<Vec<_>>(), [Some(&b"1.5"[..]), None]);
        assert!(misfits.is_empty());
    }

    #[test]
    fn flags_of_several_batches_follow_each_other() {
        let flags = |flags: Vec<Option<bool>>| Arc::new(BooleanArray::from(flags)) as ArrayRef;
        let (first, second) = (vec![Some(true), Some(false), Some(true)], vec![Some(false); 9]);
        let whole = [flags(first.clone()), flags(second.clone()).slice(1, 8)];
        let (array, _) = built(Kind::Bool, false, &whole);
        assert_eq!(array.as_boolean().iter().collect::<Vec<_>>(), [&first[..], &second[1..]].concat());
        let (array, _) = built(Kind::Bool, false, &[flags(vec![None, Some(true)])]);
        assert_eq!(array.as_boolean().iter().collect::<Vec<_>>(), [Some(false), Some(true)]);
    }

    #[test]
    fn a_batch_without_the_column_reads_as_null() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        let parts = [(None, 2), (Some(Source::new(&numbers)), 1)];
        let mut misfits = Vec::new();
        let array = build(&column(Kind::Float64, true), &parts, &mut misfits).unwrap().unwrap();
        assert_eq!(array.as_primitive::<Float64Type>().iter().collect::<Vec<_>>(), [None, None, Some(1.0)]);
    }
}
