//! Reading text as a number or as true and false, NULL where it is neither.
//!
//! A function of our own rather than `TRY_CAST`: DataFusion moves casts over to the literal they are
//! compared with, which turns `cast(status AS int) = 200` back into a comparison of text. The texts "NaN" and
//! "Infinity" are no numbers either.

use arrow::array::{ArrayRef, AsArray, Float64Array};
use arrow::compute::{CastOptions, cast_with_options};
use arrow::datatypes::{DataType, Float64Type};
use datafusion::common::{Result, ScalarValue};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

use super::finite::finite;

/// `text` read as `target`: a type of numbers, or `Boolean`.
pub(super) fn text_as(text: Expr, target: DataType) -> Expr {
    let signature = Signature::any(1, Volatility::Immutable);
    ScalarUDF::from(TextAs { target, signature }).call(vec![text])
}

/// Reads an array of any type as floats; NULL where a value is not a finite number.
///
/// # Errors
/// The type has no numbers, as lists have none.
pub fn numbers(array: &ArrayRef) -> Result<Float64Array> {
    let numbers = read(array, &DataType::Float64)?;
    Ok(numbers.as_primitive::<Float64Type>().clone())
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct TextAs {
    target: DataType,
    signature: Signature,
}

impl ScalarUDFImpl for TextAs {
    fn name(&self) -> &str {
        match self.target {
            DataType::Boolean => "truth",
            _ => "number",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(self.target.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        match args.args.first() {
            Some(ColumnarValue::Array(array)) => Ok(ColumnarValue::Array(read(array, &self.target)?)),
            Some(ColumnarValue::Scalar(value)) => {
                let array = read(&value.to_array()?, &self.target)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?))
            }
            None => Ok(ColumnarValue::Scalar(ScalarValue::try_from(&self.target)?)),
        }
    }
}

/// The cast kernel reads the values of a dictionary once each.
fn read(array: &ArrayRef, target: &DataType) -> Result<ArrayRef> {
    let options = CastOptions { safe: true, ..CastOptions::default() };
    Ok(finite(&cast_with_options(array, target, &options)?))
}
