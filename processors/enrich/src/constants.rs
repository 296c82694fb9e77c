//! Columns with one value. They cost a slice per batch: nothing per row.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, DictionaryArray, PrimitiveArray, StringViewArray};
use arrow::datatypes::{Field, FieldRef, Int32Type};
use arrow::error::ArrowError;
use weir_pdata::schema;
use weir_pdata::text::TextColumn;

/// The fewest rows that are prepared.
const FEWEST: usize = 4_096;

/// Constant columns, and arrays of them that are long enough for the batches seen so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Constants {
    /// Whether they replace what events bring.
    overwrite: bool,
    fields: Vec<FieldRef>,
    values: Vec<ArrayRef>,
    /// One array a column, all over the same buffer of keys.
    prepared: Vec<ArrayRef>,
}

impl Constants {
    /// The columns with these names and values.
    pub(crate) fn new(columns: &[(String, String)], overwrite: bool) -> Constants {
        let field = |name: &str| {
            let metadata = schema::attribute_metadata("span", attribute_key(name));
            Arc::new(Field::new(name, schema::dictionary(), true).with_metadata(metadata))
        };
        Constants {
            overwrite,
            fields: columns.iter().map(|(name, _)| field(name)).collect(),
            values: columns
                .iter()
                .map(|(_, value)| Arc::new(StringViewArray::from(vec![&**value])) as _)
                .collect(),
            prepared: Vec::new(),
        }
    }

    /// The names of the columns.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|field| field.name().as_str())
    }

    /// The names whose columns take the place of what events bring.
    pub(crate) fn replaced(&self) -> impl Iterator<Item = &str> {
        self.names().filter(|_| self.overwrite)
    }

    /// Whether the columns take the place of what events bring.
    pub(crate) fn overwrite(&self) -> bool {
        self.overwrite
    }

    /// The columns for a batch of `rows` rows.
    ///
    /// # Errors
    /// None that is known: keys of 0 fit a dictionary of one value.
    pub(crate) fn columns(
        &mut self,
        rows: usize,
    ) -> Result<impl Iterator<Item = (FieldRef, ArrayRef)> + '_, ArrowError> {
        let enough = self.prepared.first().map_or(self.values.is_empty(), |array| array.len() >= rows);
        if !enough {
            let keys = PrimitiveArray::<Int32Type>::from(vec![0; rows.next_power_of_two().max(FEWEST)]);
            let prepare = |value: &ArrayRef| {
                Ok(Arc::new(DictionaryArray::try_new(keys.clone(), Arc::clone(value))?) as ArrayRef)
            };
            self.prepared = self.values.iter().map(prepare).collect::<Result<_, ArrowError>>()?;
        }
        let columns = self.fields.iter().zip(&self.prepared);
        Ok(columns.map(move |(field, array)| (Arc::clone(field), array.slice(0, rows))))
    }
}

/// A constant, joined or computed column under what events bring: it has its value in the rows that have
/// none, in neither `own` (the column with the same name) nor the list (`listed`). `None`: `own` stays as it
/// is, since every row has a value or it is no text.
///
/// # Errors
/// None that is known: the keys are those of its dictionary.
pub(crate) fn below(
    constant: &ArrayRef,
    own: Option<&ArrayRef>,
    listed: Option<&[bool]>,
) -> Result<Option<ArrayRef>, ArrowError> {
    let own = own.filter(|own| own.logical_null_count() < own.len());
    let is_listed = |row: usize| listed.is_some_and(|rows| rows.get(row).is_some_and(|has| *has));
    let Some(own) = own else {
        if listed.is_none() {
            return Ok(Some(Arc::clone(constant)));
        }
        let Some(dictionary) = constant.as_dictionary_opt::<Int32Type>() else {
            let Some(texts) = TextColumn::new(constant) else { return Ok(None) };
            let value = |row| texts.get(row).filter(|_| !is_listed(row));
            return Ok(Some(Arc::new((0..constant.len()).map(value).collect::<StringViewArray>())));
        };
        let keys: PrimitiveArray<Int32Type> =
            dictionary.keys().iter().enumerate().map(|(row, key)| key.filter(|_| !is_listed(row))).collect();
        let values = Arc::clone(dictionary.values());
        return Ok(Some(Arc::new(DictionaryArray::try_new(keys, values)?)));
    };
    let (Some(texts), Some(constants)) = (TextColumn::new(own), TextColumn::new(constant)) else {
        return Ok(None);
    };
    if own.logical_null_count() == 0 {
        return Ok(None);
    }
    let value = |row| texts.get(row).or_else(|| constants.get(row).filter(|_| !is_listed(row)));
    Ok(Some(Arc::new((0..own.len()).map(value).collect::<StringViewArray>())))
}

/// The key of the attribute whose column has this name.
pub(crate) fn attribute_key(column: &str) -> &str {
    column.strip_prefix("attr.").filter(|key| schema::is_fixed_anywhere(key)).unwrap_or(column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_has_the_value_and_all_columns_share_their_keys() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let mut constants = Constants::new(&[pair("site", "bj-1"), pair("attr.service", "x")], false);
        let mut addresses = std::collections::BTreeSet::new();
        for rows in [3, 5_000, 0, 4_999, 1] {
            let columns: Vec<_> = constants.columns(rows).unwrap().collect();
            assert_eq!(columns.len(), 2);
            for ((field, array), value) in columns.iter().zip(["bj-1", "x"]) {
                assert_eq!((array.len(), array.data_type()), (rows, field.data_type()));
                let text = TextColumn::new(array).unwrap();
                assert!((0..rows).all(|row| text.get(row) == Some(value)));
                addresses.insert(array.to_data().buffers()[0].data_ptr().addr());
            }
            assert_eq!(columns[1].0.metadata(), &schema::attribute_metadata("span", "service"));
        }
        assert_eq!(addresses.len(), 2, "one buffer, and a longer one when that was too short");
    }
}
