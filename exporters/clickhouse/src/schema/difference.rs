//! How a table that is there differs from the one that the exporter would create.

use std::fmt::{self, Display, Formatter};

use weir_pdata::Signal;

use crate::client::server::Described;
use crate::schema::layouts::layout;
use crate::schema::quoting::quoted;
use crate::schema::retention::{Retention, TTL_COLUMN};

/// One column that is not as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Difference {
    /// The table lacks it. What would be in it goes into a map.
    Missing { table: String, column: &'static str, kind: &'static str },
    /// It has another type, or is computed where it should be stored, or the other way round.
    Other { column: &'static str, found: String, expected: String },
}

impl Display for Difference {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Difference::Missing { table, column, kind } => {
                write!(f, "`{column}` is missing: ALTER TABLE {table} ADD COLUMN {} {kind}", quoted(column))
            }
            Difference::Other { column, found, expected } => {
                write!(f, "`{column}` is {found}, and expected is {expected}")
            }
        }
    }
}

/// The differences of a table, column by column. Further columns of its own are none. A table of an older
/// version that stores what newer ones compute is as good.
pub(crate) fn differences(signal: Signal, table: &str, found: &[Described]) -> Vec<Difference> {
    let mut differences = Vec::new();
    for (column, declared) in layout(signal).columns {
        let (kind, computed) = match declared.split_once(" ALIAS ") {
            Some((kind, _)) => (kind, true),
            None => (declared.split(" CODEC(").next().unwrap_or(declared), false),
        };
        let Some(there) = found.iter().find(|found| found.name == *column) else {
            differences.push(Difference::Missing { table: table.to_owned(), column, kind: declared });
            continue;
        };
        let takes_no_values = matches!(there.default_type.as_str(), "ALIAS" | "MATERIALIZED");
        if compact(&there.r#type) != compact(kind) || (takes_no_values && !computed) {
            let shown =
                |kind: &str, computed: bool| format!("{}{kind}", if computed { "a computed " } else { "" });
            differences.push(Difference::Other {
                column,
                found: shown(&there.r#type, takes_no_values),
                expected: shown(kind, computed),
            });
        }
    }
    differences
}

/// What is to be done about a table with these columns, so that it keeps its rows by the classes of
/// `retention`.
pub(crate) fn of_retention(retention: &Retention, table: &str, found: &[Described]) -> Option<String> {
    let (column, expected) = (retention.column(), retention.expression());
    match found.iter().find(|found| found.name == TTL_COLUMN) {
        None if !retention.has_classes() => None,
        None => Some(format!(
            "`{TTL_COLUMN}` is missing: `retention` needs it in the partition key, which no table gets later. \
             Create the table anew and move the rows (`weir clickhouse ddl` prints the statement)"
        )),
        Some(there) if there.comment == expected => None,
        Some(there) => Some(format!(
            "`{TTL_COLUMN}` is {:?}, and expected is {expected:?}. For new rows: ALTER TABLE {table} MODIFY COLUMN {column}",
            there.comment
        )),
    }
}

/// Servers write types with other white space.
fn compact(kind: &str) -> String {
    kind.chars().filter(|c| !c.is_whitespace()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(name: &str, kind: &str, default_type: &str) -> Described {
        Described {
            name: name.to_owned(),
            r#type: kind.to_owned(),
            default_type: default_type.to_owned(),
            default_expression: String::new(),
            comment: String::new(),
        }
    }

    fn as_created(signal: Signal) -> Vec<Described> {
        let columns = layout(signal).columns.iter();
        let of = |(name, kind): &(&str, &str)| match kind.split_once(" ALIAS ") {
            Some((kind, _)) => described(name, kind, "ALIAS"),
            None => described(name, kind.split(" CODEC").next().unwrap(), ""),
        };
        columns.map(of).collect()
    }

    #[test]
    fn a_table_as_it_is_created_has_none() {
        for signal in Signal::ALL {
            assert_eq!(differences(signal, "`d`.`t`", &as_created(signal)), [], "{signal}");
        }
    }

    #[test]
    fn each_column_is_told_with_what_to_do() {
        let mut found = as_created(Signal::Alarms);
        found.retain(|column| column.name != "rule_epoch");
        found.push(described("own", "UUID", ""));
        for column in &mut found {
            match column.name.as_str() {
                "value" => column.r#type = "Float64".to_owned(),
                "message" => column.default_type = "MATERIALIZED".to_owned(),
                _ => {}
            }
        }
        let told: Vec<String> =
            differences(Signal::Alarms, "`d`.`alarms`", &found).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "`value` is Float64, and expected is Nullable(Float64)",
                "`message` is a computed String, and expected is String",
                "`rule_epoch` is missing: ALTER TABLE `d`.`alarms` ADD COLUMN `rule_epoch` Int64",
            ]
        );
    }
}
