//! Columns of earlier windows, in conditions: `avg_duration_ns > 2 * previous(avg_duration_ns)`, and
//! `count < 0.5 * offset(count, '7d')`.
//!
//! A condition is evaluated as SQL over the window's columns, to which those of the earlier windows are added
//! under the names `previous(column)` and `offset(column, 7d)`. So the text that is parsed has these names in
//! quotes.

use std::sync::Arc;

use weir_config::Duration;

/// A column of an earlier window that a condition reads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EarlierColumn {
    /// Of the window.
    pub(crate) column: Arc<str>,
    /// In the condition.
    pub(crate) name: Arc<str>,
    /// Of the window that ended so many nanoseconds before; `None`: of the last one before.
    pub(crate) back: Option<i64>,
}

/// How a rule looks back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct LookBack {
    /// The columns, of any time.
    pub(crate) columns: Arc<[Arc<str>]>,
    /// The longest time, in nanoseconds.
    pub(crate) longest: i64,
}

impl LookBack {
    /// What these columns need.
    pub(crate) fn of(columns: &[EarlierColumn]) -> Option<LookBack> {
        let back = columns.iter().filter(|column| column.back.is_some());
        let longest = back.clone().filter_map(|column| column.back).max()?;
        let mut names: Vec<Arc<str>> = back.map(|column| column.column.clone()).collect();
        names.dedup();
        Some(LookBack { columns: names.into(), longest })
    }
}

/// The name without `previous( )` or `offset( )`, when it has that.
pub(crate) fn of_window(name: &str) -> &str {
    let inside = |function: &str| name.strip_prefix(function)?.strip_prefix('(')?.strip_suffix(')');
    let offset = || inside(OFFSET)?.rsplit_once(',').map(|(column, _)| column);
    inside(PREVIOUS).or_else(offset).unwrap_or(name)
}

const PREVIOUS: &str = "previous";
const OFFSET: &str = "offset";
/// The furthest that a condition looks back.
const LONGEST: u64 = 35 * 24 * 3600;

/// The condition to parse, and the columns of earlier windows that it reads.
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
        if !is_word(first) {
            out.push(first);
            rest = &rest[first.len_utf8()..];
            continue;
        }
        let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let function = [PREVIOUS, OFFSET].into_iter().find(|name| word.eq_ignore_ascii_case(name));
        let call = function.zip(after.trim_start().strip_prefix('('));
        let Some((function, arguments)) = call else {
            out.push_str(word);
            rest = after;
            continue;
        };
        let read = arguments.split_once(')').and_then(|(arguments, after)| {
            Some((if function == PREVIOUS { previous(arguments) } else { offset(arguments) }?, after))
        });
        let (earlier, after) = read.ok_or_else(|| match function {
            PREVIOUS => "`previous( )` takes the name of one column of the window".to_owned(),
            _ => "`offset( )` takes the name of one column of the window and a time of up to 35d, such as \
                  `offset(count, '1d')`"
                .to_owned(),
        })?;
        out.push_str(&format!("\"{}\"", earlier.name));
        if !columns.contains(&earlier) {
            columns.push(earlier);
        }
        rest = after;
    }
    Ok((out, columns))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '.'
}

fn previous(arguments: &str) -> Option<EarlierColumn> {
    let column = column(arguments)?;
    Some(EarlierColumn { column: column.into(), name: format!("{PREVIOUS}({column})").into(), back: None })
}

fn offset(arguments: &str) -> Option<EarlierColumn> {
    let (name, time) = arguments.rsplit_once(',')?;
    let (column, time) = (column(name)?, time.trim().strip_prefix('\'')?.strip_suffix('\'')?);
    let time: Duration = time.parse().ok()?;
    let is_possible = !time.is_zero() && time <= Duration::from_secs(LONGEST);
    let back = time.as_millis().checked_mul(1_000_000).filter(|_| is_possible)?;
    Some(EarlierColumn {
        column: column.into(),
        name: format!("{OFFSET}({column}, {time})").into(),
        back: Some(back),
    })
}

/// The name of a column, perhaps in quotes.
fn column(text: &str) -> Option<&str> {
    let text = text.trim();
    let quoted = text.strip_prefix('"').and_then(|text| text.strip_suffix('"'));
    let is_name = text.chars().all(is_word) && !text.starts_with(|c: char| c.is_ascii_digit());
    let column = quoted.or(is_name.then_some(text)).filter(|column| !column.is_empty());
    column.filter(|column| !column.contains(['"', '(']))
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
            (
                "count < 0.5 * OFFSET(count, '168h') OR a > offset( \"b c\" , '1d' )",
                "count < 0.5 * \"offset(count, 7d)\" OR a > \"offset(b c, 1d)\"",
                vec!["count", "b c"],
            ),
            ("支 > previous(支)", "支 > \"previous(支)\"", vec!["支"]),
        ] {
            let (rewritten, found) = rewrite(text).unwrap();
            let found: Vec<&str> = found.iter().map(|earlier| &*earlier.column).collect();
            assert_eq!((rewritten.as_str(), found), (expected, columns), "{text}");
        }
        for (name, column) in [
            ("previous(a.b)", "a.b"),
            ("offset(a.b, 1d)", "a.b"),
            ("offset(a)", "offset(a)"),
            ("count", "count"),
        ] {
            assert_eq!(of_window(name), column);
        }
        for text in [
            "offset(a) > 1",
            "offset(a, 1d) > 1",
            "offset(a, '1 day') > 1",
            "offset(a, '0s') > 1",
            "offset(a, '36d') > 1",
            "offset(, '1d') > 1",
            "offset(a + 1, '1d') > 1",
            "offset('1d', a) > 1",
        ] {
            assert!(rewrite(text).unwrap_err().contains("such as `offset(count, '1d')`"), "{text}");
        }
        for text in
            ["previous() > 1", "previous(a", "previous(a + 1) > 2", "previous(abs(a)) > 1", "previous(1) > 1"]
        {
            assert!(rewrite(text).is_err(), "{text}");
        }
    }
}
