//! The bad rows of a refused insert.
//!
//! The server names one of them, or none. There are three ways to find all, the cheapest first:
//! * The exporter itself sees a text that is not in an `Enum`, or too long for a `FixedString`.
//! * One question to the server, with the columns that matter, returns the rows that violate the constraint,
//!   or for which an expression fails that has a [lenient] form.
//! * Groups of rows are tried without being stored: see [`probe`](crate::bad_rows::probe).
//!
//! When all of them find nothing, the helper inserts halves.

use std::sync::Arc;

use arrow::array::RecordBatch;

use crate::bad_rows::Refused;
use crate::bad_rows::lenient::{Lenient, lenient};
use crate::bad_rows::probe::Probe;
use crate::client::failure::Failure;
use crate::client::server::{Described, Server};
use crate::convert::cell::{Cell, ColumnReader};
use crate::convert::convert;
use crate::native::block::block_of;
use crate::native::decode::read;
use crate::native::scratch::ScratchPool;
use crate::schema::quoting::{literal, quoted};

/// The longest statement that asks which rows violate a constraint.
const MAX_STATEMENT: usize = 16 << 20;

impl Refused<'_> {
    /// The rows at fault, rising, or some of them. Empty: they are not known.
    pub(crate) async fn bad_rows(&self, server: &Arc<Server>, failure: &Failure) -> Vec<usize> {
        if !failure.is_of_single_rows() {
            return Vec::new();
        }
        // Whatever goes wrong here: then the rows are found in another way.
        let rows = read(self.body, self.compressed);
        let (Ok(rows), Ok(described)) = (rows, server.described(self.table).await) else { return Vec::new() };
        if failure.is_of_a_type() {
            let found = texts_out_of_type(&rows, &described);
            if !found.is_empty() {
                return found;
            }
        }
        if let Some(expression) = failure.constraint() {
            // One that is NULL is violated, too.
            let found = self.ask(server, &rows, &described, &format!("NOT ifNull({expression}, 0)")).await;
            if !found.is_empty() {
                return found;
            }
        }
        let constraints = server.constraints(self.table).await.unwrap_or_default();
        let by_type = failure.is_of_a_type() || failure.is_of_a_conversion();
        let probe = || Probe::new(server, self, &described, &constraints, &rows, by_type);
        if let Some(Lenient { expression, exact }) = self.lenient(&described, &constraints) {
            let suspects = self.ask(server, &rows, &described, &expression).await;
            let found = match probe() {
                Some(probe) if !exact && !suspects.is_empty() => probe.confirmed(&suspects).await,
                _ => suspects,
            };
            if !found.is_empty() {
                return found;
            }
        }
        match probe() {
            Some(probe) => probe.failing().await,
            None => Vec::new(),
        }
    }

    /// A condition that holds for rows of which an expression of the table fails, or that violate a
    /// constraint.
    fn lenient(&self, described: &[Described], constraints: &[String]) -> Option<Lenient> {
        let is_sent = |name: &str| self.body.columns.iter().any(|column| &**column == name);
        let computed = described.iter().filter(|column| {
            // Where it may be NULL anyway, that says nothing.
            !column.r#type.contains("Nullable")
                && match column.default_type.as_str() {
                    "MATERIALIZED" => true,
                    "DEFAULT" => !is_sent(&column.name),
                    _ => false,
                }
        });
        let (mut conditions, mut exact) = (Vec::new(), true);
        for found in computed.filter_map(|column| lenient(&column.default_expression)) {
            conditions.push(format!("isNull({})", found.expression));
            exact &= found.exact;
        }
        for constraint in constraints {
            let found = lenient(constraint);
            exact &= found.as_ref().is_none_or(|found| found.exact);
            let expression = found.map_or_else(|| constraint.clone(), |found| found.expression);
            conditions.push(format!("NOT ifNull({expression}, 0)"));
        }
        (!conditions.is_empty()).then(|| Lenient { expression: conditions.join(" OR "), exact })
    }

    /// The rows for which a condition holds, as the server tells. Empty: none, or it cannot tell.
    async fn ask(
        &self,
        server: &Server,
        rows: &RecordBatch,
        described: &[Described],
        condition: &str,
    ) -> Vec<usize> {
        match self.question(rows, described, condition) {
            Some(sql) => server.row_numbers(&sql).await.unwrap_or_default(),
            None => Vec::new(),
        }
    }

    /// The statement that asks for which rows a condition holds.
    fn question(&self, rows: &RecordBatch, described: &[Described], condition: &str) -> Option<String> {
        let plain = ScratchPool::new(false);
        // The rows are counted by the first column, should it be about none that is sent.
        let first = self.body.columns.first();
        let about = |name: &str| condition.contains(name) || first.is_some_and(|first| **first == *name);
        let converted = plain.with(|scratch| convert(self.signal, &[rows], self.columns, scratch)).ok()?;
        let body = plain.with(|scratch| block_of(&[&converted.encoded], about, scratch));
        let structure: Vec<String> = body
            .columns
            .iter()
            .map(|name| {
                let found = described.iter().find(|column| column.name == **name);
                found.map(|column| format!("{} {}", quoted(name), column.r#type))
            })
            .collect::<Option<_>>()?;
        // Columns that are not sent have the default of their type.
        let is_sent = |name: &str| body.columns.iter().any(|column| &**column == name);
        let missing = described.iter().filter(|column| column.default_type.is_empty() && about(&column.name));
        let missing: Vec<String> = missing
            .filter(|column| !is_sent(&column.name))
            .map(|column| {
                format!(", defaultValueOfTypeName({}) AS {}", literal(&column.r#type), quoted(&column.name))
            })
            .collect();
        let mut sql = format!(
            "SELECT toUInt32(weir_row) AS weir_row FROM (SELECT rowNumberInAllBlocks() AS weir_row, *{} \
             FROM format(Native, {}, '",
            missing.concat(),
            literal(&structure.join(", "))
        );
        for byte in body.chunks.iter().flatten() {
            match byte {
                b'\\' | b'\'' => sql.extend(['\\', char::from(*byte)]),
                b' '..=b'~' => sql.push(char::from(*byte)),
                _ => sql += &format!("\\x{byte:02x}"),
            }
        }
        sql += &format!("')) WHERE {condition} ORDER BY weir_row");
        (sql.len() <= MAX_STATEMENT).then_some(sql)
    }
}

/// Rows with a text that a column of the table cannot hold.
fn texts_out_of_type(rows: &RecordBatch, described: &[Described]) -> Vec<usize> {
    let mut found = Vec::new();
    for (field, array) in rows.schema_ref().fields().iter().zip(rows.columns()) {
        let declared = described.iter().find(|column| column.name == *field.name());
        let Some(allowed) = declared.and_then(|column| AllowedTexts::read(&column.r#type)) else { continue };
        let source = ColumnReader::new(array);
        found.extend((0..rows.num_rows()).filter(|row| match source.cell(*row) {
            Cell::Text(text) => !allowed.takes(text),
            // The block has the empty text for none.
            _ => !allowed.takes(""),
        }));
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// The texts that a column can hold.
#[derive(Debug, PartialEq, Eq)]
enum AllowedTexts {
    OneOf(Vec<String>),
    AtMost(usize),
}

impl AllowedTexts {
    /// Reads a type. `None`: any text, none, or NULL for none.
    fn read(kind: &str) -> Option<AllowedTexts> {
        let mut kind = kind.trim();
        while let Some(inner) = kind.strip_prefix("LowCardinality(") {
            kind = inner.strip_suffix(')')?;
        }
        if let Some(length) = kind.strip_prefix("FixedString(") {
            return Some(AllowedTexts::AtMost(length.strip_suffix(')')?.parse().ok()?));
        }
        let elements = kind.strip_prefix("Enum8(").or_else(|| kind.strip_prefix("Enum16("))?;
        let (mut names, mut characters) = (Vec::new(), elements.chars());
        while characters.any(|c| c == '\'') {
            let mut name = String::new();
            loop {
                match characters.next()? {
                    '\'' => break,
                    '\\' => name.push(characters.next().filter(|c| matches!(c, '\\' | '\''))?),
                    c => name.push(c),
                }
            }
            names.push(name);
        }
        Some(AllowedTexts::OneOf(names))
    }

    fn takes(&self, text: &str) -> bool {
        match self {
            AllowedTexts::AtMost(length) => text.len() <= *length,
            // Servers take an element's number, too.
            AllowedTexts::OneOf(names) => {
                names.iter().any(|name| name == text) || text.trim().parse::<i32>().is_ok()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, StringArray};
    use std::sync::Arc;

    #[test]
    fn types_say_which_texts_they_hold() {
        let one_of =
            |names: &[&str]| Some(AllowedTexts::OneOf(names.iter().map(|name| (*name).to_owned()).collect()));
        assert_eq!(
            AllowedTexts::read("Enum8('server' = 1, 'it\\'s, a \\\\' = 2)"),
            one_of(&["server", "it's, a \\"])
        );
        assert_eq!(AllowedTexts::read("LowCardinality(FixedString(3))"), Some(AllowedTexts::AtMost(3)));
        for other in
            ["String", "Nullable(Enum8('a' = 1))", "Map(String, Enum8('a' = 1))", "Enum8('a\\n' = 1)"]
        {
            assert_eq!(AllowedTexts::read(other), None, "{other}");
        }
    }

    #[test]
    fn rows_with_other_texts_are_told() {
        let texts = |texts: Vec<Option<&str>>| -> ArrayRef { Arc::new(StringArray::from(texts)) };
        let rows = RecordBatch::try_from_iter_with_nullable([
            ("kind", texts(vec![Some("a"), Some("b"), Some("a"), None, Some("2")]), true),
            ("code", texts(vec![Some("1"), None, Some("123"), None, None]), true),
        ])
        .unwrap();
        let described = |name: &str, kind: &str| Described {
            name: name.to_owned(),
            r#type: kind.to_owned(),
            default_type: String::new(),
            default_expression: String::new(),
            comment: String::new(),
        };
        let table = [described("kind", "Enum8('a' = 1)"), described("code", "FixedString(2)")];
        assert_eq!(texts_out_of_type(&rows, &table), [1, 2, 3]);
    }
}
