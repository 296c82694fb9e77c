//! Regular expressions: those that are written in an expression are checked when it is parsed.

use arrow::array::StringArray;
use arrow::compute::kernels::comparison::regexp_is_match_scalar;
use datafusion::common::{DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::expr::{Like, ScalarFunction};
use datafusion::logical_expr::{BinaryExpr, Expr, Operator, lit};

/// An error when the pattern is written in the expression, and is no regular expression.
pub(super) fn check_operator(binary: &BinaryExpr) -> Result<()> {
    match binary.op {
        Operator::RegexMatch | Operator::RegexIMatch | Operator::RegexNotMatch | Operator::RegexNotIMatch => {
            check(&binary.right)
        }
        _ => Ok(()),
    }
}

/// The same for `regexp_like` and its kin: the second argument is the pattern.
pub(super) fn check_call(call: &ScalarFunction) -> Result<()> {
    match call.args.get(1) {
        Some(pattern) if call.func.name().starts_with("regexp_") => check(pattern),
        _ => Ok(()),
    }
}

fn check(pattern: &Expr) -> Result<()> {
    match literal(pattern) {
        Some(pattern) => check_text(pattern),
        None => Ok(()),
    }
}

fn check_text(pattern: &str) -> Result<()> {
    let Err(error) = regexp_is_match_scalar(&StringArray::from(vec![""]), pattern, None) else {
        return Ok(());
    };
    let error = error.to_string();
    // One line of the engine's message says what is wrong; the others draw it.
    let why = error.lines().find_map(|line| line.trim().strip_prefix("error: "));
    let why = why.unwrap_or("it is too large");
    Err(wrong(format!("'{pattern}' is no regular expression: {why}")))
}

/// `a SIMILAR TO 'b'` as a match of the whole text with a regular expression, as SQL has it: `%` stands for
/// any text, `_` for any character, and `| * + ? { } ( ) [ ]` are as in regular expressions. Everything else
/// stands for itself.
pub(super) fn similar_to(like: Like) -> Result<Expr> {
    let Like { negated, expr, pattern, escape_char, case_insensitive: _ } = like;
    let op = if negated { Operator::RegexNotMatch } else { Operator::RegexMatch };
    let Some(written) = literal(&pattern) else {
        return Err(wrong(
            "the pattern of SIMILAR TO must be written as a text; use `~` for patterns in columns".into(),
        ));
    };
    let regex = translate(written, escape_char.unwrap_or('\\'));
    check_text(&regex).map_err(|_| wrong(format!("'{written}' is no pattern of SIMILAR TO")))?;
    Ok(Expr::BinaryExpr(BinaryExpr { left: expr, op, right: Box::new(lit(regex)) }))
}

fn translate(pattern: &str, escape: char) -> String {
    let mut regex = "^(?s:".to_owned();
    let mut characters = pattern.chars();
    let mut in_brackets = false;
    while let Some(character) = characters.next() {
        match character {
            _ if character == escape => {
                regex.push('\\');
                regex.push(characters.next().unwrap_or('\\'));
            }
            '%' if !in_brackets => regex.push_str(".*"),
            '_' if !in_brackets => regex.push('.'),
            '.' | '$' | '\\' => regex.extend(['\\', character]),
            '^' if !in_brackets => regex.push_str("\\^"),
            _ => {
                in_brackets = character == '[' || in_brackets && character != ']';
                regex.push(character);
            }
        }
    }
    regex.push_str(")$");
    regex
}

fn literal(expr: &Expr) -> Option<&str> {
    match expr {
        Expr::Literal(value, _) => ScalarValue::try_as_str(value).flatten(),
        _ => None,
    }
}

/// An error that says that the expression cannot work, whatever the types.
pub(super) fn wrong(message: String) -> DataFusionError {
    DataFusionError::Configuration(message)
}
