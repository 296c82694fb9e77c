//! The columns that the events of known instances get.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, Int32Array, RecordBatch, StringViewArray};
use arrow::datatypes::{Field, FieldRef};
use arrow::error::ArrowError;
use weir_pdata::schema;
use weir_pdata::text::TextColumn;

use crate::constants::attribute_key;
use crate::instances::table::{InstanceTable, Values};

impl InstanceTable {
    /// The columns of these events. None where no instance is known.
    ///
    /// # Errors
    /// None that is known: the keys are those of the values.
    pub(crate) fn columns_of(&self, events: &RecordBatch) -> Result<Vec<(FieldRef, ArrayRef)>, ArrowError> {
        let text = |name: &str| events.column_by_name(name).and_then(TextColumn::new);
        let (Some(services), Some(instances)) = (text("service"), text("service_instance")) else {
            return Ok(Vec::new());
        };
        let known = self.read();
        if known.is_empty() {
            return Ok(Vec::new());
        }
        // Of each instance in the batch its number among those that are known.
        let mut found: Vec<&Values> = Vec::new();
        let mut numbers: HashMap<(&str, &str), Option<i32>> = HashMap::new();
        let mut last = None;
        let mut rows: Vec<Option<i32>> = Vec::with_capacity(events.num_rows());
        for row in 0..events.num_rows() {
            let Some(of) = services.get(row).zip(instances.get(row)) else {
                rows.push(None);
                continue;
            };
            let number = match last {
                Some((before, number)) if before == of => number,
                _ => *numbers.entry(of).or_insert_with(|| {
                    let values = known.get(of.0, of.1)?;
                    found.push(values);
                    i32::try_from(found.len() - 1).ok()
                }),
            };
            last = Some((of, number));
            rows.push(number);
        }
        let mut columns = Vec::new();
        for (at, (name, _)) in self.columns.iter().enumerate() {
            let value = |number: &i32| found.get(usize::try_from(*number).ok()?)?.get(at)?.as_deref();
            let keys: Int32Array =
                rows.iter().map(|number| number.filter(|of| value(of).is_some())).collect();
            if arrow::array::Array::null_count(&keys) == rows.len() {
                continue;
            }
            let texts =
                found.iter().map(|values| values.get(at).and_then(Option::as_deref).unwrap_or_default());
            let texts = StringViewArray::from_iter_values(texts);
            let metadata = schema::attribute_metadata("span", attribute_key(name));
            let field = Field::new(name, schema::dictionary(), true).with_metadata(metadata);
            columns.push((Arc::new(field), Arc::new(DictionaryArray::try_new(keys, Arc::new(texts))?) as _));
        }
        Ok(columns)
    }
}
