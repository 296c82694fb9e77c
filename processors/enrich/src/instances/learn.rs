//! Reading the properties of instances from the logs that report them.

use arrow::array::{ArrayRef, RecordBatch};
use weir_pdata::attributes::AttributeColumn;
use weir_pdata::schema::{ATTRIBUTE_KEY, ATTRIBUTES};
use weir_pdata::text::TextColumn;

use crate::instances::table::{InstanceTable, Values};

/// The name of the logs that report properties.
const PROPERTIES: &str = "instance_properties";
/// Longer values do not become columns.
const LONGEST: usize = 1_024;

impl InstanceTable {
    /// Takes the properties that are among these logs.
    pub(crate) fn learn(&self, logs: &RecordBatch, now_ms: i64) {
        let text = |name: &str| logs.column_by_name(name).and_then(TextColumn::new);
        let (Some(names), Some(services), Some(instances)) =
            (text("event_name"), text("service"), text("service_instance"))
        else {
            return;
        };
        for row in (0..logs.num_rows()).filter(|row| names.get(*row) == Some(PROPERTIES)) {
            let (Some(service), Some(instance)) = (services.get(row), instances.get(row)) else { continue };
            let value = |(_, properties): &(String, Vec<String>)| {
                properties.iter().find_map(|property| self::property(logs, row, property)).map(Into::into)
            };
            let values: Values = self.columns.iter().map(value).collect();
            if values.iter().any(Option::is_some) {
                self.put(service, instance, now_ms, values);
            }
        }
    }
}

/// The values of a property, in order, with commas between them. `None`: there is none, or it is too long.
fn property(logs: &RecordBatch, row: usize, key: &str) -> Option<String> {
    let mut found = String::new();
    let mut add = |value: &str| {
        if !value.is_empty() {
            if !found.is_empty() {
                found.push(',');
            }
            found.push_str(value);
        }
    };
    // The first is in a column where something reads the key.
    let is_of_key = |metadata: &std::collections::HashMap<String, String>| {
        metadata.get(ATTRIBUTE_KEY).is_some_and(|of| of == key)
    };
    let fields = logs.schema_ref().fields().iter().zip(logs.columns());
    let columns = fields.filter(|(field, _)| is_of_key(field.metadata())).map(|(_, array)| array);
    let own = |array: &ArrayRef| TextColumn::new(array).and_then(|text| text.get(row).map(str::to_owned));
    columns.filter_map(own).for_each(|value| add(&value));
    if let Some(lists) = logs.column_by_name(ATTRIBUTES).and_then(AttributeColumn::new) {
        lists.row(row).filter(|(name, _)| *name == key).for_each(|(_, value)| add(&value.to_string()));
    }
    (!found.is_empty() && found.len() <= LONGEST).then_some(found)
}
