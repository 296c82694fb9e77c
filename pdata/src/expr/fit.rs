//! Converts text where an expression needs a number: tags are text, and users compare them with numbers.
//!
//! * Text compared with or used as a number is read as a number, as true or false likewise.
//!   Text that is neither is NULL there.
//! * A division by zero gives NULL: one odd value must not take the result from the other rows of a batch.
//!   `/` divides as floats, whatever the types.
//! * What is not finite is NULL, see [`finite`](super::finite).
//! * Results whose length an argument says are bounded, see [`super::bounded`].

use std::sync::Arc;

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue, plan_err};
use datafusion::functions::core::expr_fn::nullif;
use datafusion::logical_expr::expr::{Between, Case, InList, ScalarFunction};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator, TryCast, cast, lit};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;

use super::bounded::{self, at_most, regexp_replaced, repeats, replaced};
use super::div::div;
use super::finite::only_finite;
use super::pattern;
use super::text_as::text_as;

/// Rewrites a planned expression so that text fits where a number or a condition is needed.
pub(super) fn fit(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let fitted = |node| {
        let fitted = fit_node(node, schema)?;
        let may_be_odd = matches!(
            fitted,
            Expr::Column(_)
                | Expr::BinaryExpr(_)
                | Expr::Cast(_)
                | Expr::TryCast(_)
                | Expr::ScalarFunction(_)
                | Expr::Literal(..)
        );
        let is_float = may_be_odd && fitted.get_type(schema).is_ok_and(|one| one.is_floating());
        Ok(Transformed::yes(if is_float && !is_finite_literal(&fitted) {
            only_finite(fitted)
        } else {
            fitted
        }))
    };
    expr.transform_up(fitted).map(|fitted| fitted.data)
}

fn is_finite_literal(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(ScalarValue::Float64(number), _) => number.is_none_or(f64::is_finite),
        Expr::Literal(ScalarValue::Float32(number), _) => number.is_none_or(f32::is_finite),
        _ => false,
    }
}

/// Text read as a condition; anything else as it is.
pub(super) fn condition(expr: Expr, schema: &DFSchema) -> Expr {
    if kind(&expr, schema) == Kind::Text { text_as(expr, DataType::Boolean) } else { expr }
}

/// Floats represent every integer up to this exactly.
const EXACT: i64 = 1 << 53;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Text,
    Number,
    Truth,
    Other,
}

pub(super) fn kind(expr: &Expr, schema: &DFSchema) -> Kind {
    expr.get_type(schema).map_or(Kind::Other, |data_type| kind_of_type(&data_type))
}

pub(super) fn kind_of_type(data_type: &DataType) -> Kind {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Kind::Text,
        DataType::Boolean => Kind::Truth,
        DataType::Dictionary(_, values) => kind_of_type(values),
        other if other.is_numeric() => Kind::Number,
        _ => Kind::Other,
    }
}

fn fit_node(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    Ok(match expr {
        // A literal that does not fit is a mistake in the expression: let it fail.
        Expr::Cast(cast) if !matches!(*cast.expr, Expr::Literal(..)) => {
            Expr::TryCast(TryCast { expr: cast.expr, field: cast.field })
        }
        Expr::BinaryExpr(binary) => fit_binary(binary, schema)?,
        Expr::Not(inner) => Expr::Not(Box::new(condition(*inner, schema))),
        Expr::IsTrue(inner) => Expr::IsTrue(Box::new(condition(*inner, schema))),
        Expr::IsFalse(inner) => Expr::IsFalse(Box::new(condition(*inner, schema))),
        Expr::IsNotTrue(inner) => Expr::IsNotTrue(Box::new(condition(*inner, schema))),
        Expr::IsNotFalse(inner) => Expr::IsNotFalse(Box::new(condition(*inner, schema))),
        Expr::Negative(inner) => Expr::Negative(Box::new(number(*inner, schema)?)),
        Expr::Between(between) => fit_between(between, schema)?,
        Expr::InList(list) => fit_list(list, schema)?,
        Expr::Case(case) => fit_case(case, schema)?,
        Expr::SimilarTo(like) => pattern::similar_to(like)?,
        Expr::ScalarFunction(call) => {
            pattern::check_call(&call)?;
            fit_call(bound_call(call, schema)?, schema)?
        }
        other => other,
    })
}

fn fit_binary(binary: BinaryExpr, schema: &DFSchema) -> Result<Expr> {
    pattern::check_operator(&binary)?;
    let BinaryExpr { left, op, right } = binary;
    let (left, right) = match op {
        Operator::And | Operator::Or => (condition(*left, schema), condition(*right, schema)),
        Operator::Eq
        | Operator::NotEq
        | Operator::Lt
        | Operator::LtEq
        | Operator::Gt
        | Operator::GtEq
        | Operator::IsDistinctFrom
        | Operator::IsNotDistinctFrom => pair(*left, *right, schema)?,
        Operator::IntegerDivide => {
            return Ok(div().call(vec![number(*left, schema)?, number(*right, schema)?]));
        }
        Operator::Plus | Operator::Minus | Operator::Multiply | Operator::Divide | Operator::Modulo => {
            let kinds = (kind(&left, schema), kind(&right, schema));
            // Text beside a time is an interval or a time: DataFusion knows how to read it.
            if kinds.0 == Kind::Other || kinds.1 == Kind::Other {
                (*left, *right)
            } else {
                (number(*left, schema)?, number(*right, schema)?)
            }
        }
        _ => (*left, *right),
    };
    // A share of integers is rarely meant to be 0 or 1.
    let (whole, divides) = (kind(&left, schema) == Kind::Number, op == Operator::Divide);
    let left = if whole && divides && !left.get_type(schema)?.is_floating() {
        cast(left, DataType::Float64)
    } else {
        left
    };
    let right = match op {
        Operator::Divide | Operator::Modulo if !is_nonzero_literal(&right) => {
            let zero = ScalarValue::new_zero(&right.get_type(schema)?);
            zero.map_or(right.clone(), |zero| nullif(right, lit(zero)))
        }
        _ => right,
    };
    Ok(Expr::BinaryExpr(BinaryExpr { left: Box::new(left), op, right: Box::new(right) }))
}

fn is_nonzero_literal(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(value, _) => {
            ScalarValue::new_zero(&value.data_type()).is_ok_and(|zero| *value != zero && !value.is_null())
        }
        _ => false,
    }
}

/// The two sides of a comparison, both as numbers or both as truth values when one of them is.
fn pair(left: Expr, right: Expr, schema: &DFSchema) -> Result<(Expr, Expr)> {
    Ok(match (kind(&left, schema), kind(&right, schema)) {
        (Kind::Text, Kind::Number) => (number_beside(left, &right)?, right),
        (Kind::Number, Kind::Text) => {
            let right = number_beside(right, &left)?;
            (left, right)
        }
        (Kind::Text, Kind::Truth) => (text_as(left, DataType::Boolean), right),
        (Kind::Truth, Kind::Text) => (left, text_as(right, DataType::Boolean)),
        _ => (left, right),
    })
}

fn number(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    if kind(&expr, schema) == Kind::Text { number_of_text(expr, DataType::Float64) } else { Ok(expr) }
}

/// Text as a number beside another number: as an integer when that is a literal too large for a float to be
/// exact.
fn number_beside(text: Expr, other: &Expr) -> Result<Expr> {
    let exact = match other {
        Expr::Literal(ScalarValue::Int64(Some(value)), _) => value.unsigned_abs() <= EXACT.unsigned_abs(),
        _ => true,
    };
    number_of_text(text, if exact { DataType::Float64 } else { DataType::Int64 })
}

fn number_of_text(text: Expr, target: DataType) -> Result<Expr> {
    let Expr::Literal(value, _) = &text else { return Ok(text_as(text, target)) };
    let Some(Some(written)) = value.try_as_str() else { return Ok(lit(ScalarValue::try_from(&target)?)) };
    if let Ok(integer) = written.trim().parse::<i64>() {
        return Ok(lit(integer));
    }
    match written.trim().parse::<f64>() {
        Ok(float) if !float.is_nan() => Ok(lit(float)),
        _ => plan_err!("the text '{written}' is used as a number, and it is none"),
    }
}

fn fit_between(between: Between, schema: &DFSchema) -> Result<Expr> {
    let Between { expr, negated, low, high } = between;
    let kinds = [kind(&expr, schema), kind(&low, schema), kind(&high, schema)];
    if !kinds.contains(&Kind::Number) || kinds.contains(&Kind::Other) {
        return Ok(Expr::Between(Between { expr, negated, low, high }));
    }
    let fitted = |side: Expr| number(side, schema).map(Box::new);
    Ok(Expr::Between(Between { expr: fitted(*expr)?, negated, low: fitted(*low)?, high: fitted(*high)? }))
}

fn fit_list(InList { expr, list, negated }: InList, schema: &DFSchema) -> Result<Expr> {
    let own = kind(&expr, schema);
    let (mut expr, mut list) = (expr, list);
    if own == Kind::Number || own == Kind::Text && list.iter().any(|item| kind(item, schema) == Kind::Number)
    {
        if own == Kind::Text {
            let large = list.iter().find(|item| {
                matches!(
                    item,
                    Expr::Literal(ScalarValue::Int64(Some(value)), _)
                        if value.unsigned_abs() > EXACT.unsigned_abs()
                )
            });
            expr = Box::new(match large {
                Some(large) => number_beside(*expr, large)?,
                None => number_of_text(*expr, DataType::Float64)?,
            });
        }
        list = list.into_iter().map(|item| number(item, schema)).collect::<Result<_>>()?;
    } else if own == Kind::Text && list.iter().any(|item| kind(item, schema) == Kind::Truth) {
        expr = Box::new(condition(*expr, schema));
        list = list.into_iter().map(|item| condition(item, schema)).collect();
    }
    Ok(Expr::InList(InList { expr, list, negated }))
}

/// `CASE a WHEN b` as `CASE WHEN a = b`, so that one rule serves both.
fn fit_case(case: Case, schema: &DFSchema) -> Result<Expr> {
    let Case { expr: subject, when_then_expr, else_expr } = case;
    let mut branches = Vec::with_capacity(when_then_expr.len());
    for (when, then) in when_then_expr {
        let when = match &subject {
            Some(subject) => {
                let (left, right) = pair((**subject).clone(), *when, schema)?;
                left.eq(right)
            }
            None => condition(*when, schema),
        };
        branches.push((Box::new(when), then));
    }
    Ok(Expr::Case(Case { expr: None, when_then_expr: branches, else_expr }))
}

/// Functions that give one of their arguments: text among numbers is a number.
const CHOOSING: [&str; 6] = ["coalesce", "nvl", "nvl2", "greatest", "least", "nullif"];

/// A call that does not take text but takes numbers gets its text arguments as numbers.
fn fit_call(mut call: ScalarFunction, schema: &DFSchema) -> Result<Expr> {
    if call.func.name() == super::div::NAME {
        call.args = call.args.into_iter().map(|arg| number(arg, schema)).collect::<Result<_>>()?;
        return Ok(Expr::ScalarFunction(call));
    }
    // `to_timestamp` and its kin do not know dictionaries.
    if call.func.name().starts_with("to_") {
        call.args = call.args.into_iter().map(|arg| unpacked(arg, schema)).collect();
    }
    let as_written = Expr::ScalarFunction(call.clone());
    let has = |wanted: Kind| call.args.iter().any(|arg| kind(arg, schema) == wanted);
    let fits = match call.func.name() {
        name if CHOOSING.contains(&name) => !has(Kind::Number),
        _ => as_written.get_type(schema).is_ok(),
    };
    if fits || !has(Kind::Text) {
        return Ok(as_written);
    }
    let args = call.args.into_iter().map(|arg| number(arg, schema)).collect::<Result<Vec<_>>>();
    let Ok(args) = args else { return Ok(as_written) };
    let fitted = Expr::ScalarFunction(ScalarFunction { func: call.func, args });
    Ok(if fitted.get_type(schema).is_ok() { fitted } else { as_written })
}

/// Text that is not in a dictionary.
fn unpacked(expr: Expr, schema: &DFSchema) -> Expr {
    match expr.get_type(schema) {
        Ok(DataType::Dictionary(..)) if kind(&expr, schema) == Kind::Text => {
            cast(expr, crate::schema::text())
        }
        _ => expr,
    }
}

/// Bounds what a call can make.
fn bound_call(mut call: ScalarFunction, schema: &DFSchema) -> Result<ScalarFunction> {
    let name = call.func.name().to_owned();
    match (name.as_str(), call.args.as_mut_slice()) {
        ("lpad" | "rpad", [_, length, ..]) => {
            check_length(&name, length, schema)?;
            *length = at_most(integer(length.clone(), schema));
        }
        ("repeat", [text, times]) => {
            check_length(&name, times, schema)?;
            *times = repeats(text.clone(), integer(times.clone(), schema));
        }
        ("replace", [text, from, to]) => {
            *text = replaced(text.clone(), from.clone(), to.clone());
        }
        ("regexp_replace", [text, rest @ ..]) if rest.len() >= 2 => {
            *text = regexp_replaced(text.clone(), rest);
        }
        _ => {}
    }
    Ok(call)
}

fn integer(expr: Expr, schema: &DFSchema) -> Expr {
    match kind(&expr, schema) {
        Kind::Text => text_as(expr, DataType::Int64),
        _ => expr,
    }
}

fn check_length(function: &str, length: &Expr, schema: &DFSchema) -> Result<()> {
    if length.any_column_refs() {
        return Ok(());
    }
    let context = SimplifyContext::builder().with_schema(Arc::new(schema.clone())).build();
    let simplifier = ExprSimplifier::new(context);
    let constant = simplifier.coerce(length.clone(), schema).and_then(|length| simplifier.simplify(length));
    let Ok(Expr::Literal(value, _)) = constant else { return Ok(()) };
    match value.cast_to(&DataType::Int64) {
        Ok(ScalarValue::Int64(Some(length))) if length > bounded::MOST => {
            Err(pattern::wrong(format!("`{function}` with {length}: at most {} are possible", bounded::MOST)))
        }
        _ => Ok(()),
    }
}
