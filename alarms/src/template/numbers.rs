//! Arithmetic of templates: numbers only.

use minijinja::Value;
use minijinja::machinery::ast::BinOpKind;

/// A number: whole, or not.
enum Number {
    Whole(i128),
    Float(f64),
}

fn number(value: &Value) -> Option<Number> {
    if !value.is_number() {
        return None;
    }
    if value.is_integer() {
        return i128::try_from(value.clone()).ok().map(Number::Whole);
    }
    f64::try_from(value.clone()).ok().map(Number::Float)
}

/// `left op right`; the reason when there is no result.
pub(crate) fn arithmetic(op: BinOpKind, left: &Value, right: &Value) -> Result<Value, String> {
    let (Some(one), Some(other)) = (number(left), number(right)) else {
        return Err(format!("arithmetic takes numbers, not {} and {}", left.kind(), right.kind()));
    };
    if matches!(op, BinOpKind::Div | BinOpKind::FloorDiv | BinOpKind::Rem)
        && matches!(other, Number::Whole(0) | Number::Float(0.0))
    {
        return Err("division by zero".to_owned());
    }
    if let (Number::Whole(one), Number::Whole(other)) = (&one, &other)
        && let Some(whole) = whole(op, *one, *other)
    {
        return whole.map(Value::from).ok_or_else(|| "the number is too large".to_owned());
    }
    let float = |number| match number {
        Number::Whole(whole) => whole as f64,
        Number::Float(float) => float,
    };
    let (one, other) = (float(one), float(other));
    match op {
        BinOpKind::Add => Ok(one + other),
        BinOpKind::Sub => Ok(one - other),
        BinOpKind::Mul => Ok(one * other),
        BinOpKind::Div => Ok(one / other),
        BinOpKind::FloorDiv => Ok(one.div_euclid(other)),
        BinOpKind::Rem => Ok(one.rem_euclid(other)),
        BinOpKind::Pow => Ok(one.powf(other)),
        _ => Err("not an arithmetic operation".to_owned()),
    }
    .map(Value::from)
}

/// The whole result of two whole numbers, `Some(None)` when it is too large. `None`: the operation gives no
/// whole number.
fn whole(op: BinOpKind, one: i128, other: i128) -> Option<Option<i128>> {
    match op {
        BinOpKind::Add => Some(one.checked_add(other)),
        BinOpKind::Sub => Some(one.checked_sub(other)),
        BinOpKind::Mul => Some(one.checked_mul(other)),
        BinOpKind::FloorDiv => Some(one.checked_div_euclid(other)),
        BinOpKind::Rem => Some(one.checked_rem_euclid(other)),
        BinOpKind::Pow if other >= 0 => {
            Some(u32::try_from(other).ok().and_then(|other| one.checked_pow(other)))
        }
        _ => None,
    }
}

/// `-value`.
pub(crate) fn negative(value: &Value) -> Result<Value, String> {
    arithmetic(BinOpKind::Sub, &Value::from(0), value)
}
