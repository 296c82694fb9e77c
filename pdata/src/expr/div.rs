//! `a // b` and `div(a, b)`: division without what is after the point.
//!
//! The result goes towards zero. Integers give an integer, exactly; floats a float. A division by zero is
//! NULL, and so is one whose result does not fit.

use std::sync::{Arc, LazyLock};

use arrow::array::{ArrayRef, AsArray, Float64Array, Int64Array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use datafusion::common::{Result, ScalarValue, plan_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// The name that expressions call it by.
pub(super) const NAME: &str = "div";

/// The function.
pub(super) fn div() -> Arc<ScalarUDF> {
    static DIV: LazyLock<Arc<ScalarUDF>> = LazyLock::new(|| {
        Arc::new(ScalarUDF::from(Div { signature: Signature::any(2, Volatility::Immutable) }))
    });
    DIV.clone()
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Div {
    signature: Signature,
}

impl ScalarUDFImpl for Div {
    fn name(&self) -> &'static str {
        NAME
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, arg_types: &[DataType]) -> Result<DataType> {
        if let Some(other) = arg_types.iter().find(|one| !one.is_numeric() && !one.is_null()) {
            return plan_err!("`{NAME}` divides numbers, and {other} is none");
        }
        let integers = arg_types.iter().all(|one| one.is_integer() || one.is_null());
        Ok(if integers { DataType::Int64 } else { DataType::Float64 })
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let scalars = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let target = args.return_type().clone();
        let rows = if scalars { 1 } else { args.number_rows };
        let read = |arg: &ColumnarValue| -> Result<ArrayRef> {
            let options = CastOptions { safe: true, ..CastOptions::default() };
            Ok(cast_with_options(&arg.to_array(rows)?, &target, &options)?)
        };
        let [left, right] = args.args.as_slice() else { return plan_err!("`{NAME}` takes two numbers") };
        let (left, right) = (read(left)?, read(right)?);
        let quotients: ArrayRef = if target == DataType::Int64 {
            let pairs = left.as_primitive::<Int64Type>().iter().zip(right.as_primitive::<Int64Type>());
            Arc::new(pairs.map(|(left, right)| left?.checked_div(right?)).collect::<Int64Array>())
        } else {
            let pairs = left.as_primitive::<Float64Type>().iter().zip(right.as_primitive::<Float64Type>());
            let divide = |left: f64, right: f64| Some((left / right).trunc()).filter(|one| one.is_finite());
            Arc::new(pairs.map(|(left, right)| divide(left?, right?)).collect::<Float64Array>())
        };
        if scalars {
            return Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&quotients, 0)?));
        }
        Ok(ColumnarValue::Array(quotients))
    }
}
