//! Writing columns of single values: text, numbers, times.
//!
//! A value that does not fit its column (text in a number, a number out of range, a time before 1970 or after
//! 2106) is reported as a [`Misfit`]; the column then holds NULL, the type's zero, or the nearest time. The
//! server would store something arbitrary instead.

use arrow::array::{Array, ArrowPrimitiveType, BooleanArray, PrimitiveArray, TimestampNanosecondArray};
use arrow::datatypes::{
    Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimestampNanosecondType, UInt8Type,
    UInt16Type, UInt32Type, UInt64Type,
};

use crate::convert::cell::{Cell, ColumnBatch, ColumnReader};
use crate::convert::text_column::{add_texts, for_each_word, write_texts};
use crate::dynamic::key_type::{Fits, KeyType};
use crate::native::encoded_rows::{Filler, Writer};
use crate::schema::columns::{Column, Integer, Kind, Precision};

/// A value that does not fit its column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Misfit {
    /// The row, counted over all batches.
    pub(crate) row: usize,
    /// The value as text.
    pub(crate) value: String,
}

/// The first time that a `DateTime` holds, in nanoseconds: 1970-01-01.
const FIRST_TIME: i64 = 0;
/// The last: 2106-02-07 06:28:15.999999999. Days, minutes and TTL are computed as `Date` and `DateTime`, and
/// wrap beyond.
const LAST_TIME: i64 = u32::MAX as i64 * 1_000_000_000 + 999_999_999;

/// The nearest time that tables can be ordered and partitioned by.
pub(crate) fn clamped(nanos: i64) -> i64 {
    nanos.clamp(FIRST_TIME, LAST_TIME)
}

/// Writes the values of `column` from those of all batches. Says whether it did: not for kinds that hold more
/// than a single value.
pub(crate) fn write(
    column: &Column,
    column_batches: &[ColumnBatch<'_>],
    misfits: &mut Vec<Misfit>,
    writer: &mut Writer<'_>,
) -> bool {
    let mut cells = Cells { column, column_batches, misfits, writer };
    match column.kind {
        Kind::Text => cells.texts(),
        Kind::Integer(Integer::I8) => cells.integers::<Int8Type, 1>("Int8", |number| number.to_le_bytes()),
        Kind::Integer(Integer::I16) => cells.integers::<Int16Type, 2>("Int16", |number| number.to_le_bytes()),
        Kind::Integer(Integer::I32) => cells.integers::<Int32Type, 4>("Int32", |number| number.to_le_bytes()),
        Kind::Integer(Integer::I64) => cells.integers::<Int64Type, 8>("Int64", |number| number.to_le_bytes()),
        Kind::Integer(Integer::U8) => cells.integers::<UInt8Type, 1>("UInt8", |number| number.to_le_bytes()),
        Kind::Integer(Integer::U16) => {
            cells.integers::<UInt16Type, 2>("UInt16", |number| number.to_le_bytes());
        }
        Kind::Integer(Integer::U32) => {
            cells.integers::<UInt32Type, 4>("UInt32", |number| number.to_le_bytes());
        }
        Kind::Integer(Integer::U64) => {
            cells.integers::<UInt64Type, 8>("UInt64", |number| number.to_le_bytes());
        }
        Kind::Float32 => {
            let read = |cell: &Cell<'_>| cell.float().map(|value| value as f32);
            cells.numbers::<Float32Type, 4>("Float32", read, |number| number.to_le_bytes());
        }
        Kind::Float64 => {
            let exact = column.nullable;
            let read = |cell: &Cell<'_>| cell.float().filter(|_| !exact || is_exact(cell, KeyType::Float));
            cells.numbers::<Float64Type, 8>("Float64", read, |number| number.to_le_bytes());
        }
        Kind::Bool => cells.booleans(),
        Kind::Time(precision) => cells.times(precision),
        Kind::TextMap
        | Kind::NumberMap
        | Kind::Links
        | Kind::SpanEvents
        | Kind::Floats
        | Kind::Counts
        | Kind::Quantiles
        | Kind::Exemplars
        | Kind::Unknown => return false,
    }
    true
}

struct Cells<'a, 'b, 'f> {
    column: &'b Column,
    column_batches: &'b [ColumnBatch<'a>],
    misfits: &'b mut Vec<Misfit>,
    writer: &'b mut Writer<'f>,
}

impl Cells<'_, '_, '_> {
    /// Begins the column with values of this type.
    fn begin(&mut self, kind: &'static str) {
        if self.column.nullable {
            self.writer.column(&self.column.name, format!("Nullable({kind})"));
        } else {
            self.writer.column(&self.column.name, kind);
        }
    }

    /// Writes which rows have no value, in a column that keeps NULL.
    fn nulls(&mut self, missing: impl Iterator<Item = bool>) {
        if self.column.nullable {
            let marks: Vec<u8> = missing.map(u8::from).collect();
            self.writer.values(Filler::NULL, |frames| frames.bytes(&marks));
        }
    }

    /// Reads every row with `read`, which gives `None` when the value does not fit.
    fn read<T>(&mut self, read: impl Fn(&Cell<'_>) -> Option<T>) -> Vec<Option<T>> {
        let mut values = Vec::with_capacity(self.column_batches.iter().map(|(_, rows)| rows).sum());
        for (source, rows) in self.column_batches {
            for row in 0..*rows {
                let cell = source.as_ref().map_or(Cell::Null, |source| source.cell(row));
                let value = read(&cell);
                if value.is_none() && cell != Cell::Null {
                    self.misfits.push(Misfit { row: values.len(), value: cell.to_string() });
                }
                values.push(value);
            }
        }
        values
    }

    /// Writes values read row by row.
    fn some<T: Default, const N: usize>(
        &mut self,
        kind: &'static str,
        values: &[Option<T>],
        bytes: impl Fn(&T) -> [u8; N],
    ) {
        let zero = bytes(&T::default());
        self.begin(kind);
        self.nulls(values.iter().map(Option::is_none));
        self.writer.values(Filler::zeros(N), |frames| {
            frames.fixed(values, |value| value.as_ref().map_or(zero, &bytes));
        });
    }

    fn numbers<T: ArrowPrimitiveType, const N: usize>(
        &mut self,
        kind: &'static str,
        read: impl Fn(&Cell<'_>) -> Option<T::Native>,
        bytes: impl Fn(&T::Native) -> [u8; N],
    ) {
        let Some(arrays) = same::<PrimitiveArray<T>>(self.column_batches) else {
            let values = self.read(read);
            return self.some(kind, &values, bytes);
        };
        let zero = bytes(&T::Native::default());
        self.begin(kind);
        self.nulls(arrays.clone().flat_map(|array| (0..array.len()).map(|row| array.is_null(row))));
        self.writer.values(Filler::zeros(N), |frames| {
            for array in arrays {
                if array.null_count() == 0 {
                    frames.fixed(array.values(), &bytes);
                } else {
                    let values: Vec<_> = array.iter().collect();
                    frames.fixed(&values, |value| value.as_ref().map_or(zero, &bytes));
                }
            }
        });
    }

    fn integers<T: ArrowPrimitiveType, const N: usize>(
        &mut self,
        kind: &'static str,
        bytes: impl Fn(&T::Native) -> [u8; N],
    ) where
        T::Native: TryFrom<i128>,
    {
        let exact = self.column.nullable;
        let read = |cell: &Cell<'_>| {
            let number = cell.integer().filter(|_| !exact || is_exact(cell, KeyType::Integer));
            number.and_then(|number| T::Native::try_from(number).ok())
        };
        self.numbers::<T, N>(kind, read, bytes);
    }

    fn booleans(&mut self) {
        let arrays = same::<BooleanArray>(self.column_batches);
        let Some(arrays) = arrays.filter(|arrays| arrays.clone().all(|array| array.null_count() == 0)) else {
            let exact = self.column.nullable;
            let read =
                |cell: &Cell<'_>| cell.boolean().filter(|_| !exact || is_exact(cell, KeyType::Boolean));
            let values = self.read(read);
            return self.some("Bool", &values, |value| [u8::from(*value)]);
        };
        self.begin("Bool");
        self.nulls(arrays.clone().flat_map(|array| std::iter::repeat_n(false, array.len())));
        self.writer.values(Filler::zeros(1), |frames| {
            for array in arrays {
                for_each_word(array.values(), |word, count| {
                    let flags: [u8; 64] = std::array::from_fn(|at| (word >> at & 1) as u8);
                    frames.bytes(&flags[..count]);
                });
            }
        });
    }

    fn times(&mut self, precision: Precision) {
        match precision {
            // Times in range fit.
            Precision::Seconds => self.ticks("DateTime('UTC')", |nanos| {
                u32::try_from(nanos / 1_000_000_000).unwrap_or(u32::MAX).to_le_bytes()
            }),
            Precision::Millis => {
                self.ticks("DateTime64(3, 'UTC')", |nanos| (nanos / 1_000_000).to_le_bytes());
            }
            Precision::Micros => self.ticks("DateTime64(6, 'UTC')", |nanos| (nanos / 1_000).to_le_bytes()),
            Precision::Nanos => self.ticks("DateTime64(9, 'UTC')", |nanos| nanos.to_le_bytes()),
        }
    }

    /// Times, clamped. A clamped time is a misfit too: its own value must not be lost.
    fn ticks<const N: usize>(&mut self, kind: &'static str, bytes: impl Fn(&i64) -> [u8; N]) {
        let time = |cell: &Cell<'_>| match cell {
            Cell::Time(nanos) => Some(*nanos),
            _ => None,
        };
        // What is under a NULL counts too, and is 0 in all that Weir makes.
        let in_range = |array: &TimestampNanosecondArray| {
            // All are looked at, which takes less time than to stop at the first.
            array.values().iter().fold(true, |all, nanos| all & (clamped(*nanos) == *nanos))
        };
        if same(self.column_batches).is_some_and(|mut arrays| arrays.all(in_range)) {
            return self.numbers::<TimestampNanosecondType, N>(kind, time, bytes);
        }
        let mut nanos = self.read(time);
        for (row, value) in nanos.iter_mut().enumerate() {
            if let Some(value) = value
                && clamped(*value) != *value
            {
                self.misfits.push(Misfit { row, value: value.to_string() });
                *value = clamped(*value);
            }
        }
        self.some(kind, &nanos, bytes);
    }

    /// Texts: with a dictionary when a batch has one, else as they are.
    fn texts(&mut self) {
        let is_dictionary = |(source, _): &ColumnBatch<'_>| {
            source.as_ref().and_then(ColumnReader::text).is_some_and(|text| text.dictionary().is_some())
        };
        // A dictionary with NULL is written in another way.
        if !self.column.nullable && self.column_batches.iter().any(is_dictionary) {
            let mut dictionary = self.writer.take_dictionary();
            add_texts(self.column_batches, &mut dictionary);
            self.begin("LowCardinality(String)");
            self.writer.dictionary(dictionary);
            return;
        }
        let column_batches = self.column_batches;
        self.begin("String");
        let rows = column_batches.iter().flat_map(|(source, rows)| (0..*rows).map(move |row| (source, row)));
        let missing = |(source, row): (&Option<ColumnReader<'_>>, usize)| {
            source.as_ref().is_none_or(|source| source.cell(row) == Cell::Null)
        };
        self.nulls(rows.map(missing));
        self.writer.values(Filler::zeros(1), |frames| {
            column_batches.iter().for_each(|(source, rows)| write_texts(source.as_ref(), *rows, frames));
        });
    }
}

/// The values of all batches, when all are of this type.
fn same<'a, 'p, A: Array + 'static>(
    column_batches: &'p [ColumnBatch<'a>],
) -> Option<impl Iterator<Item = &'a A> + Clone + use<'a, 'p, A>> {
    let of = |(source, _): &ColumnBatch<'a>| source.as_ref()?.array().as_any().downcast_ref::<A>();
    column_batches.iter().all(|batch| of(batch).is_some()).then(|| column_batches.iter().filter_map(of))
}

/// Whether a value reads back as it was. A column that keeps NULL may leave others to the map: it does not
/// take `007` as 7, nor `1` as true, nor true as 1.
fn is_exact(cell: &Cell<'_>, kind: KeyType) -> bool {
    match cell {
        Cell::Text(_) => Fits::of_cell(cell).has(kind),
        Cell::Integer(_) => kind != KeyType::Boolean,
        Cell::Bool(_) => kind == KeyType::Boolean,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::DictionaryArray;

    use super::*;
    use arrow::array::{ArrayRef, Float64Array, Int64Array, StringViewArray};
    use std::sync::Arc;

    use crate::native::decode::rows;
    use crate::native::scratch::Scratch;

    const TIME: Kind = Kind::Time(Precision::Nanos);

    /// The bytes for the server, and the values that do not fit.
    fn written(kind: Kind, nullable: bool, column_batches: &[ColumnBatch<'_>]) -> (Vec<String>, Vec<Misfit>) {
        let column = Column { name: "c".into(), kind, nullable };
        let (mut misfits, mut scratch) = (Vec::new(), Scratch::new(false));
        let mut writer = Writer::new(&mut scratch);
        assert!(write(&column, column_batches, &mut misfits, &mut writer));
        let encoded = writer.finish(column_batches.iter().map(|(_, rows)| rows).sum()).unwrap();
        (rows(&[&encoded]), misfits)
    }

    fn of(kind: Kind, nullable: bool, arrays: &[ArrayRef]) -> (Vec<String>, Vec<Misfit>) {
        let column_batches: Vec<ColumnBatch<'_>> =
            arrays.iter().map(|array| (Some(ColumnReader::new(array)), array.len())).collect();
        written(kind, nullable, &column_batches)
    }

    fn misfit(row: usize, value: &str) -> Misfit {
        Misfit { row, value: value.into() }
    }

    #[test]
    fn a_number_out_of_range_is_a_misfit_and_not_wrapped() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(-1), Some(7), None, Some(i64::MAX)]));
        let (found, misfits) = of(Kind::Integer(Integer::U32), false, &[numbers]);
        assert_eq!(found, ["c=0", "c=7", "c=0", "c=0"]);
        assert_eq!(misfits, [misfit(0, "-1"), misfit(3, "9223372036854775807")]);
    }

    #[test]
    fn integers_of_every_width_are_written() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![-128, 127, 3]));
        for integer in [Integer::I8, Integer::I16, Integer::I32, Integer::I64] {
            let found = of(Kind::Integer(integer), false, std::slice::from_ref(&numbers));
            assert_eq!(found, (["c=-128", "c=127", "c=3"].map(String::from).into(), vec![]), "{integer:?}");
        }
        for integer in [Integer::U8, Integer::U16, Integer::U32, Integer::U64] {
            let (found, misfits) = of(Kind::Integer(integer), true, std::slice::from_ref(&numbers));
            assert_eq!((found, misfits.len()), (["c=NULL", "c=127", "c=3"].map(String::from).into(), 1));
        }
    }

    #[test]
    fn text_in_a_number_is_read_when_it_is_one() {
        let texts: ArrayRef = Arc::new(StringViewArray::from(vec![Some("42"), Some("x"), None]));
        let (found, misfits) = of(Kind::Integer(Integer::I64), true, &[texts]);
        assert_eq!(found, ["c=42", "c=NULL", "c=NULL"]);
        assert_eq!(misfits, [misfit(1, "x")]);
    }

    #[test]
    fn a_column_that_keeps_null_takes_texts_only_that_read_back_as_they_were() {
        let texts: [&str; 6] = ["007", "+5", "1.50", "1e5", "NaN", "7"];
        let texts: ArrayRef = Arc::new(StringViewArray::from(texts.to_vec()));
        let (found, misfits) = of(Kind::Integer(Integer::I64), true, std::slice::from_ref(&texts));
        assert_eq!(found, ["c=NULL", "c=NULL", "c=NULL", "c=NULL", "c=NULL", "c=7"]);
        assert_eq!(misfits[0], misfit(0, "007"));
        let (found, misfits) = of(Kind::Float64, true, std::slice::from_ref(&texts));
        assert_eq!((found[5].as_str(), misfits.len()), ("c=7", 5));
        let words: ArrayRef = Arc::new(StringViewArray::from(vec!["1", "true", "0"]));
        assert_eq!(of(Kind::Bool, true, &[words]).0, ["c=NULL", "c=true", "c=NULL"]);
        // Others have no place for NULL, and take what they can.
        assert_eq!(of(Kind::Integer(Integer::I64), false, &[texts]).0[0], "c=7");
    }

    #[test]
    fn absurd_times_are_clamped_and_reported() {
        let absurd = vec![Some(-1), Some(0), Some(i64::MIN), Some(i64::MAX), Some(1_749_088_705_000_000_000)];
        let times: ArrayRef = Arc::new(TimestampNanosecondArray::from(absurd).with_timezone("UTC"));
        let (found, misfits) = of(TIME, false, &[times]);
        let last = format!("c={LAST_TIME}");
        assert_eq!(found, ["c=0", "c=0", "c=0", last.as_str(), "c=1749088705000000000"]);
        assert_eq!(misfits.iter().map(|misfit| misfit.row).collect::<Vec<_>>(), [0, 2, 3]);
    }

    #[test]
    fn times_are_written_in_the_unit_of_their_column() {
        let times: ArrayRef = Arc::new(TimestampNanosecondArray::from(vec![LAST_TIME, 1_999_999_999]));
        for (precision, expected) in [
            (Precision::Seconds, ["c=4294967295000000000", "c=1000000000"]),
            (Precision::Millis, ["c=4294967295999000000", "c=1999000000"]),
            (Precision::Micros, ["c=4294967295999999000", "c=1999999000"]),
            (Precision::Nanos, ["c=4294967295999999999", "c=1999999999"]),
        ] {
            for nullable in [false, true] {
                let (found, misfits) = of(Kind::Time(precision), nullable, std::slice::from_ref(&times));
                assert_eq!((found, misfits), (expected.map(String::from).into(), vec![]), "{precision:?}");
            }
        }
    }

    #[test]
    fn dictionaries_of_several_batches_become_one() {
        let first: DictionaryArray<Int32Type> = vec![Some("a"), Some("b"), None].into_iter().collect();
        let second: DictionaryArray<Int32Type> = vec![Some("b"), Some("c")].into_iter().collect();
        let third: ArrayRef = Arc::new(StringViewArray::from(vec!["a", "d"]));
        let arrays: [ArrayRef; 3] = [Arc::new(first), Arc::new(second), third];
        assert_eq!(of(Kind::Text, false, &arrays).0, ["c=a", "c=b", "c=NULL", "c=b", "c=c", "c=a", "c=d"]);
        assert_eq!(of(Kind::Text, true, &arrays).0, ["c=a", "c=b", "c=NULL", "c=b", "c=c", "c=a", "c=d"]);
    }

    #[test]
    fn any_value_has_a_text() {
        let numbers: ArrayRef = Arc::new(Float64Array::from(vec![Some(1.5), None]));
        let (found, misfits) = of(Kind::Text, true, &[numbers]);
        assert_eq!(found, ["c=1.5", "c=NULL"]);
        assert!(misfits.is_empty());
    }

    #[test]
    fn flags_of_several_batches_follow_each_other() {
        let flags = |flags: Vec<Option<bool>>| Arc::new(BooleanArray::from(flags)) as ArrayRef;
        let (first, second) = (vec![Some(true), Some(false), Some(true)], vec![Some(false); 9]);
        let whole = [flags(first.clone()), flags(second.clone()).slice(1, 8)];
        let expected = [&first[..], &second[1..]].concat();
        let expected: Vec<_> = expected.into_iter().map(|flag| format!("c={}", flag.unwrap())).collect();
        assert_eq!(of(Kind::Bool, false, &whole).0, expected);
        assert_eq!(of(Kind::Bool, false, &[flags(vec![None, Some(true)])]).0, ["c=false", "c=true"]);
    }

    #[test]
    fn a_batch_without_the_column_reads_as_null() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1]));
        let batches = || [(None, 2), (Some(ColumnReader::new(&numbers)), 1)];
        assert_eq!(written(Kind::Float64, true, &batches()).0, ["c=NULL", "c=NULL", "c=1"]);
        assert_eq!(written(Kind::Text, true, &batches()).0, ["c=NULL", "c=NULL", "c=1"]);
        assert_eq!(written(Kind::Text, false, &batches()).0, ["c=NULL", "c=NULL", "c=1"]);
    }
}
