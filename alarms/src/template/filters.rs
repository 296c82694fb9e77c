//! The filters and tests of templates, and what they may cost.

use minijinja::value::ValueKind;
use minijinja::{State, Value};

use super::allowance::{Allowance, Problem, weight};

/// The filters that there are. Each makes no more than a small multiple of what goes in, or is bounded below.
pub(crate) const FILTERS: [&str; 31] = [
    "abs",
    "bool",
    "capitalize",
    "count",
    "d",
    "default",
    "dictsort",
    "e",
    "escape",
    "first",
    "float",
    "format",
    "int",
    "items",
    "join",
    "last",
    "length",
    "lines",
    "list",
    "lower",
    "max",
    "min",
    "replace",
    "reverse",
    "round",
    "sort",
    "split",
    "string",
    "title",
    "trim",
    "upper",
];

/// The tests that there are.
pub(crate) const TESTS: [&str; 31] = [
    "boolean",
    "defined",
    "divisibleby",
    "endingwith",
    "eq",
    "equalto",
    "even",
    "false",
    "float",
    "ge",
    "greaterthan",
    "gt",
    "in",
    "int",
    "integer",
    "iterable",
    "le",
    "lessthan",
    "lower",
    "lt",
    "mapping",
    "ne",
    "none",
    "number",
    "odd",
    "sequence",
    "startingwith",
    "string",
    "true",
    "undefined",
    "upper",
];

/// Longest format of the filter `format`, in bytes.
const MAX_FORMAT: usize = 1024;

/// Applies a filter; `args` begins with the value.
pub(crate) fn apply(
    name: &str,
    args: &[Value],
    state: &mut State<'_, '_>,
    allowance: &mut Allowance,
) -> Result<Value, Problem> {
    for value in args {
        allowance.look_at(value)?;
    }
    match name {
        "replace" => foresee_replace(args, allowance)?,
        "join" => foresee_join(args, allowance)?,
        "format" => check_format(args)?,
        _ => {}
    }
    let made = state.apply_filter(name, args)?;
    allowance.charge(weight(&made, allowance.left()))?;
    Ok(made)
}

/// Performs a test; `args` begins with the value.
pub(crate) fn test(
    name: &str,
    args: &[Value],
    state: &mut State<'_, '_>,
    allowance: &mut Allowance,
) -> Result<bool, Problem> {
    for value in args {
        allowance.look_at(value)?;
    }
    if name == "divisibleby" && args.get(1).is_some_and(|by| *by == Value::from(0)) {
        return Err(Problem::Failed("division by zero".to_owned()));
    }
    Ok(state.perform_test(name, args)?)
}

/// The result of `replace`, before it is made.
fn foresee_replace(args: &[Value], allowance: &Allowance) -> Result<(), Problem> {
    let [text, old, new, ..] = args else { return Ok(()) };
    let (Some(text), Some(old), Some(new)) = (text.as_str(), old.as_str(), new.as_str()) else {
        return Ok(());
    };
    let times = text.matches(old).count();
    allowance.foresee(text.len().saturating_add(times.saturating_mul(new.len())))
}

/// The result of `join`, before it is made.
fn foresee_join(args: &[Value], allowance: &Allowance) -> Result<(), Problem> {
    let Some(items) = args.first() else { return Ok(()) };
    let between = args.iter().skip(1).map(|arg| weight(arg, allowance.left())).max().unwrap_or(0);
    // The items of a text are its characters.
    let items = if items.kind() == ValueKind::String {
        items.len().unwrap_or(0)
    } else {
        weight(items, allowance.left()) / super::allowance::ITEM + 1
    };
    allowance.foresee(items.saturating_mul(between))
}

/// A format must not ask for more than 99 characters at once.
fn check_format(args: &[Value]) -> Result<(), Problem> {
    let format = args.first().and_then(Value::as_str).unwrap_or_default();
    if format.len() > MAX_FORMAT {
        return Err(Problem::Failed(format!("a format has at most {MAX_FORMAT} bytes")));
    }
    for part in format.split('%').skip(1) {
        let mut digits = 0;
        for byte in part.bytes().take_while(|byte| !byte.is_ascii_alphabetic()) {
            digits = if byte.is_ascii_digit() { digits + 1 } else { 0 };
            if digits > 2 || byte == b'*' {
                return Err(Problem::Failed(format!("`%{part}`: a width or precision is at most 99")));
            }
        }
    }
    Ok(())
}
