//! Sums and averages of text: tags are text, and `sum(order.amount)` is the first query that many write.

use std::hash::Hash;
use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Token, Tokenizer};
use weir_pdata::expr::numbers;

/// Aggregates of numbers, whose first argument may be text.
const OF_NUMBERS: [&str; 15] = [
    "sum",
    "avg",
    "mean",
    "median",
    "approx_median",
    "approx_percentile_cont",
    "percentile_cont",
    "stddev",
    "stddev_pop",
    "stddev_samp",
    "var",
    "var_pop",
    "var_samp",
    "var_sample",
    "var_population",
];

/// The function that is put around their arguments.
const NAME: &str = "weir_number";

/// The same SQL with the first argument of each aggregate of numbers within [`function`]. SQL that has no
/// tokens comes back as it is.
pub(super) fn read_text(sql: &str) -> String {
    let Ok(tokens) = Tokenizer::new(&GenericDialect {}, sql).tokenize() else { return sql.to_owned() };
    let mut read = String::with_capacity(sql.len() + 32);
    // For each open parenthesis whether the argument that began in it is still open.
    let mut open: Vec<bool> = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match token {
            Token::LParen => {
                read.push('(');
                let is_aggregate = is_call(&tokens[..at]) && starts_a_value(&tokens[at + 1..]);
                open.push(is_aggregate);
                if is_aggregate && !is_quantified(&tokens[at + 1..]) {
                    read.push_str(&format!("{NAME}("));
                }
                continue;
            }
            Token::Comma | Token::RParen => {
                if let Some(argument) = open.last_mut()
                    && std::mem::take(argument)
                {
                    read.push(')');
                }
                if *token == Token::RParen {
                    open.pop();
                }
            }
            Token::Word(word) if matches!(word.keyword, Keyword::DISTINCT | Keyword::ALL) => {
                read.push_str(&token.to_string());
                if open.last() == Some(&true) && follows_parenthesis(&tokens[..at]) {
                    read.push_str(&format!(" {NAME}("));
                }
                continue;
            }
            _ => {}
        }
        read.push_str(&token.to_string());
    }
    read
}

/// Whether the tokens before a parenthesis end in the name of an aggregate.
fn is_call(before: &[Token]) -> bool {
    let mut before = before.iter().rev().filter(|token| !matches!(token, Token::Whitespace(_)));
    let Some(Token::Word(word)) = before.next() else { return false };
    let name = word.value.to_lowercase();
    word.quote_style.is_none() && OF_NUMBERS.contains(&name.as_str()) && before.next() != Some(&Token::Period)
}

fn starts_a_value(after: &[Token]) -> bool {
    let first = after.iter().find(|token| !matches!(token, Token::Whitespace(_)));
    !matches!(first, None | Some(Token::RParen | Token::Mul))
}

fn is_quantified(after: &[Token]) -> bool {
    let first = after.iter().find(|token| !matches!(token, Token::Whitespace(_)));
    matches!(first, Some(Token::Word(word)) if matches!(word.keyword, Keyword::DISTINCT | Keyword::ALL))
}

fn follows_parenthesis(before: &[Token]) -> bool {
    let last = before.iter().rev().find(|token| !matches!(token, Token::Whitespace(_)));
    last == Some(&Token::LParen)
}

/// Text read as numbers, NULL where it is none; anything else as it is.
pub(super) fn function() -> ScalarUDF {
    ScalarUDF::from(Number { signature: Signature::any(1, Volatility::Immutable) })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Number {
    signature: Signature,
}

impl ScalarUDFImpl for Number {
    fn name(&self) -> &'static str {
        NAME
    }

    /// The heading of the result is what was asked for.
    fn schema_name(&self, args: &[Expr]) -> Result<String> {
        Ok(args.iter().map(|arg| arg.schema_name().to_string()).collect::<Vec<_>>().join(", "))
    }

    fn display_name(&self, args: &[Expr]) -> Result<String> {
        Ok(args.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        match arg_types {
            [one] if is_text(one) => Ok(DataType::Float64),
            [one] => Ok(one.clone()),
            _ => internal_err!("{NAME} takes one argument"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.into_iter().next() {
            Some(value) if !is_text(&value.data_type()) => Ok(value),
            Some(ColumnarValue::Array(texts)) => Ok(ColumnarValue::Array(Arc::new(numbers(&texts)?))),
            Some(ColumnarValue::Scalar(text)) => {
                let number = numbers(&text.to_array()?)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&number, 0)?))
            }
            None => internal_err!("{NAME} takes one argument"),
        }
    }
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_argument_of_an_aggregate_of_numbers_is_wrapped() {
        for (sql, expected) in [
            ("SELECT sum(a) FROM t", "SELECT sum(weir_number(a)) FROM t"),
            ("SELECT SUM ( a+b(1, 2) ), x", "SELECT SUM (weir_number( a+b(1, 2) )), x"),
            ("SELECT avg(DISTINCT a)", "SELECT avg(DISTINCT weir_number( a))"),
            ("SELECT approx_percentile_cont(a, 0.9)", "SELECT approx_percentile_cont(weir_number(a), 0.9)"),
            (
                "SELECT sum(avg(a)) OVER (ORDER BY b)",
                "SELECT sum(weir_number(avg(weir_number(a)))) OVER (ORDER BY b)",
            ),
            ("SELECT count(a), max(a), sum, 'sum(a)'", "SELECT count(a), max(a), sum, 'sum(a)'"),
            ("SELECT \"sum\"(a)", "SELECT \"sum\"(a)"),
            ("SELECT sum(", "SELECT sum("),
        ] {
            assert_eq!(read_text(sql), expected);
        }
    }
}
