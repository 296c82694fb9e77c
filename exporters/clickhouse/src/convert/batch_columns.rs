//! The columns of some batches of one signal, by name.

use std::collections::BTreeMap;

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::Field;

/// The columns of some batches, by name.
pub(super) struct BatchColumns<'a> {
    /// The field of each, and where its arrays begin.
    pub(crate) named: BTreeMap<&'a str, (&'a Field, usize)>,
    /// Of each name, an array for each batch.
    pub(crate) arrays: Vec<Option<&'a ArrayRef>>,
    batches: usize,
}

impl<'a> BatchColumns<'a> {
    pub(crate) fn of(batches: &[&'a RecordBatch]) -> BatchColumns<'a> {
        let mut columns = BatchColumns { named: BTreeMap::new(), arrays: Vec::new(), batches: batches.len() };
        for (at, batch) in batches.iter().enumerate() {
            for (field, array) in batch.schema_ref().fields().iter().zip(batch.columns()) {
                let BatchColumns { named, arrays, .. } = &mut columns;
                let (_, begin) = *named.entry(field.name()).or_insert_with(|| {
                    arrays.resize(arrays.len() + batches.len(), None);
                    (field, arrays.len() - batches.len())
                });
                arrays[begin + at] = Some(array);
            }
        }
        columns
    }

    /// The arrays of a name.
    pub(crate) fn get(&self, name: &str) -> Option<&[Option<&'a ArrayRef>]> {
        let (_, begin) = self.named.get(name)?;
        self.arrays.get(*begin..begin + self.batches)
    }

    /// Takes a name out.
    pub(crate) fn remove(&mut self, name: &str) {
        self.named.remove(name);
    }
}
