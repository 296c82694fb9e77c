//! NaN and infinities are NULL.
//!
//! They would exceed every limit (NaN sorts above all numbers), and one of them would spoil every sum. So a
//! column, a function or an operator that gives one gives NULL instead, anywhere in an expression.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Float32Array, Float64Array};
use arrow::datatypes::{DataType, Float32Type, Float64Type};
use datafusion::common::{Result, ScalarValue, internal_err};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// `number`, which is a float, or NULL where it is not finite.
pub(super) fn only_finite(number: Expr) -> Expr {
    ScalarUDF::from(Finite { signature: Signature::any(1, Volatility::Immutable) }).call(vec![number])
}

/// The array with NULL for NaN and infinities. Arrays of other types, and those without any, come back as
/// they are.
pub(super) fn finite(array: &ArrayRef) -> ArrayRef {
    if let Some(numbers) = array.as_primitive_opt::<Float64Type>() {
        if numbers.values().iter().all(|number| number.is_finite()) {
            return Arc::clone(array);
        }
        let finite: Float64Array = numbers.unary_opt(|number| number.is_finite().then_some(number));
        return Arc::new(finite);
    }
    match array.as_primitive_opt::<Float32Type>() {
        Some(numbers) if !numbers.values().iter().all(|number| number.is_finite()) => {
            let finite: Float32Array = numbers.unary_opt(|number| number.is_finite().then_some(number));
            Arc::new(finite)
        }
        _ => Arc::clone(array),
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Finite {
    signature: Signature,
}

impl ScalarUDFImpl for Finite {
    fn name(&self) -> &'static str {
        "finite"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        match arg_types {
            [one] => Ok(one.clone()),
            _ => internal_err!("finite takes one argument"),
        }
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.first() {
            Some(ColumnarValue::Array(array)) => Ok(ColumnarValue::Array(finite(array))),
            Some(ColumnarValue::Scalar(value)) => {
                let array = finite(&value.to_array()?);
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?))
            }
            None => internal_err!("finite takes one argument"),
        }
    }
}
