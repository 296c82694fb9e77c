//! The statements that create the tables.

use std::fmt::{self, Display, Formatter, Write as _};

use weir_pdata::Signal;

use crate::schema::layouts::layout;

/// How many parts a table remembers to recognise a repeated insert, which makes one for each day that it has
/// rows of. What is repeated after more than a few minutes is [looked for](crate::lookup); until then this
/// has to last.
pub(crate) const REMEMBERED_PARTS: u32 = 100_000;

/// The statement that creates the table of a signal. Rows older than `ttl_seconds` are deleted, unless it is
/// 0.
pub(crate) fn create_table(signal: Signal, database: &str, table: &str, ttl_seconds: u64) -> String {
    let layout = layout(signal);
    let columns = layout.columns.iter().map(|(name, kind)| format!("    {} {kind}", quoted(name)));
    let lines: Vec<String> =
        columns.chain(layout.indices.iter().map(|index| format!("    {index}"))).collect();
    let mut sql = format!(
        "CREATE TABLE IF NOT EXISTS {}.{} (\n{}\n)\nENGINE = {}\nPARTITION BY {}\nORDER BY {}\n",
        quoted(database),
        quoted(table),
        lines.join(",\n"),
        layout.engine,
        layout.partition,
        layout.order,
    );
    if ttl_seconds > 0 {
        // Beyond 2106 a `DateTime` begins again in 1970: such a row must live on, not be deleted at once.
        let born = format!("toUnixTimestamp(toDateTime({}))", layout.time);
        sql += &format!("TTL toDateTime(least({born} + {ttl_seconds}, {}))\n", u32::MAX);
    }
    sql += &format!("SETTINGS non_replicated_deduplication_window = {REMEMBERED_PARTS}");
    if ttl_seconds > 0 {
        sql += ", ttl_only_drop_parts = 1";
    }
    sql
}

/// A name as ClickHouse reads it whatever is in it.
pub(crate) fn quoted(name: &str) -> Quoted<'_> {
    Quoted(name)
}

/// See [`quoted`].
#[derive(Clone, Copy)]
pub(crate) struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_char('`')?;
        for part in self.0.split_inclusive(['\\', '`']) {
            match part.strip_suffix(['\\', '`']) {
                Some(before) => write!(f, "{before}\\{}", &part[before.len()..])?,
                None => f.write_str(part)?,
            }
        }
        f.write_char('`')
    }
}

/// A text in SQL.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// The columns of a created table, as the server would describe them.
#[cfg(test)]
pub(crate) fn columns_of(signal: Signal) -> crate::schema::columns::TableColumns {
    let sql = create_table(signal, "d", "t", 0);
    let columns = sql.lines().filter_map(|line| line.strip_prefix("    `")?.split_once("` "));
    let lines = columns.filter(|(_, kind)| !kind.contains(" ALIAS ")).map(|(name, kind)| {
        let kind = kind.trim_end_matches(',').split(" CODEC").next().unwrap();
        serde_json::json!({"name": name, "type": kind}).to_string()
    });
    crate::schema::columns::TableColumns::parse(lines.collect::<Vec<_>>().join("\n").as_bytes()).unwrap()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names in `attributes`, or (`body_value`) in another column.
    const WITHOUT_COLUMN: [&str; 12] = [
        "dropped_attributes",
        "dropped_events",
        "dropped_links",
        "scope",
        "scope_schema_url",
        "scope_dropped_attributes",
        "resource_schema_url",
        "resource_dropped_attributes",
        "entity_refs",
        "body_value",
        "time_missing",
        "metadata",
    ];

    #[test]
    fn every_fixed_column_of_a_signal_has_a_column_but_what_only_otlp_has() {
        for signal in Signal::ALL {
            for field in weir_pdata::schema::fixed(signal) {
                let name = field.name().as_str();
                let column = layout(signal).columns.iter().any(|(column, _)| *column == name);
                let scope = signal != Signal::Traces && name.starts_with("scope_");
                assert_ne!(column, WITHOUT_COLUMN.contains(&name) || scope, "{signal}: {name}");
            }
        }
    }

    #[test]
    fn the_statements_are_these() {
        let all = Signal::ALL.map(|signal| create_table(signal, "weir", &format!("the_{signal}"), 86_400));
        insta::assert_snapshot!("create_tables", all.join("\n\n"));
        let kept = create_table(Signal::Alarms, "weir", "alarms", 0);
        assert!(!kept.contains("TTL") && !kept.contains("ttl"), "{kept}");
    }

    #[test]
    fn the_exporter_can_write_every_column_it_creates() {
        for signal in Signal::ALL {
            for column in columns_of(signal).0 {
                assert_ne!(column.kind, crate::schema::columns::Kind::Unknown, "{signal}: {}", column.name);
            }
        }
    }

    #[test]
    fn names_are_quoted_whatever_is_in_them() {
        assert_eq!(quoted("a`b\\c").to_string(), "`a\\`b\\\\c`");
        assert_eq!(literal("a'b\\c"), "'a\\'b\\\\c'");
    }
}
