//! The memory that arrays keep alive. Computed for every batch, so it walks the arrays that decoders make
//! without copying them.

use arrow::array::{Array, ArrayData, AsArray, GenericByteViewArray, RecordBatch, downcast_primitive_array};
use arrow::buffer::{Buffer, NullBuffer};
use arrow::datatypes::{ByteViewType, DataType};

/// Bytes of all buffers of these columns, each once, however many columns share it.
pub(crate) fn of(columns: &RecordBatch) -> usize {
    let mut buffers = Buffers(Vec::with_capacity(4 * columns.num_columns()));
    columns.columns().iter().for_each(|column| buffers.collect(column.as_ref()));
    let Buffers(mut found) = buffers;
    found.sort_unstable();
    found.dedup_by_key(|(address, _)| *address);
    found.iter().map(|(_, bytes)| bytes).sum()
}

/// The address and the bytes of buffers.
struct Buffers(Vec<(usize, usize)>);

impl Buffers {
    fn collect(&mut self, array: &dyn Array) {
        downcast_primitive_array! {
            array => self.add(array.values().inner()),
            DataType::Boolean => self.add(array.as_boolean().values().inner()),
            DataType::Utf8View => self.views(array.as_string_view()),
            DataType::BinaryView => self.views(array.as_binary_view()),
            DataType::Dictionary(_, _) => {
                // Its nulls are those of its keys.
                let dictionary = array.as_any_dictionary();
                self.collect(dictionary.keys());
                return self.collect(dictionary.values().as_ref());
            },
            DataType::Struct(_) => {
                array.as_struct().columns().iter().for_each(|column| self.collect(column.as_ref()));
            },
            DataType::List(_) => {
                self.add(array.as_list::<i32>().offsets().inner().inner());
                self.collect(array.as_list::<i32>().values().as_ref());
            },
            _ => return self.data(&array.to_data()),
        }
        self.nulls(array.nulls());
    }

    fn views<T: ByteViewType + ?Sized>(&mut self, array: &GenericByteViewArray<T>) {
        self.add(array.views().inner());
        array.data_buffers().iter().for_each(|buffer| self.add(buffer));
    }

    /// Any type.
    fn data(&mut self, data: &ArrayData) {
        data.buffers().iter().for_each(|buffer| self.add(buffer));
        self.nulls(data.nulls());
        data.child_data().iter().for_each(|child| self.data(child));
    }

    fn nulls(&mut self, nulls: Option<&NullBuffer>) {
        if let Some(nulls) = nulls {
            self.add(nulls.buffer());
        }
    }

    fn add(&mut self, buffer: &Buffer) {
        self.0.push((buffer.data_ptr().addr().get(), buffer.capacity()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, BooleanArray, DictionaryArray, Int32Array, Int64Array, ListArray, MapBuilder, StringArray,
        StringBuilder, StringViewArray, StructArray,
    };
    use arrow::buffer::{OffsetBuffer, ScalarBuffer};
    use arrow::datatypes::{Field, Fields};

    use super::*;

    fn columns() -> Vec<ArrayRef> {
        let long = "a text that is longer than its view";
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![Some(1), None, Some(3)]));
        let texts: ArrayRef = Arc::new(StringViewArray::from(vec![Some(long), None, Some("short")]));
        let keys = Int32Array::from(vec![Some(0), None, Some(0)]);
        let named: ArrayRef = Arc::new(DictionaryArray::new(keys, texts.clone()));
        let fields = vec![
            Field::new("n", numbers.data_type().clone(), true),
            Field::new("t", texts.data_type().clone(), true),
        ];
        let rows: ArrayRef =
            Arc::new(StructArray::new(Fields::from(fields), vec![numbers.clone(), texts.clone()], None));
        let item = Arc::new(Field::new("item", rows.data_type().clone(), true));
        let lists: ArrayRef =
            Arc::new(ListArray::new(item, OffsetBuffer::new(vec![0, 1, 1, 3].into()), rows.clone(), None));
        let mut maps = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
        for row in 0..3 {
            maps.keys().append_value("key");
            maps.values().append_value("value".repeat(row));
            maps.append(true).unwrap();
        }
        let flags: ArrayRef = Arc::new(BooleanArray::from(vec![true, false, true]));
        let plain: ArrayRef = Arc::new(StringArray::from(vec!["a", "b", long]));
        vec![numbers, texts, named, rows, lists, Arc::new(maps.finish()), flags, plain]
    }

    fn batch(columns: &[ArrayRef]) -> RecordBatch {
        let names = (0..columns.len()).map(|at| at.to_string());
        RecordBatch::try_from_iter(names.zip(columns.iter().cloned())).unwrap()
    }

    #[test]
    fn every_type_has_the_buffers_of_its_data() {
        for column in columns() {
            let mut data = Buffers(Vec::new());
            data.data(&column.to_data());
            let mut taken_apart = Buffers(Vec::new());
            taken_apart.collect(column.as_ref());
            data.0.sort_unstable();
            taken_apart.0.sort_unstable();
            assert_eq!(data.0, taken_apart.0, "{}", column.data_type());
        }
    }

    #[test]
    fn what_columns_share_counts_once() {
        let shared = ScalarBuffer::<i64>::from(vec![7; 1000]);
        let array: ArrayRef = Arc::new(Int64Array::new(shared, None));
        assert_eq!(of(&batch(&[array.clone(), array.slice(0, 1000), array])), 8000);
    }
}
