//! Measures: `count(where duration_ns > 500000000)`, `avg(duration_ns)`, `ratio(status = 'ok')`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use datafusion::common::utils::datafusion_strsim::levenshtein;
use datafusion::sql::sqlparser::keywords::Keyword;
use datafusion::sql::sqlparser::tokenizer::{Location, Token, TokenWithSpan};

use super::error::ExprError;
use super::{Expr, syntax};

/// A value that a window computes of its events: a function, of an expression, of the events that a condition
/// holds for.
///
/// Written `function(argument where condition)`; both parts may be missing as the function allows.
#[derive(Clone, Debug, PartialEq)]
pub struct Measure {
    /// How the values become one.
    pub function: Function,
    /// The value of each event. `None` for `count` and `rate`, which then count events, and for measures of
    /// histogram [`points`](Self::points).
    /// For `ratio` it is the condition whose share is measured.
    pub argument: Option<Expr>,
    /// The argument is `histogram`: the observations of histogram points.
    pub points: bool,
    /// Only events for which this is true are looked at.
    pub condition: Option<Expr>,
    text: String,
}

/// How the values of the events of a window become one value. NULL values are left out by all of them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Function {
    /// `count()`, `count(*)`: events. `count(x)`: values that are not NULL.
    Count,
    /// `sum(x)`.
    Sum,
    /// `min(x)`.
    Min,
    /// `max(x)`.
    Max,
    /// `avg(x)`: the mean.
    Avg,
    /// `ratio(c)`: the share, 0 to 1, of events for which `c` is true.
    Ratio,
    /// `quantile(x, 0.95)`, also `p95(x)`: the value that this share, 0 to 1, of the values do not exceed.
    Quantile(f64),
    /// `distinct(x)`: how many different values.
    Distinct,
    /// `first(x)`: the value of the earliest event.
    First,
    /// `last(x)`: the value of the latest event.
    Last,
    /// `rate()`: events per second. `rate(x)`: sum per second.
    Rate,
}

/// The columns of histogram points.
const POINTS: [&str; 15] = [
    "metric_type",
    "temporality",
    "count",
    "sum",
    "min",
    "max",
    "bounds",
    "bucket_counts",
    "scale",
    "zero_count",
    "zero_threshold",
    "positive_offset",
    "positive_bucket_counts",
    "negative_offset",
    "negative_bucket_counts",
];

const NAMES: [&str; 12] =
    ["count", "sum", "min", "max", "avg", "ratio", "quantile", "distinct", "first", "last", "rate", "p95"];

impl Measure {
    /// Parses a measure. Errors as for [`Expr::parse`], and for arguments that the function does not take.
    pub fn parse(text: &str) -> Result<Measure, ExprError> {
        Call::read(text)?.measure(text)
    }

    /// The columns and attribute keys that the measure reads.
    #[must_use]
    pub fn names(&self) -> BTreeSet<String> {
        let parts = [&self.argument, &self.condition];
        let parts = parts.into_iter().flatten().flat_map(|expr| expr.names().iter().cloned());
        let points = if self.points { &POINTS[..] } else { &[] };
        parts.chain(points.iter().map(|name| (*name).to_owned())).collect()
    }
}

impl FromStr for Measure {
    type Err = ExprError;

    fn from_str(text: &str) -> Result<Measure, ExprError> {
        Measure::parse(text)
    }
}

impl fmt::Display for Measure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// `name ( arguments , … where condition )`, still as tokens.
struct Call {
    name: String,
    at: Location,
    arguments: Vec<Vec<TokenWithSpan>>,
    condition: Option<Vec<TokenWithSpan>>,
}

impl Call {
    fn read(text: &str) -> Result<Call, ExprError> {
        let form =
            || "a measure is written like `count(where status = 'error')` or `avg(duration_ns)`".to_owned();
        let mut tokens = syntax::tokens(text)?;
        tokens.retain(|token| token.token != Token::EOF);
        while tokens.last().is_some_and(is_blank) {
            tokens.pop();
        }
        let mut rest = tokens.into_iter().skip_while(is_blank);
        let first = rest.next();
        let at = first.as_ref().map_or(Location { line: 1, column: 1 }, |token| token.span.start);
        let Some(Token::Word(word)) = first.map(|token| token.token) else {
            return Err(syntax::syntax(text, at, form()));
        };
        let mut rest = rest.skip_while(is_blank);
        if rest.next().map(|token| token.token) != Some(Token::LParen) {
            return Err(syntax::syntax(text, at, form()));
        }
        let mut call = Call { name: word.value, at, arguments: vec![Vec::new()], condition: None };
        let mut depth = 1_usize;
        for token in rest {
            if depth == 0 && is_blank(&token) {
                continue;
            }
            if depth == 0 {
                let message = format!("the measure ends before `{}`", token.token);
                return Err(syntax::syntax(text, token.span.start, message));
            }
            match &token.token {
                Token::LParen | Token::LBracket | Token::LBrace => depth += 1,
                Token::RParen | Token::RBracket | Token::RBrace => depth -= 1,
                Token::Word(word) if depth == 1 && word.keyword == Keyword::WHERE => {
                    if call.condition.is_some() {
                        return Err(syntax::syntax(
                            text,
                            token.span.start,
                            "a second `where`; use AND".to_owned(),
                        ));
                    }
                    call.condition = Some(Vec::new());
                    continue;
                }
                Token::Comma if depth == 1 && call.condition.is_none() => {
                    call.arguments.push(Vec::new());
                    continue;
                }
                _ => {}
            }
            if depth > 0 {
                match (&mut call.condition, call.arguments.last_mut()) {
                    (Some(condition), _) => condition.push(token),
                    (None, Some(argument)) => argument.push(token),
                    (None, None) => {}
                }
            }
        }
        if depth > 0 {
            return Err(syntax::syntax(text, at, "a `)` is missing".to_owned()));
        }
        if call.arguments.len() == 1 && call.arguments[0].iter().all(is_blank) {
            call.arguments.clear();
        }
        Ok(call)
    }

    fn measure(self, text: &str) -> Result<Measure, ExprError> {
        let Call { name, at, mut arguments, condition } = self;
        let wrong = |message: String| syntax::syntax(text, at, message);
        let function = match name.to_lowercase().as_str() {
            "count" => Function::Count,
            "sum" => Function::Sum,
            "min" => Function::Min,
            "max" => Function::Max,
            "avg" | "mean" => Function::Avg,
            "ratio" => Function::Ratio,
            "distinct" => Function::Distinct,
            "first" => Function::First,
            "last" => Function::Last,
            "rate" => Function::Rate,
            "quantile" => {
                let [_, share] = arguments.as_slice() else {
                    return Err(wrong(
                        "`quantile` takes a value and a share, as in `quantile(duration_ns, 0.95)`".into(),
                    ));
                };
                let share =
                    source(text, share).trim().parse().ok().filter(|share| (0.0..=1.0).contains(share));
                arguments.pop();
                Function::Quantile(
                    share.ok_or_else(|| wrong("the share of a quantile is a number from 0 to 1".into()))?,
                )
            }
            other => match percentile(other) {
                Some(share) => Function::Quantile(share),
                None => {
                    let nearest = NAMES.into_iter().min_by_key(|known| levenshtein(other, known));
                    let nearest = nearest.filter(|known| levenshtein(other, known) <= 2).map(str::to_owned);
                    return Err(ExprError::UnknownFunction { expression: text.to_owned(), name, nearest });
                }
            },
        };
        if arguments.len() > 1 {
            return Err(wrong(format!("`{name}` takes one argument, and {} are given", arguments.len())));
        }
        let points = arguments.last().is_some_and(|tokens| is_histogram(tokens));
        if points {
            let known =
                [Function::Count, Function::Sum, Function::Min, Function::Max, Function::Avg, Function::Rate];
            if !known.contains(&function) && !matches!(function, Function::Quantile(_)) {
                return Err(wrong(format!(
                    "`{name}` does not measure histograms; count, sum, avg, min, max, rate and quantile do"
                )));
            }
            arguments.clear();
        }
        let argument = arguments
            .pop()
            .filter(|tokens| !(function == Function::Count && source(text, tokens).trim() == "*"));
        let argument = argument.map(|tokens| part(text, tokens)).transpose()?;
        let argument = match (function, argument) {
            (Function::Count | Function::Rate, None) => None,
            _ if points => None,
            (_, None) => {
                let message = format!("`{name}` needs an argument, as in `{name}({})`", example(function));
                return Err(wrong(message));
            }
            (Function::Ratio, Some(argument)) => Some(argument.into_condition()?),
            (_, Some(argument)) => Some(argument),
        };
        let condition = condition.map(|tokens| part(text, tokens)?.into_condition()).transpose()?;
        Ok(Measure { function, argument, points, condition, text: text.trim().to_owned() })
    }
}

/// Whether an argument is the word `histogram`, without quotes.
fn is_histogram(tokens: &[TokenWithSpan]) -> bool {
    let mut words = tokens.iter().filter(|token| !is_blank(token));
    let first = words.next().map(|token| &token.token);
    let is_word =
        matches!(first, Some(Token::Word(word)) if word.value == "histogram" && word.quote_style.is_none());
    is_word && words.next().is_none()
}

fn example(function: Function) -> &'static str {
    if function == Function::Ratio { "status = 'error'" } else { "duration_ns" }
}

/// `p95` is 0.95, `p999` is 0.999.
fn percentile(name: &str) -> Option<f64> {
    let digits = name
        .strip_prefix('p')
        .filter(|d| (2..=5).contains(&d.len()) && d.bytes().all(|b| b.is_ascii_digit()))?;
    format!("0.{digits}").parse().ok()
}

fn part(whole: &str, tokens: Vec<TokenWithSpan>) -> Result<Expr, ExprError> {
    let text = source(whole, &tokens);
    Expr::of_tokens(whole, &text, tokens)
}

/// The part of the text that tokens stand for.
fn source(text: &str, tokens: &[TokenWithSpan]) -> String {
    let (Some(first), Some(last)) = (tokens.first(), tokens.last()) else { return String::new() };
    let mut at = Location { line: 1, column: 1 };
    let mut part = String::new();
    for character in text.chars() {
        if at >= first.span.start && at < last.span.end {
            part.push(character);
        }
        at = match character {
            '\n' => Location { line: at.line + 1, column: 1 },
            _ => Location { line: at.line, column: at.column + 1 },
        };
    }
    part
}

fn is_blank(token: &TokenWithSpan) -> bool {
    matches!(token.token, Token::Whitespace(_))
}
