//! Casts that the engine adds: a value that does not fit is NULL, and no other row is affected.

use arrow::datatypes::DataType;
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, Result};
use datafusion::logical_expr::{Expr, TryCast};

use super::fit::{Kind, kind, kind_of_type};
use super::text_as::text_as;

/// The same expression with casts that give NULL where they would fail. Casts of literals stay: one that does
/// not fit is a mistake in the expression.
pub(super) fn lenient(expr: Expr, schema: &DFSchema) -> Result<Expr> {
    let lenient = |node| {
        Ok(match node {
            Expr::Cast(cast) if !matches!(*cast.expr, Expr::Literal(..)) => {
                let target = cast.field.data_type();
                match (kind(&cast.expr, schema), kind_of_type(target)) {
                    // Everything has a text. A dictionary's values are compared as they are only below such a
                    // cast.
                    (_, Kind::Text) => Transformed::no(Expr::Cast(cast)),
                    (Kind::Text, Kind::Number | Kind::Truth) => {
                        let target = target.clone();
                        Transformed::yes(text_as(*cast.expr, target))
                    }
                    _ => Transformed::yes(Expr::TryCast(TryCast { expr: cast.expr, field: cast.field })),
                }
            }
            Expr::TryCast(cast) if is_number_of_text(&cast, schema) => {
                let target: DataType = cast.field.data_type().clone();
                Transformed::yes(text_as(*cast.expr, target))
            }
            other => Transformed::no(other),
        })
    };
    expr.transform_up(lenient).map(|lenient| lenient.data)
}

fn is_number_of_text(cast: &TryCast, schema: &DFSchema) -> bool {
    !matches!(*cast.expr, Expr::Literal(..))
        && kind(&cast.expr, schema) == Kind::Text
        && matches!(kind_of_type(cast.field.data_type()), Kind::Number | Kind::Truth)
}
