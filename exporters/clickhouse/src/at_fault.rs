//! Which rows of a refused insert are at fault.
//!
//! The server names one of them, or none. But what it has refused them for can be looked at in all rows: a text that is no element of
//! an `Enum` or too long for a `FixedString` here; a constraint by the server, which is given the columns that it is about, and
//! answers with the rows. Nothing is stored by that. For any other reason nothing is told, and the helper tries halves.

use arrow::array::RecordBatch;
use weir_pdata::Signal;

use crate::block::{Body, block_of};
use crate::columns::TableColumns;
use crate::failure::Failure;
use crate::insert_rows::convert;
use crate::piece::Room;
use crate::reading::read;
use crate::server::Server;
use crate::source::{Cell, Source};
use crate::tables::{literal, quoted};

/// The longest statement that asks which rows violate a constraint.
const MAX_STATEMENT: usize = 16 << 20;

/// An insert that was refused.
pub(crate) struct Refused<'a> {
    pub signal: Signal,
    pub table: &'a str,
    pub columns: &'a TableColumns,
    pub body: &'a Body,
    /// Whether its frames are compressed.
    pub compressed: bool,
}

impl Refused<'_> {
    /// The rows at fault, rising. Empty: they are not known.
    pub async fn rows(&self, server: &Server, failure: &Failure) -> Vec<usize> {
        if !failure.is_of_a_type() && failure.constraint().is_none() {
            return Vec::new();
        }
        // Whatever goes wrong here: then the rows are found in another way.
        let (Ok(rows), Ok(types)) = (read(self.body, self.compressed), server.types(self.table).await) else {
            return Vec::new();
        };
        match failure.constraint() {
            None => misfits(&rows, &types),
            Some(expression) => match self.question(&rows, &types, expression) {
                Some(sql) => server.row_numbers(&sql).await.unwrap_or_default(),
                None => Vec::new(),
            },
        }
    }

    /// The statement that asks which rows violate a constraint.
    fn question(&self, rows: &RecordBatch, types: &[(String, String)], expression: &str) -> Option<String> {
        let plain = Room::new(false);
        let about = |name: &str| expression.contains(name);
        let converted = plain.with(|scratch| convert(self.signal, &[rows], self.columns, scratch)).ok()?;
        let body = plain.with(|scratch| block_of(&[&converted.piece], about, scratch));
        let structure: Vec<String> = body
            .columns
            .iter()
            .map(|name| {
                let found = types.iter().find(|(column, _)| column == &**name);
                found.map(|(_, kind)| format!("{} {kind}", quoted(name)))
            })
            .collect::<Option<_>>()?;
        let mut sql = format!(
            "SELECT toUInt32(weir_row) AS weir_row FROM (SELECT rowNumberInAllBlocks() AS weir_row, * \
             FROM format(Native, {}, '",
            literal(&structure.join(", "))
        );
        for byte in body.parts.iter().flatten() {
            match byte {
                b'\\' | b'\'' => sql.extend(['\\', char::from(*byte)]),
                b' '..=b'~' => sql.push(char::from(*byte)),
                _ => sql += &format!("\\x{byte:02x}"),
            }
        }
        // One that is NULL is violated, too.
        sql += &format!("')) WHERE NOT ifNull({expression}, 0) ORDER BY weir_row");
        (sql.len() <= MAX_STATEMENT).then_some(sql)
    }
}

/// Rows with a text that a column of the table cannot hold.
fn misfits(rows: &RecordBatch, types: &[(String, String)]) -> Vec<usize> {
    let mut found = Vec::new();
    for (field, array) in rows.schema_ref().fields().iter().zip(rows.columns()) {
        let declared = types.iter().find(|(name, _)| name == field.name());
        let Some(holds) = declared.and_then(|(_, kind)| Holds::read(kind)) else { continue };
        let source = Source::new(array);
        found.extend((0..rows.num_rows()).filter(|row| match source.cell(*row) {
            Cell::Text(text) => !holds.takes(text),
            // The block has the empty text for none.
            _ => !holds.takes(""),
        }));
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// The texts that a column can hold.
#[derive(Debug, PartialEq, Eq)]
enum Holds {
    OneOf(Vec<String>),
    AtMost(usize),
}

impl Holds {
    /// Reads a type. `None`: any text, none, or NULL for none.
    fn read(kind: &str) -> Option<Holds> {
        let mut kind = kind.trim();
        while let Some(inner) = kind.strip_prefix("LowCardinality(") {
            kind = inner.strip_suffix(')')?;
        }
        if let Some(length) = kind.strip_prefix("FixedString(") {
            return Some(Holds::AtMost(length.strip_suffix(')')?.parse().ok()?));
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
        Some(Holds::OneOf(names))
    }

    fn takes(&self, text: &str) -> bool {
        match self {
            Holds::AtMost(length) => text.len() <= *length,
            // Servers take an element's number, too.
            Holds::OneOf(names) => {
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
            |names: &[&str]| Some(Holds::OneOf(names.iter().map(|name| (*name).to_owned()).collect()));
        assert_eq!(
            Holds::read("Enum8('server' = 1, 'it\\'s, a \\\\' = 2)"),
            one_of(&["server", "it's, a \\"])
        );
        assert_eq!(Holds::read("LowCardinality(FixedString(3))"), Some(Holds::AtMost(3)));
        for other in
            ["String", "Nullable(Enum8('a' = 1))", "Map(String, Enum8('a' = 1))", "Enum8('a\\n' = 1)"]
        {
            assert_eq!(Holds::read(other), None, "{other}");
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
        let types =
            [("kind".to_owned(), "Enum8('a' = 1)".to_owned()), ("code".into(), "FixedString(2)".into())];
        assert_eq!(misfits(&rows, &types), [1, 2, 3]);
    }
}
