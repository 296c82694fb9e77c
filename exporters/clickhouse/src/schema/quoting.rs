//! Names and texts in SQL.

use std::fmt::{self, Display, Formatter, Write as _};

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_quoted_whatever_is_in_them() {
        assert_eq!(quoted("a`b\\c").to_string(), "`a\\`b\\\\c`");
        assert_eq!(literal("a'b\\c"), "'a\\'b\\\\c'");
    }
}
