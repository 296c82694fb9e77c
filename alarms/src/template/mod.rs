//! Templates whose cost is bounded, whoever wrote them.
//!
//! minijinja parses the text and has the filters and tests. The expressions are evaluated here, because its
//! own engine counts steps but not memory: `'x' * 99999999`, `indent(9000000000)`, or loops that double a
//! text at each level.
//!
//! * What can build values up (`set`, `with`, recursive loops, functions) is not there, nor are filters that
//!   allocate by an argument. [`check()`] says so before a template is accepted.
//! * What is left makes texts and lists out of values, and each of them is charged to an [`allowance`] before
//!   or when it is made. Steps are counted, and the text that comes out is cut.

mod allowance;
mod check;
mod evaluate;
mod filters;
mod numbers;
mod text;

pub(crate) use check::{Unusable, check};
pub(crate) use evaluate::{Undefined, evaluate};
pub(crate) use text::Text;

use minijinja::machinery::ast::Stmt;
use minijinja::machinery::{Token, tokenize};
use minijinja::syntax::SyntaxConfig;
use minijinja::{Error, ErrorKind};

/// Deepest nesting of a template. minijinja's parser has a bound of its own for most of it, but not for
/// chains.
const MAX_DEPTH: usize = 100;
/// Most `-` and `not` in one expression: each takes a place on the parser's stack, which it does not bound.
const MAX_UNARY: usize = 64;

/// Parses a template; nothing of it is evaluated, constants neither.
pub(crate) fn parse(source: &str) -> Result<Stmt<'_>, Error> {
    let mut unary = 0;
    for token in tokenize(source, false, SyntaxConfig::default()) {
        match token?.0 {
            Token::VariableStart | Token::BlockStart => unary = 0,
            Token::Minus | Token::Ident("not") => unary += 1,
            _ => {}
        }
        if unary > MAX_UNARY {
            let message = format!("more than {MAX_UNARY} `-` and `not` in one expression");
            return Err(Error::new(ErrorKind::SyntaxError, message));
        }
    }
    minijinja::machinery::parse(source, "message", SyntaxConfig::default())
}
