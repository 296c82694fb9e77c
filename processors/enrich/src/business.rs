//! Columns that say which business an event is of: its serial number, its result and its scenario.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringViewArray};
use arrow::datatypes::{DataType, Field, FieldRef};
use arrow::error::ArrowError;
use serde::Deserialize;
use weir_pdata::schema;
use weir_pdata::text::TextColumn;

use crate::cast::as_text;

/// `business`: the attributes that three columns are taken from, the first that an event has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Business {
    /// Of `business_id`, such as the serial number of a payment.
    pub(crate) id: Vec<String>,
    /// Of `business_code`, the result that the application gives.
    pub(crate) code: Vec<String>,
    /// Of `business_scenario`, such as the kind of the transaction.
    pub(crate) scenario: Vec<String>,
}

impl Business {
    /// Each key, its column, and the attributes that it is taken from.
    pub(crate) fn columns(&self) -> [(&'static str, &'static str, &[String]); 3] {
        [
            ("id", "business_id", &self.id),
            ("code", "business_code", &self.code),
            ("scenario", "business_scenario", &self.scenario),
        ]
    }

    /// The names that are read and written.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        let used = self.columns().into_iter().filter(|(_, _, attributes)| !attributes.is_empty());
        used.flat_map(|(_, column, attributes)| {
            std::iter::once(column).chain(attributes.iter().map(String::as_str))
        })
    }

    /// The faults, by key. `renamed` and `dropped` are attributes that are gone by then.
    pub(crate) fn problems<'a>(
        &self,
        dropped: &[String],
        renamed: impl Fn(&str) -> Option<&'a str>,
    ) -> Vec<(String, String)> {
        let mut found = Vec::new();
        for (key, column, attributes) in self.columns() {
            for (at, name) in attributes.iter().enumerate() {
                let mut wrong = |why: String| found.push((format!("business.{key}[{at}]"), why));
                if name.is_empty() {
                    wrong("a name must not be empty".to_owned());
                } else if name == column {
                    wrong(format!("`{name}` is the column itself: what an event brings there stays"));
                } else if dropped.contains(name) {
                    wrong(format!("`{name}` is dropped before it can be read; remove it from `drop`"));
                } else if let Some(new) = renamed(name) {
                    wrong(format!("`{name}` is renamed before it can be read; write `{new}`"));
                }
            }
        }
        found
    }

    /// The columns of events with these columns. None where no event has a value.
    ///
    /// # Errors
    /// A column cannot be read as text.
    pub(crate) fn columns_of<'a>(
        &self,
        column: impl Fn(&str) -> Option<&'a ArrayRef>,
    ) -> Result<Vec<(FieldRef, ArrayRef)>, ArrowError> {
        let mut added: Vec<(FieldRef, ArrayRef)> = Vec::new();
        for (_, name, attributes) in self.columns() {
            let arrays = attributes.iter().filter_map(|attribute| column(attribute));
            let arrays = arrays.map(as_text).collect::<Result<Vec<_>, _>>()?;
            let texts: Vec<TextColumn<'_>> = arrays.iter().filter_map(TextColumn::new).collect();
            let rows = arrays.first().map_or(0, Array::len);
            let value = |row| texts.iter().find_map(|text| text.get(row).filter(|value| !value.is_empty()));
            let values: StringViewArray = (0..rows).map(value).collect();
            if values.null_count() < values.len() {
                let metadata = schema::attribute_metadata("span", name);
                let field = Field::new(name, DataType::Utf8View, true).with_metadata(metadata);
                added.push((Arc::new(field), Arc::new(values)));
            }
        }
        Ok(added)
    }
}
