//! The tables `keys` and `new_key`, the columns of keys, and the view that hides where a value is.

use std::fmt::Write as _;

use weir_pdata::schema;

use crate::dynamic::key_type::KeyType;
use crate::schema::created_views::Statement;
use crate::schema::ddl::REMEMBERED_PARTS;
use crate::schema::quoting::{literal, quoted};

/// The table of counts.
pub(crate) const KEYS: &str = "keys";
/// The table of keys that were seen.
pub(crate) const NEW_KEY: &str = "new_key";
/// Keys that are longer in the name of a file get no column.
const LONGEST: usize = 128;

/// The statements that create both tables.
pub(crate) fn tables(database: &str) -> [Statement; 2] {
    let db = quoted(database);
    let keys = format!(
        "CREATE TABLE IF NOT EXISTS {db}.{KEYS} (
    `time` DateTime('UTC') CODEC(Delta, ZSTD(1)),
    `service` LowCardinality(String),
    `key` String CODEC(ZSTD(1)),
    `type` LowCardinality(String),
    `count` UInt64 CODEC(ZSTD(1))
)
ENGINE = SummingMergeTree(count)
PARTITION BY toMonday(time)
ORDER BY (service, key, type, time)
TTL time + toIntervalDay(30)
SETTINGS non_replicated_deduplication_window = {REMEMBERED_PARTS}"
    );
    let new_key = format!(
        "CREATE TABLE IF NOT EXISTS {db}.{NEW_KEY} (
    `keyName` String,
    `keyType` LowCardinality(String),
    `isCreated` Bool,
    `createTime` DateTime('UTC')
)
ENGINE = ReplacingMergeTree(isCreated)
ORDER BY keyName
SETTINGS non_replicated_deduplication_window = {REMEMBERED_PARTS}"
    );
    [(KEYS, keys), (NEW_KEY, new_key)].map(|(name, sql)| Statement { name: name.to_owned(), sql })
}

/// The column of a key: the data model says how it is named. `None`: it gets none.
pub(crate) fn column_of(key: &str) -> Option<String> {
    // The names of parts of other columns, too.
    let prefixes = ["resource.", "scope.", "attr.", "links.", "events.", "attributes."];
    let taken = prefixes.iter().any(|prefix| key.starts_with(prefix));
    let own = key.starts_with('_') || schema::is_of_record(key);
    // A column is a file, whose name has three characters for each byte that is no letter or digit.
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let in_file: usize = key.bytes().map(|byte| if is_plain(byte) { 1 } else { 3 }).sum();
    if key.is_empty() || in_file > LONGEST || taken || own || key.contains(char::is_control) {
        return None;
    }
    Some(if schema::is_fixed_anywhere(key) { format!("attr.{key}") } else { key.to_owned() })
}

/// Adds columns to a table, in one statement.
pub(crate) fn add_columns(table: &str, columns: &[(String, KeyType)]) -> String {
    let mut sql = format!("ALTER TABLE {table}");
    for (at, (name, kind)) in columns.iter().enumerate() {
        let comma = if at == 0 { "" } else { "," };
        // Writing to a String does not fail.
        let _ = write!(sql, "{comma} ADD COLUMN IF NOT EXISTS {} {}", quoted(name), kind.column());
    }
    sql
}

/// A view of `table` in which each of these keys is a text, whether its value is in its column or in the map.
/// `computed` are the table's own columns that `*` leaves out.
pub(crate) fn view(database: &str, table: &str, view: &str, keys: &[&str], computed: &[&str]) -> String {
    let columns: Vec<(&str, String)> = keys.iter().filter_map(|key| Some((*key, column_of(key)?))).collect();
    let db = quoted(database);
    let mut sql = format!("CREATE OR REPLACE VIEW {db}.{} AS\nSELECT * ", quoted(view));
    if !columns.is_empty() {
        let names: Vec<String> = columns.iter().map(|(_, column)| quoted(column).to_string()).collect();
        let _ = write!(sql, "EXCEPT ({})", names.join(", "));
    }
    for name in computed {
        let _ = write!(sql, ",\n    {} AS {}", quoted(name), quoted(name));
    }
    for (key, column) in columns {
        let mut places = vec![format!("toString({})", quoted(&column))];
        // What does not fit its column is in the map under the column's name.
        for name in [key, column.as_str()] {
            let name = literal(name);
            let place = format!("if(mapContains(attributes, {name}), attributes[{name}], NULL)");
            if !places.contains(&place) {
                places.push(place);
            }
        }
        let _ = write!(sql, ",\n    coalesce({}) AS {}", places.join(", "), quoted(&column));
    }
    let _ = write!(sql, "\nFROM {db}.{}", quoted(table));
    sql
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_has_the_column_that_the_data_model_says() {
        assert_eq!(column_of("http.method").as_deref(), Some("http.method"));
        assert_eq!(column_of("peer").as_deref(), Some("attr.peer"));
        assert_eq!(column_of("größe `x`").as_deref(), Some("größe `x`"));
        let long = "k".repeat(LONGEST + 1);
        let wide = "ü".repeat(22);
        for key in [
            "",
            "resource.a",
            "scope.a",
            "attr.a",
            "links.a",
            "events.name",
            "attributes.keys",
            "_offset",
            "_x",
            "a\nb",
            &long,
            &wide,
        ] {
            assert_eq!(column_of(key), None, "{key}");
        }
    }

    #[test]
    fn the_statements_are_these() {
        let columns = [("a`b".to_owned(), KeyType::Integer), ("attr.peer".to_owned(), KeyType::Text)];
        let all = tables("weir").map(|statement| statement.sql);
        let more = [
            add_columns("`weir`.`events`", &columns),
            view("weir", "events", "events_all", &["a`b", "peer"], &["span_id"]),
        ];
        insta::assert_snapshot!("dynamic", all.into_iter().chain(more).collect::<Vec<_>>().join("\n\n"));
    }
}
