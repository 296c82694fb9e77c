//! The errors of expressions.

use std::fmt;

/// Why an expression cannot be used. Every message shows the expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExprError {
    /// The text is not a SQL expression.
    #[error("{message}\n{}", Excerpt { expression, line: *line, column: *column })]
    Syntax {
        /// The whole expression.
        expression: String,
        /// Line of the error, from 1.
        line: usize,
        /// Column of the error, in characters, from 1.
        column: usize,
        /// The fault.
        message: String,
    },
    /// A part of SQL that has no meaning for one event, such as a subquery.
    #[error("{what} cannot be used in `{expression}`: {why}")]
    NotAllowed {
        /// The whole expression.
        expression: String,
        /// The thing found instead.
        what: String,
        /// Why it is not allowed, and what to use instead.
        why: &'static str,
    },
    /// A function that does not exist.
    #[error("there is no function `{name}`, used in `{expression}`{}", Hint(nearest))]
    UnknownFunction {
        /// The whole expression.
        expression: String,
        /// The name as written.
        name: String,
        /// The nearest name of a function that exists.
        nearest: Option<String>,
    },
    /// The types of the columns do not fit what is done with them.
    #[error("`{expression}` does not fit the types of its columns: {message}")]
    Types {
        /// The whole expression.
        expression: String,
        /// The part that does not fit.
        message: String,
    },
    /// A value that is written in the expression and cannot work, such as a bad regular expression.
    #[error("`{expression}` cannot work: {message}")]
    Wrong {
        /// The whole expression.
        expression: String,
        /// The fault and its remedy.
        message: String,
    },
    /// A row on which the expression has no result.
    #[error("`{expression}` failed on a value: {message}")]
    Evaluate {
        /// The whole expression.
        expression: String,
        /// The failed act.
        message: String,
    },
}

struct Excerpt<'a> {
    expression: &'a str,
    line: usize,
    column: usize,
}

impl fmt::Display for Excerpt<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.expression.lines().nth(self.line.saturating_sub(1)).unwrap_or_default();
        let before = self.column.saturating_sub(1);
        write!(f, "  {line}\n  {:before$}^ column {}", "", self.column)?;
        if self.line > 1 {
            write!(f, " of line {}", self.line)?;
        }
        Ok(())
    }
}

struct Hint<'a>(&'a Option<String>);

impl fmt::Display for Hint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(name) => write!(f, "; did you mean `{name}`?"),
            None => Ok(()),
        }
    }
}
