//! Makes text fit: tags are text, and people compare them with numbers.
//!
//! * Text compared with or used as a number is read as a number, as true or false likewise.
//!   Text that is neither is NULL there.
//! * A cast of a value that does not fit gives NULL, and so does a division by zero: one odd value must
//!   not take the result from the other rows of a batch.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result, ScalarValue, plan_err};
use datafusion::functions::core::expr_fn::nullif;
use datafusion::logical_expr::expr::{Between, Case, InList, ScalarFunction};
use datafusion::logical_expr::{BinaryExpr, Expr, ExprSchemable, Operator, TryCast, lit};

use super::text_as::text_as;

/// Rewrites a planned expression so that text fits where a number or a condition is needed.
pub(super) fn fit(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    expr.transform_up(|node| Ok(Transformed::yes(fit_node(node, schema)?))).map(|fitted| fitted.data)
}

/// Text read as a condition; anything else as it is.
pub(super) fn condition(expr: Expr, schema: &DFSchema) -> Expr {
    if kind(&expr, schema) == Kind::Text { text_as(expr, DataType::Boolean) } else { expr }
}

/// Floats represent every integer up to this exactly.
const EXACT: i64 = 1 << 53;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Text,
    Number,
    Truth,
    Other,
}

fn kind(expr: &Expr, schema: &DFSchema) -> Kind {
    expr.get_type(schema).map_or(Kind::Other, |data_type| kind_of_type(&data_type))
}

fn kind_of_type(data_type: &DataType) -> Kind {
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
        Expr::ScalarFunction(call) => fit_call(call, schema),
        other => other,
    })
}

fn fit_binary(BinaryExpr { left, op, right }: BinaryExpr, schema: &DFSchema) -> Result<Expr> {
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

/// Text as a number beside another number: as an integer when that is a literal too large for a float to be exact.
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
                matches!(item, Expr::Literal(ScalarValue::Int64(Some(value)), _) if value.unsigned_abs() > EXACT.unsigned_abs())
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

/// A call that does not take text but takes numbers gets its text arguments as numbers.
fn fit_call(call: ScalarFunction, schema: &DFSchema) -> Expr {
    let as_written = Expr::ScalarFunction(call.clone());
    if as_written.get_type(schema).is_ok() || !call.args.iter().any(|arg| kind(arg, schema) == Kind::Text) {
        return as_written;
    }
    let args = call.args.into_iter().map(|arg| number(arg, schema)).collect::<Result<Vec<_>>>();
    let Ok(args) = args else { return as_written };
    let fitted = Expr::ScalarFunction(ScalarFunction { func: call.func, args });
    if fitted.get_type(schema).is_ok() { fitted } else { as_written }
}
