//! Dotted names without quotes: `SELECT http.method FROM traces`.

use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer, Word};

use super::tables::Tables;

/// The same SQL with every dotted name that is a column in quotes. What is before such a name stays:
/// `t.http.method` becomes `t."http.method"`. SQL that has no tokens comes back as it is; the planner says
/// what is wrong.
pub(super) fn quote_dotted(sql: &str, tables: &Tables) -> String {
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, sql).tokenize() else { return sql.to_owned() };
    let mut quoted = String::with_capacity(sql.len() + 16);
    let mut at = 0;
    while at < tokens.len() {
        let words = dotted(&tokens[at..]);
        if words.len() < 2 {
            quoted.push_str(&tokens[at].to_string());
            at += 1;
            continue;
        }
        let columns = (0..words.len() - 1).find(|from| {
            let rest: Vec<&str> = words[*from..].iter().map(|word| word.value.as_str()).collect();
            tables.has_column(&rest.join("."))
        });
        let before = columns.unwrap_or(words.len());
        let mut parts: Vec<String> = words[..before].iter().map(ToString::to_string).collect();
        if before < words.len() {
            let column: Vec<&str> = words[before..].iter().map(|word| word.value.as_str()).collect();
            parts.push(format!("\"{}\"", column.join(".").replace('"', "\"\"")));
        }
        quoted.push_str(&parts.join("."));
        at += words.len() * 2 - 1;
    }
    quoted
}

/// The words at the start of `tokens` that are joined by periods.
fn dotted(tokens: &[Token]) -> Vec<&Word> {
    let mut words = Vec::new();
    let mut rest = tokens;
    while let [Token::Word(word), more @ ..] = rest {
        words.push(word);
        match more {
            [Token::Period, after @ ..] if matches!(after, [Token::Word(_), ..]) => rest = after,
            _ => break,
        }
    }
    words
}
