//! Functions whose arguments determine the length of the result: bounded, so that no value can exhaust
//! memory.
//!
//! A length that is written in the expression and is too large is an error. A length that is computed and is
//! too large makes the result NULL.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use regex::Regex;

use crate::schema;
use crate::text::TextColumn;

/// The most characters that `lpad` and `rpad` fill up to, and the most bytes that `repeat` makes.
pub(super) const MOST: i64 = 4_096;
/// The most bytes that `replace` and `regexp_replace` make of a text that they make longer.
const MOST_REPLACED: usize = 64 << 10;

/// `length` where it is at most [`MOST`], else NULL; 0 where it is negative.
pub(super) fn at_most(length: Expr) -> Expr {
    call(What::Length, vec![length])
}

/// `times` where `text` that often is at most [`MOST`] bytes long, else NULL.
pub(super) fn repeats(text: Expr, times: Expr) -> Expr {
    call(What::Repeats, vec![text, times])
}

/// `text` where it is not too long once `from` is replaced by `to`, else NULL.
pub(super) fn replaced(text: Expr, from: Expr, to: Expr) -> Expr {
    call(What::Replaced, vec![text, from, to])
}

/// `text` where it is not too long once what `pattern` matches is replaced, else NULL.
pub(super) fn regexp_replaced(text: Expr, rest: &[Expr]) -> Expr {
    call(What::RegexpReplaced, std::iter::once(text).chain(rest.iter().cloned()).collect())
}

fn call(what: What, args: Vec<Expr>) -> Expr {
    let signature = Signature::any(args.len(), Volatility::Immutable);
    ScalarUDF::from(Bounded { what, signature }).call(args)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum What {
    Length,
    Repeats,
    Replaced,
    RegexpReplaced,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Bounded {
    what: What,
    signature: Signature,
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &'static str {
        match self.what {
            What::Length => "bounded_length",
            What::Repeats => "bounded_repeats",
            What::Replaced => "bounded_text",
            What::RegexpReplaced => "bounded_regexp_text",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(match self.what {
            What::Replaced | What::RegexpReplaced => schema::text(),
            What::Length | What::Repeats => DataType::Int64,
        })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalars = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if scalars { 1 } else { args.number_rows };
        let columns = args.args.iter().map(|arg| arg.to_array(rows)).collect::<Result<Vec<_>>>()?;
        let bounded = match (self.what, columns.as_slice()) {
            (What::Length, [lengths]) => {
                let lengths = integers(lengths, |_, length| length <= MOST)?;
                // DataFusion counts the room for a negative one without its sign, and panics.
                Arc::new(lengths.as_primitive::<Int64Type>().unary::<_, Int64Type>(|length| length.max(0)))
            }
            (What::Repeats, [texts, times]) => {
                let texts = as_text(texts)?;
                let texts = TextColumn::new(&texts);
                let fits = |row: usize, times: i64| {
                    let text = texts.and_then(|texts| texts.get(row)).unwrap_or_default();
                    let bytes = i64::try_from(text.len()).unwrap_or(i64::MAX);
                    times <= 1 || bytes.saturating_mul(times) <= MOST
                };
                integers(times, fits)?
            }
            (What::Replaced, [texts, from, to]) => texts_that_fit(&as_text(texts)?, from, to)?,
            (What::RegexpReplaced, [texts, pattern, to, flags @ ..]) => {
                matches_that_fit(&as_text(texts)?, pattern, to, flags.first())?
            }
            _ => return internal_err!("{} has other arguments", self.name()),
        };
        if scalars {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&bounded, 0)?));
        }
        Ok(ColumnarValue::Array(bounded))
    }
}

fn integers(array: &ArrayRef, fits: impl Fn(usize, i64) -> bool) -> Result<ArrayRef> {
    let options = CastOptions { safe: true, ..CastOptions::default() };
    let integers = cast_with_options(array, &DataType::Int64, &options)?;
    let integers = integers.as_primitive::<Int64Type>().iter().enumerate();
    Ok(Arc::new(
        integers.map(|(row, integer)| integer.filter(|integer| fits(row, *integer))).collect::<Int64Array>(),
    ))
}

fn texts_that_fit(texts: &ArrayRef, from: &ArrayRef, to: &ArrayRef) -> Result<ArrayRef> {
    let (from, to) = (as_text(from)?, as_text(to)?);
    let (Some(all), Some(from), Some(to)) =
        (TextColumn::new(texts), TextColumn::new(&from), TextColumn::new(&to))
    else {
        return internal_err!("replace takes texts");
    };
    let fits = |row: usize, text: &&str| {
        let (from, to) = (from.get(row).unwrap_or_default(), to.get(row).unwrap_or_default());
        if to.len() <= from.len() {
            return true;
        }
        let most = text.len().saturating_add((text.len() + 1).saturating_mul(to.len()));
        most <= MOST_REPLACED
            || text.len() + text.matches(from).count().saturating_mul(to.len()) <= MOST_REPLACED
    };
    let kept = (0..texts.len()).map(|row| all.get(row).filter(|text| fits(row, text)));
    Ok(Arc::new(kept.collect::<arrow::array::StringViewArray>()))
}

fn matches_that_fit(
    texts: &ArrayRef,
    pattern: &ArrayRef,
    to: &ArrayRef,
    flags: Option<&ArrayRef>,
) -> Result<ArrayRef> {
    let (pattern, to, flags) = (as_text(pattern)?, as_text(to)?, flags.map(as_text).transpose()?);
    let (Some(all), Some(pattern), Some(to)) =
        (TextColumn::new(texts), TextColumn::new(&pattern), TextColumn::new(&to))
    else {
        return internal_err!("regexp_replace takes texts");
    };
    let flags = flags.as_ref().and_then(TextColumn::new);
    let text_of = |column: TextColumn<'_>, row| column.get(row).unwrap_or_default().to_owned();
    let mut regexes = Regexes::default();
    let mut fits = |row: usize, text: &&str| {
        let (pattern, to) = (text_of(pattern, row), text_of(to, row));
        Replacement::new(&to).fits(
            text,
            &pattern,
            &flags.map_or_else(String::new, |flags| text_of(flags, row)),
            &mut regexes,
        )
    };
    let kept = (0..texts.len()).map(|row| all.get(row).filter(|text| fits(row, text)));
    Ok(Arc::new(kept.collect::<arrow::array::StringViewArray>()))
}

/// How long a match becomes, at most.
struct Replacement {
    /// Bytes of its own.
    bytes: usize,
    /// How often it can repeat what was matched: `\1`, `$1`, `${name}`.
    references: usize,
}

impl Replacement {
    fn new(to: &str) -> Replacement {
        let references = to.bytes().filter(|byte| matches!(byte, b'\\' | b'$')).count();
        Replacement { bytes: to.len(), references }
    }

    fn fits(&self, text: &str, pattern: &str, flags: &str, regexes: &mut Regexes) -> bool {
        let most = MOST_REPLACED.max(text.len());
        let all = flags.contains('g');
        let matches = if all { text.len() + 1 } else { 1 };
        let made = |matches: usize, matched: usize| {
            matches.saturating_mul(self.bytes).saturating_add(matched.saturating_mul(self.references))
        };
        if text.len().saturating_add(made(matches, text.len())) <= most {
            return true;
        }
        // What is no regular expression makes nothing: the function says so.
        let Some(regex) = regexes.get(pattern, flags) else { return true };
        let mut length = text.len();
        for found in regex.find_iter(text).take(matches) {
            length = (length - found.len()).saturating_add(made(1, found.len()));
            if length > most.saturating_add(text.len()) {
                break;
            }
        }
        length <= most
    }
}

/// The regular expression that was used last: most are the same for all rows.
#[derive(Default)]
struct Regexes(Option<(String, Option<Regex>)>);

impl Regexes {
    fn get(&mut self, pattern: &str, flags: &str) -> Option<&Regex> {
        let flags: String = flags.chars().filter(|flag| *flag != 'g').collect();
        let pattern = if flags.is_empty() { pattern.to_owned() } else { format!("(?{flags}){pattern}") };
        if self.0.as_ref().is_none_or(|(known, _)| *known != pattern) {
            let regex = Regex::new(&pattern).ok();
            self.0 = Some((pattern, regex));
        }
        self.0.as_ref().and_then(|(_, regex)| regex.as_ref())
    }
}

fn as_text(array: &ArrayRef) -> Result<ArrayRef> {
    if TextColumn::new(array).is_some() {
        return Ok(Arc::clone(array));
    }
    Ok(arrow::compute::cast(array, &schema::text())?)
}
