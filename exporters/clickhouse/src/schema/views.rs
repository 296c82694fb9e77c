//! Materialized views behind a table: where an insert that is repeated may count twice.
//!
//! An insert whose token the table knows is left out there. What views give of it is left out where their
//! targets remember inserts (`deduplicate_blocks_in_dependent_materialized_views`); other targets take it
//! again.

use serde::Deserialize;

use crate::bad_rows::lenient::{bracketed, split};
use crate::schema::deduplication::Engine;

/// A table or view, as `system.tables` tells it.
#[derive(Debug, Deserialize)]
pub(crate) struct TableInfo {
    #[serde(flatten)]
    pub(crate) engine: Engine,
    pub(crate) create_table_query: String,
    pub(crate) dependencies_database: Vec<String>,
    pub(crate) dependencies_table: Vec<String>,
}

/// Where a view puts what it selects.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// Into a table: database and name.
    Table(String, String),
    /// Into one of its own, with this engine: the name, and all that is said of it.
    Own(String, String),
}

impl TableInfo {
    /// The views that take what is inserted here: database and name.
    pub(crate) fn views(&self) -> impl Iterator<Item = (&str, &str)> {
        let databases = self.dependencies_database.iter().map(String::as_str);
        databases.zip(self.dependencies_table.iter().map(String::as_str))
    }

    /// The expressions of its constraints.
    pub(crate) fn constraints(&self) -> Vec<String> {
        let declared =
            self.create_table_query.find('(').and_then(|at| bracketed(&self.create_table_query[at..]));
        let Some(declared) = declared.and_then(|(inner, _)| split(inner)) else { return Vec::new() };
        let constraints = declared.into_iter().filter_map(|part| part.strip_prefix("CONSTRAINT "));
        constraints.filter_map(|part| Some(name(part)?.1.strip_prefix(" CHECK ")?.to_owned())).collect()
    }

    /// The target of a materialized view; `None` for anything else.
    pub(crate) fn target(&self) -> Option<Target> {
        let mut rest = self.create_table_query.strip_prefix("CREATE MATERIALIZED VIEW ")?;
        let (database, mut after) = name(rest)?;
        if let Some(dot) = after.strip_prefix('.') {
            after = name(dot)?.1;
        }
        rest = after.trim_start();
        if let Some(uuid) = rest.strip_prefix("UUID '") {
            rest = uuid.split_once('\'')?.1.trim_start();
        }
        if let Some(to) = rest.strip_prefix("TO ") {
            let (first, after) = name(to)?;
            let target = match after.strip_prefix('.').and_then(name) {
                Some((second, _)) => Target::Table(first, second),
                None => Target::Table(database, first),
            };
            return Some(target);
        }
        let said = rest.split_once(" ENGINE = ")?.1;
        let said = said.split_once(" AS ").map_or(said, |(engine, _)| engine);
        let end = said.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(said.len());
        Some(Target::Own(said[..end].to_owned(), said.to_owned()))
    }
}

/// The name at the beginning of a text, quoted or not, and what follows.
fn name(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('`') else {
        let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
        return (end > 0).then(|| (text[..end].to_owned(), &text[end..]));
    };
    let mut name = String::new();
    let mut characters = quoted.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '`' => return Some((name, &quoted[at + 1..])),
            '\\' => name.push(characters.next()?.1),
            c => name.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(sql: &str) -> TableInfo {
        let engine = serde_json::from_str(r#"{"engine": "MaterializedView", "engine_full": ""}"#).unwrap();
        let create_table_query = sql.to_owned();
        let (dependencies_database, dependencies_table) = (Vec::new(), Vec::new());
        TableInfo { engine, create_table_query, dependencies_database, dependencies_table }
    }

    fn target(sql: &str) -> Option<Target> {
        known(sql).target()
    }

    #[test]
    fn constraints_are_found_in_the_statement() {
        let table = "CREATE TABLE d.`t` (`a` String DEFAULT 'CONSTRAINT x CHECK (', `b` Map(String, String), \
                     CONSTRAINT one CHECK length(a) < 3, CONSTRAINT `t w,o` CHECK (a, b) IN (('x', 'y'), (1, 2)), \
                     CONSTRAINT three ASSUME a = b, INDEX i a TYPE minmax GRANULARITY 1) ENGINE = MergeTree ORDER BY a";
        assert_eq!(known(table).constraints(), ["length(a) < 3", "(a, b) IN (('x', 'y'), (1, 2))"]);
        assert_eq!(known("CREATE TABLE d.t AS x").constraints(), [""; 0]);
    }

    #[test]
    fn the_target_of_a_view_is_found_in_its_statement() {
        let table = |database: &str, name: &str| Some(Target::Table(database.into(), name.into()));
        assert_eq!(
            target("CREATE MATERIALIZED VIEW d.v TO d.t (`n` UInt64) AS SELECT 1 AS n"),
            table("d", "t")
        );
        assert_eq!(
            target("CREATE MATERIALIZED VIEW d.v UUID 'x' TO `a.b`.`t\\`1` AS SELECT 1"),
            table("a.b", "t`1")
        );
        let own = "SummingMergeTree ORDER BY tuple() SETTINGS index_granularity = 8192";
        assert_eq!(
            target(&format!("CREATE MATERIALIZED VIEW d.`v v` (`n` UInt64) ENGINE = {own} AS SELECT 1 AS n")),
            Some(Target::Own("SummingMergeTree".into(), own.into()))
        );
        assert_eq!(target("CREATE VIEW d.v AS SELECT 1"), None);
    }
}
