//! Columns of the window before, in conditions: `avg_duration_ns > 2 * previous(avg_duration_ns)`.
//!
//! A condition is evaluated as SQL over the window's columns, to which those of the window before are added
//! under the name `previous(column)`. So the text that is parsed has that name in quotes.

use std::sync::Arc;

/// A column of the window before that a condition reads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EarlierColumn {
    /// Of the window.
    pub(crate) column: Arc<str>,
    /// In the condition.
    pub(crate) name: Arc<str>,
}

/// The name without `previous( )`, when it has that.
pub(crate) fn of_window(name: &str) -> &str {
    let inner = name.strip_prefix(FUNCTION).and_then(|rest| rest.strip_suffix(')'));
    inner.unwrap_or(name)
}

const FUNCTION: &str = "previous(";

/// The condition to parse, and the columns of the window before that it reads.
pub(crate) fn rewrite(text: &str) -> Result<(String, Vec<EarlierColumn>), String> {
    let mut out = String::with_capacity(text.len());
    let mut columns: Vec<EarlierColumn> = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        // Texts and quoted names stay as they are.
        if first == '\'' || first == '"' {
            let end = rest.char_indices().skip(1).find(|(_, c)| *c == first);
            let end = end.map_or(rest.len(), |(at, c)| at + c.len_utf8());
            out.push_str(&rest[..end]);
            rest = &rest[end..];
            continue;
        }
        let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
        if !is_word(first) {
            out.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let argument = after.trim_start().strip_prefix('(').filter(|_| word.eq_ignore_ascii_case("previous"));
        let Some(argument) = argument else {
            out.push_str(word);
            rest = after;
            continue;
        };
        let wrong = || "`previous( )` takes the name of one column of the window".to_owned();
        let (column, after) = argument.split_once(')').ok_or_else(wrong)?;
        let column = column.trim();
        let quoted = column.strip_prefix('"').and_then(|column| column.strip_suffix('"'));
        let is_name = column.chars().all(is_word) && !column.starts_with(|c: char| c.is_ascii_digit());
        let column = quoted.or(is_name.then_some(column)).filter(|column| !column.is_empty());
        let column = column.filter(|column| !column.contains(['"', '('])).ok_or_else(wrong)?;
        let name: Arc<str> = format!("{FUNCTION}{column})").into();
        out.push_str(&format!("\"{name}\""));
        let earlier = EarlierColumn { column: column.into(), name };
        if !columns.contains(&earlier) {
            columns.push(earlier);
        }
        rest = after;
    }
    Ok((out, columns))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_of_the_window_before_become_names() {
        for (text, expected, columns) in [
            ("count > 1", "count > 1", vec![]),
            (
                "avg > 2 * previous(avg) AND Previous ( \"max\" ) > 1",
                "avg > 2 * \"previous(avg)\" AND \"previous(max)\" > 1",
                vec!["avg", "max"],
            ),
            (
                "previous(http.ok) < previous(http.ok)",
                "\"previous(http.ok)\" < \"previous(http.ok)\"",
                vec!["http.ok"],
            ),
            (
                "service = 'previous(a)' OR \"previous(b)\" > 1",
                "service = 'previous(a)' OR \"previous(b)\" > 1",
                vec![],
            ),
            ("previous > 1 AND my_previous(a) > 2", "previous > 1 AND my_previous(a) > 2", vec![]),
            ("支 > previous(支)", "支 > \"previous(支)\"", vec!["支"]),
        ] {
            let (rewritten, found) = rewrite(text).unwrap();
            let found: Vec<&str> = found.iter().map(|earlier| &*earlier.column).collect();
            assert_eq!((rewritten.as_str(), found), (expected, columns), "{text}");
        }
        for text in
            ["previous() > 1", "previous(a", "previous(a + 1) > 2", "previous(abs(a)) > 1", "previous(1) > 1"]
        {
            assert!(rewrite(text).is_err(), "{text}");
        }
    }
}
