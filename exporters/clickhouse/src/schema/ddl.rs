//! The statements that create the tables.

use weir_pdata::Signal;

use crate::schema::layouts::layout;
use crate::schema::quoting::quoted;
use crate::schema::retention::Retention;

/// How many parts a table remembers to recognise a repeated insert, which makes one for each day that it has
/// rows of. What is repeated after more than a few minutes is [looked for](crate::lookup); until then this
/// has to last.
pub(crate) const REMEMBERED_PARTS: u32 = 100_000;

/// The statement that creates the table of a signal.
pub(crate) fn create_table(signal: Signal, database: &str, table: &str, retention: &Retention) -> String {
    let layout = layout(signal);
    let columns = layout.columns.iter().map(|(name, kind)| format!("{} {kind}", quoted(name)));
    let indices = layout.indices.iter().map(|index| (*index).to_owned());
    let lines: Vec<String> = columns
        .chain(retention.has_classes().then(|| retention.column()))
        .chain(indices)
        .map(|line| format!("    {line}"))
        .collect();
    let mut sql = format!(
        "CREATE TABLE IF NOT EXISTS {}.{} (\n{}\n)\nENGINE = {}\nPARTITION BY {}\nORDER BY {}\n",
        quoted(database),
        quoted(table),
        lines.join(",\n"),
        layout.engine,
        retention.partition(layout.partition),
        layout.order,
    );
    let end = retention.end(layout.time);
    if let Some(end) = &end {
        sql += &format!("TTL {end}\n");
    }
    sql += &format!("SETTINGS non_replicated_deduplication_window = {REMEMBERED_PARTS}");
    if end.is_some() {
        sql += ", ttl_only_drop_parts = 1";
    }
    sql
}

/// The columns of a created table, as the server would describe them.
#[cfg(test)]
pub(crate) fn columns_of(signal: Signal) -> crate::schema::columns::TableColumns {
    let sql = create_table(signal, "d", "t", &Retention::default());
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
        let day = Retention { ttl_seconds: 86_400, classes: Vec::new() };
        let all = Signal::ALL.map(|signal| create_table(signal, "weir", &format!("the_{signal}"), &day));
        insta::assert_snapshot!("create_tables", all.join("\n\n"));
        let kept = create_table(Signal::Alarms, "weir", "alarms", &Retention::default());
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
}
