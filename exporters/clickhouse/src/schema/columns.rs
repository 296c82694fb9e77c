//! The columns that a table really has, and what each can take.

use std::sync::Arc;

use serde::Deserialize;

use crate::schema::layouts::{
    COUNTS_TYPE, EXEMPLARS_TYPE, FLOATS_TYPE, LINKS_TYPE, QUANTILES_TYPE, SPAN_EVENTS_TYPE,
};

/// The columns of a table that an insert can name, in the table's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TableColumns(pub Vec<Column>);

/// One column of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Column {
    pub(crate) name: Arc<str>,
    pub(crate) kind: Kind,
    /// Whether it keeps NULL. Where not, NULL is stored as the type's zero.
    pub(crate) nullable: bool,
}

/// The values that a column can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Integer(Integer),
    Float32,
    Float64,
    Bool,
    Time(Precision),
    /// Text to text.
    TextMap,
    /// Text to Float64.
    NumberMap,
    /// The `links` of spans, as this exporter creates it.
    Links,
    /// The `events` of spans, as this exporter creates it.
    SpanEvents,
    /// A list of Float64.
    Floats,
    /// A list of UInt64.
    Counts,
    /// The `quantiles` of data points, as this exporter creates it.
    Quantiles,
    /// The `exemplars` of data points, as this exporter creates it.
    Exemplars,
    /// Anything else: the exporter does not write it.
    Unknown,
}

/// An integer type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Integer {
    I8,
    I16,
    I32,
    I64,
    U8,
    U16,
    U32,
    U64,
}

/// The unit that a time column counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Precision {
    Seconds,
    Millis,
    Micros,
    Nanos,
}

/// One line of `DESCRIBE TABLE … FORMAT JSONEachRow`.
#[derive(Deserialize)]
struct Described {
    name: String,
    r#type: String,
    #[serde(default)]
    default_type: String,
}

impl Kind {
    /// Whether a value of it is single: not a map, nor a list.
    pub(crate) const fn is_single(self) -> bool {
        matches!(
            self,
            Kind::Text | Kind::Integer(_) | Kind::Float32 | Kind::Float64 | Kind::Bool | Kind::Time(_)
        )
    }
}

impl TableColumns {
    /// Reads the answer to `DESCRIBE TABLE … FORMAT JSONEachRow`. Computed columns, which take no values, are
    /// left out.
    pub(crate) fn parse(lines: &[u8]) -> Result<TableColumns, serde_json::Error> {
        let mut columns = Vec::new();
        for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let Described { name, r#type, default_type } = serde_json::from_slice(line)?;
            if !matches!(default_type.as_str(), "MATERIALIZED" | "ALIAS") {
                let (kind, nullable) = kind(&r#type);
                columns.push(Column { name: name.into(), kind, nullable });
            }
        }
        Ok(TableColumns(columns))
    }

    /// The column of this name.
    pub(crate) fn find(&self, name: &str) -> Option<&Column> {
        self.0.iter().find(|column| &*column.name == name)
    }

    /// Whether there is a column of this name and kind.
    pub(crate) fn has(&self, name: &str, kind: Kind) -> bool {
        self.find(name).is_some_and(|column| column.kind == kind)
    }
}

/// Reads a type as the server writes it. Newer servers indent nested types, so white space is ignored.
fn kind(written: &str) -> (Kind, bool) {
    let compact: String = written.chars().filter(|c| !c.is_whitespace()).collect();
    let (mut inner, mut nullable) = (compact.as_str(), false);
    loop {
        if let Some(rest) = inside(inner, "LowCardinality") {
            inner = rest;
        } else if let Some(rest) = inside(inner, "Nullable") {
            (inner, nullable) = (rest, true);
        } else {
            return (plain_kind(inner), nullable);
        }
    }
}

fn plain_kind(written: &str) -> Kind {
    let integer = |integer| Kind::Integer(integer);
    match written {
        "String" => return Kind::Text,
        "Bool" => return Kind::Bool,
        "Int8" => return integer(Integer::I8),
        "Int16" => return integer(Integer::I16),
        "Int32" => return integer(Integer::I32),
        "Int64" => return integer(Integer::I64),
        "UInt8" => return integer(Integer::U8),
        "UInt16" => return integer(Integer::U16),
        "UInt32" => return integer(Integer::U32),
        "UInt64" => return integer(Integer::U64),
        "Float32" => return Kind::Float32,
        "Float64" => return Kind::Float64,
        "DateTime" => return Kind::Time(Precision::Seconds),
        _ => {}
    }
    let name = written.split('(').next().unwrap_or_default();
    match name {
        "FixedString" | "Enum8" | "Enum16" => Kind::Text,
        "DateTime" => Kind::Time(Precision::Seconds),
        "DateTime64" => match inside(written, name).and_then(|inner| inner.split(',').next()) {
            Some("0") => Kind::Time(Precision::Seconds),
            Some("1" | "2" | "3") => Kind::Time(Precision::Millis),
            Some("4" | "5" | "6") => Kind::Time(Precision::Micros),
            Some("7" | "8" | "9") => Kind::Time(Precision::Nanos),
            _ => Kind::Unknown,
        },
        "Map" => match inside(written, name).and_then(|inner| inner.rsplit_once(',')) {
            Some((key, value)) if kind(key) == (Kind::Text, false) => match kind(value) {
                (Kind::Text, false) => Kind::TextMap,
                (Kind::Float64, false) => Kind::NumberMap,
                _ => Kind::Unknown,
            },
            _ => Kind::Unknown,
        },
        "Array" if written == compact(LINKS_TYPE) => Kind::Links,
        "Array" if written == compact(SPAN_EVENTS_TYPE) => Kind::SpanEvents,
        "Array" if written == FLOATS_TYPE => Kind::Floats,
        "Array" if written == COUNTS_TYPE => Kind::Counts,
        "Array" if written == compact(QUANTILES_TYPE) => Kind::Quantiles,
        "Array" if written == compact(EXEMPLARS_TYPE) => Kind::Exemplars,
        _ => Kind::Unknown,
    }
}

fn compact(written: &str) -> String {
    written.chars().filter(|c| !c.is_whitespace()).collect()
}

fn inside<'a>(written: &'a str, name: &str) -> Option<&'a str> {
    written.strip_prefix(name)?.strip_prefix('(')?.strip_suffix(')')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_read_as_servers_write_them() {
        for (written, expected) in [
            ("String", (Kind::Text, false)),
            ("LowCardinality(Nullable(String))", (Kind::Text, true)),
            ("Enum8('a' = 1, 'b' = 2)", (Kind::Text, false)),
            ("Nullable(Float64)", (Kind::Float64, true)),
            ("UInt32", (Kind::Integer(Integer::U32), false)),
            ("DateTime('UTC')", (Kind::Time(Precision::Seconds), false)),
            ("DateTime64(9, 'UTC')", (Kind::Time(Precision::Nanos), false)),
            ("Nullable(DateTime64(3))", (Kind::Time(Precision::Millis), true)),
            ("Map(LowCardinality(String), String)", (Kind::TextMap, false)),
            ("Map(LowCardinality(String), Float64)", (Kind::NumberMap, false)),
            ("Map(String, Array(String))", (Kind::Unknown, false)),
            ("Array(String)", (Kind::Unknown, false)),
            ("Array(UInt64)", (Kind::Counts, false)),
            ("Array(Nullable(Float64))", (Kind::Unknown, false)),
            ("Array(Tuple(\n    quantile Float64,\n    value Float64))", (Kind::Quantiles, false)),
            ("UUID", (Kind::Unknown, false)),
            (
                "Array(Tuple(\n    time DateTime64(9, 'UTC'),\n    name String,\n    attributes Map(LowCardinality(String), String)))",
                (Kind::SpanEvents, false),
            ),
        ] {
            assert_eq!(kind(written), expected, "{written}");
        }
    }

    #[test]
    fn computed_columns_take_no_values() {
        let lines = br#"{"name":"a","type":"String","default_type":""}
{"name":"b","type":"String","default_type":"MATERIALIZED","default_expression":"a"}
{"name":"c","type":"Int64","default_type":"DEFAULT","default_expression":"1"}
"#;
        let table = TableColumns::parse(lines).unwrap();
        let names: Vec<_> = table.0.iter().map(|column| &*column.name).collect();
        assert_eq!(names, ["a", "c"]);
    }
}
