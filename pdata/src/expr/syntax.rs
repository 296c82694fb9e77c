//! From text to a SQL syntax tree that is safe to plan.
//!
//! Dotted names become one name each while the text is still a row of tokens, so a key may have parts
//! that are SQL words (`user.id`, `event.end`).

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr as Sql, FunctionArguments, Query, UnaryOperator, Value, Visit, Visitor,
    visit_expressions_mut,
};
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::parser::{Parser, ParserError};
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer, Word};

use super::error::ExprError;
use super::functions::{FunctionKind, functions};
use super::grammar::Grammar;

/// Nesting beyond this is an error: planning is recursive. `a + b + c` is `(a + b) + c`, and the time for it
/// grows with the third power of its length.
const MAX_DEPTH: usize = 32;
/// More operators than this in one expression is an error: each may be one level of the tree.
const MAX_OPERATORS: usize = 200;
/// Longer texts are not looked at.
const MAX_LENGTH: usize = 64 * 1024;

/// Cuts a text into tokens, each dotted name one token.
pub(super) fn tokens(text: &str) -> Result<Vec<TokenWithSpan>, ExprError> {
    if text.len() > MAX_LENGTH {
        let message = format!("the expression is longer than {MAX_LENGTH} bytes");
        let expression = text.chars().take(60).chain("…".chars()).collect();
        return Err(ExprError::Syntax { expression, line: 1, column: 1, message });
    }
    let tokens = Tokenizer::new(&Grammar::new(0), text)
        .tokenize_with_location()
        .map_err(|error| syntax(text, error.location, error.message))?;
    let operators = tokens.iter().filter(|token| is_operator(&token.token));
    if let Some(token) = operators.clone().nth(MAX_OPERATORS) {
        let message =
            format!("the expression has more than {MAX_OPERATORS} operators; use IN for lists of values");
        return Err(syntax(text, token.span.start, message));
    }
    Ok(join_dotted_names(tokens))
}

/// Parses tokens that [`tokens`] made. `text` is what error messages show.
pub(super) fn parse(text: &str, tokens: Vec<TokenWithSpan>) -> Result<Sql, ExprError> {
    let end = tokens.last().map(|token| token.span.end).filter(|end| end.column > 0);
    let end = end.unwrap_or(Location { line: 1, column: 1 });
    let blank = |token: &TokenWithSpan| matches!(token.token, Token::Whitespace(_) | Token::EOF);
    if tokens.iter().all(blank) {
        return Err(syntax(text, end, "an expression is missing".to_owned()));
    }
    let dialect = Grammar::new(tokens.len());
    let mut parser = Parser::new(&dialect).with_recursion_limit(MAX_DEPTH).with_tokens_with_locations(tokens);
    let tree = parser.parse_expr().map_err(|error| match error {
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => {
            let (message, location) = split_location(&message);
            syntax(text, location.unwrap_or(end), message)
        }
        ParserError::RecursionLimitExceeded => {
            syntax(text, end, format!("the expression is nested deeper than {MAX_DEPTH} levels"))
        }
    })?;
    let next = parser.peek_token();
    if next.token != Token::EOF {
        let message = format!("the expression ends before `{}`; an operator is missing", next.token);
        return Err(syntax(text, next.span.start, message));
    }
    Ok(without_strict_operators(tree))
}

/// `NOT a` and `-a` refuse text before anybody can make it fit; `a = false` and `a * -1` say the same.
fn without_strict_operators(mut tree: Sql) -> Sql {
    let _: ControlFlow<()> = visit_expressions_mut(&mut tree, |node| {
        let Sql::UnaryOp { op, expr } = node else { return ControlFlow::Continue(()) };
        let (op, right) = match op {
            UnaryOperator::Not => (BinaryOperator::Eq, Value::Boolean(false)),
            UnaryOperator::Minus if !matches!(**expr, Sql::Value(_) | Sql::Interval(_)) => {
                (BinaryOperator::Multiply, Value::Number("-1".to_owned(), false))
            }
            _ => return ControlFlow::Continue(()),
        };
        let left = std::mem::replace(expr, Box::new(Sql::value(Value::Null)));
        *node = Sql::BinaryOp { left, op, right: Box::new(Sql::value(right)) };
        ControlFlow::Continue(())
    });
    tree
}

/// The columns that a tree reads. An error for what an expression may not contain.
pub(super) fn check(text: &str, tree: &Sql) -> Result<BTreeSet<String>, ExprError> {
    let mut check = Check { text, names: BTreeSet::new(), in_a_row: 0 };
    match tree.visit(&mut check) {
        ControlFlow::Continue(()) => Ok(check.names),
        ControlFlow::Break(error) => Err(error),
    }
}

/// A syntax error at a place.
pub(super) fn syntax(text: &str, at: Location, message: String) -> ExprError {
    let place = |number: u64| usize::try_from(number).unwrap_or(usize::MAX).clamp(1, MAX_LENGTH + 1);
    ExprError::Syntax { expression: text.to_owned(), line: place(at.line), column: place(at.column), message }
}

fn is_operator(token: &Token) -> bool {
    match token {
        Token::Word(word) => matches!(
            word.keyword,
            Keyword::AND
                | Keyword::OR
                | Keyword::NOT
                | Keyword::XOR
                | Keyword::IS
                | Keyword::LIKE
                | Keyword::ILIKE
                | Keyword::BETWEEN
                | Keyword::IN
                | Keyword::DIV
                | Keyword::COLLATE
                | Keyword::AT
        ),
        Token::EOF
        | Token::Number(..)
        | Token::SingleQuotedString(_)
        | Token::Whitespace(_)
        | Token::Comma
        | Token::Period
        | Token::SemiColon
        | Token::LParen
        | Token::RParen => false,
        _ => true,
    }
}

/// `a . b` without blanks is one name; a lone `user` is a name too, not who is logged in.
fn join_dotted_names(tokens: Vec<TokenWithSpan>) -> Vec<TokenWithSpan> {
    let mut joined: Vec<TokenWithSpan> = Vec::with_capacity(tokens.len());
    let mut rest = tokens.into_iter().peekable();
    while let Some(mut token) = rest.next() {
        if let Token::Word(_) = &token.token {
            while rest.peek().is_some_and(|next| next.token == Token::Period) {
                let Some(period) = rest.next() else { break };
                let Some(TokenWithSpan { token: Token::Word(part), span }) =
                    rest.next_if(|next| matches!(next.token, Token::Word(_)))
                else {
                    // A dangling period: the parser says what is wrong with it.
                    joined.push(token.clone());
                    token = period;
                    break;
                };
                if let Token::Word(word) = &mut token.token {
                    *word = name(format!("{}.{}", word.value, part.value));
                }
                token.span.end = span.end;
            }
        }
        if let Token::Word(word) = &mut token.token
            && matches!(word.keyword, Keyword::USER | Keyword::CURRENT_USER | Keyword::SESSION_USER)
        {
            *word = name(std::mem::take(&mut word.value));
        }
        joined.push(token);
    }
    joined
}

fn name(value: String) -> Word {
    Word { value, quote_style: Some('"'), keyword: Keyword::NoKeyword }
}

/// Splits ` at Line: 1, Column: 9` off a parser's message.
fn split_location(message: &str) -> (String, Option<Location>) {
    let Some((message, place)) = message.rsplit_once(" at Line: ") else { return (message.to_owned(), None) };
    let location = place.split_once(", Column: ").and_then(|(line, column)| {
        Some(Location { line: line.trim().parse().ok()?, column: column.trim().parse().ok()? })
    });
    (message.to_owned(), location)
}

struct Check<'a> {
    text: &'a str,
    names: BTreeSet<String>,
    /// Operators of arithmetic that the visited node is within.
    in_a_row: usize,
}

impl Check<'_> {
    fn forbid(&self, what: impl Into<String>, why: &'static str) -> ControlFlow<ExprError> {
        ControlFlow::Break(ExprError::NotAllowed { expression: self.text.to_owned(), what: what.into(), why })
    }
}

impl Visitor for Check<'_> {
    type Break = ExprError;

    fn pre_visit_query(&mut self, _query: &Query) -> ControlFlow<ExprError> {
        self.forbid("a subquery", "an expression sees one event at a time")
    }

    fn pre_visit_expr(&mut self, tree: &Sql) -> ControlFlow<ExprError> {
        match tree {
            Sql::Identifier(name) => {
                self.names.insert(name.value.clone());
            }
            Sql::Value(value) => {
                if let Value::Placeholder(name) = &value.value {
                    let why =
                        "there is nothing to fill it; write the value, or `${env:NAME}` in the configuration";
                    return self.forbid(format!("the placeholder `{name}`"), why);
                }
            }
            Sql::Function(function) => {
                let aggregate = function.over.is_some()
                    || function.filter.is_some()
                    || !function.within_group.is_empty()
                    || matches!(
                        &function.args,
                        FunctionArguments::List(list)
                            if !list.clauses.is_empty() || list.duplicate_treatment.is_some()
                    );
                let name = function.name.to_string().trim_matches('"').to_owned();
                match functions().find(&name) {
                    FunctionKind::Forbidden(what, why) => return self.forbid(what, why),
                    FunctionKind::Unknown(nearest) => {
                        let expression = self.text.to_owned();
                        return ControlFlow::Break(ExprError::UnknownFunction { expression, name, nearest });
                    }
                    FunctionKind::Scalar if aggregate => {
                        let what = format!("OVER, FILTER, DISTINCT or ORDER BY in `{name}`");
                        return self.forbid(what, "an expression sees one event at a time");
                    }
                    FunctionKind::Scalar => {}
                }
            }
            tree if calculates(tree) => {
                self.in_a_row += 1;
                if self.in_a_row > MAX_DEPTH {
                    let what = format!("a calculation with more than {MAX_DEPTH} operators in a row");
                    return self.forbid(what, "planning it takes too long; put parts of it into parentheses");
                }
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, tree: &Sql) -> ControlFlow<ExprError> {
        self.in_a_row -= usize::from(calculates(tree));
        ControlFlow::Continue(())
    }
}

/// Whether a node is an operator between two values that gives neither true nor false.
fn calculates(tree: &Sql) -> bool {
    let Sql::BinaryOp { op, .. } = tree else { return false };
    !matches!(
        op,
        BinaryOperator::And
            | BinaryOperator::Or
            | BinaryOperator::Xor
            | BinaryOperator::Eq
            | BinaryOperator::NotEq
            | BinaryOperator::Lt
            | BinaryOperator::LtEq
            | BinaryOperator::Gt
            | BinaryOperator::GtEq
            | BinaryOperator::Spaceship
    )
}
