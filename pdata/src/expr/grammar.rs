//! The SQL that expressions are written in, and how much work a text may cause.

use std::any::TypeId;
use std::cell::Cell;

use datafusion::sql::sqlparser::ast::Expr as Sql;
use datafusion::sql::sqlparser::dialect::{Dialect, GenericDialect};
use datafusion::sql::sqlparser::parser::{Parser, ParserError};

/// The generic dialect of the parser without statements, lambdas and literals of maps and structs.
///
/// The parser goes back and tries again where a word may be a name or an operator, at every level of nesting:
/// `NOT (NOT (…` takes twice as long for each level. So the number of operands that it looks at is bounded.
#[derive(Debug)]
pub(super) struct Grammar {
    left: Cell<usize>,
}

impl Grammar {
    /// For a text of this many tokens.
    pub(super) fn new(tokens: usize) -> Grammar {
        Grammar { left: Cell::new(tokens.saturating_mul(50).saturating_add(1_000)) }
    }
}

impl Dialect for Grammar {
    fn dialect(&self) -> TypeId {
        TypeId::of::<GenericDialect>()
    }

    fn is_delimited_identifier_start(&self, character: char) -> bool {
        GenericDialect.is_delimited_identifier_start(character)
    }

    fn is_identifier_start(&self, character: char) -> bool {
        GenericDialect.is_identifier_start(character)
    }

    fn is_identifier_part(&self, character: char) -> bool {
        GenericDialect.is_identifier_part(character)
    }

    fn parse_prefix(&self, _parser: &mut Parser<'_>) -> Option<Result<Sql, ParserError>> {
        let left = self.left.get().checked_sub(1);
        self.left.set(left.unwrap_or(0));
        left.is_none().then(|| Err(ParserError::ParserError("the expression is nested too deep".to_owned())))
    }

    fn supports_filter_during_aggregation(&self) -> bool {
        true
    }

    fn allow_extract_custom(&self) -> bool {
        true
    }

    fn allow_extract_single_quotes(&self) -> bool {
        true
    }

    fn supports_bitwise_shift_operators(&self) -> bool {
        true
    }

    fn supports_string_escape_constant(&self) -> bool {
        true
    }

    fn supports_array_typedef_with_brackets(&self) -> bool {
        true
    }
}
