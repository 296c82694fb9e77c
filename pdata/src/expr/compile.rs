//! From a syntax tree to a physical expression, for columns of given types.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimeUnit};
use datafusion::common::tree_node::{Transformed, TreeNode};
use datafusion::common::{DFSchema, DataFusionError, Result, ScalarValue};
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::physical_planning_context::PhysicalPlanningContext;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{Expr, lit};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::{PhysicalExpr, create_physical_expr};
use datafusion::sql::planner::{ParserOptions, PlannerContext, SqlToRel};
use datafusion::sql::sqlparser::ast::Expr as Sql;

use super::fit;
use super::functions::functions;
use super::lenient::lenient;
use crate::{Signal, schema};

/// A column that an expression reads, with its type in the batch; `None` where the batch lacks it.
pub(super) type Read<'a> = (&'a str, Option<&'a DataType>);

/// A physical expression, and the columns that it takes.
#[derive(Debug)]
pub(super) struct Compiled {
    /// The columns that were there, in the order in which they were given.
    pub(super) input: SchemaRef,
    /// Evaluates over batches of exactly `input`.
    pub(super) physical: Arc<dyn PhysicalExpr>,
    /// The result's type.
    pub(super) result: DataType,
}

/// Compiles for these columns. Missing columns are NULL, of the first type that the expression allows.
pub(super) fn compile(tree: &Sql, reads: &[Read<'_>]) -> Result<Compiled, DataFusionError> {
    let mut first = None;
    for guess in guesses() {
        match compile_with(tree, reads, &guess) {
            Ok(compiled) => return Ok(compiled),
            Err(error) => first = first.or(Some(error)),
        }
        if reads.iter().all(|(name, found)| found.is_some() || fixed_type(name).is_some()) {
            break;
        }
    }
    Err(first.unwrap_or_else(|| DataFusionError::Plan("no type fits".to_owned())))
}

/// The types that a column may have of which nothing is known, the likeliest first.
fn guesses() -> [DataType; 6] {
    let time = DataType::Timestamp(TimeUnit::Nanosecond, Some("UTC".into()));
    [schema::text(), DataType::Float64, DataType::Boolean, time, DataType::Int64, schema::string_map()]
}

fn fixed_type(name: &str) -> Option<DataType> {
    let found = Signal::ALL.into_iter().find_map(|signal| schema::fixed(signal).find(name));
    found.map(|(_, field)| match field.data_type() {
        // Counts of windows and of metrics have the same name.
        DataType::UInt64 => DataType::Int64,
        other => other.clone(),
    })
}

fn compile_with(tree: &Sql, reads: &[Read<'_>], guess: &DataType) -> Result<Compiled> {
    let mut present = Vec::new();
    let mut missing = Vec::new();
    for (name, found) in reads {
        match found {
            Some(found) => present.push(Field::new(*name, (*found).clone(), true)),
            None => {
                let assumed = fixed_type(name).unwrap_or_else(|| guess.clone());
                missing.push(Field::new(*name, assumed, true));
            }
        }
    }
    let input = Arc::new(Schema::new(present.clone()));
    let all: Vec<Field> = present.into_iter().chain(missing.iter().cloned()).collect();
    let all = Arc::new(DFSchema::try_from(Schema::new(all))?);

    let options = ParserOptions { enable_ident_normalization: false, ..ParserOptions::default() };
    let planner = SqlToRel::new_with_options(functions(), options);
    let planned = planner.sql_to_expr(tree.clone(), &all, &mut PlannerContext::new())?;
    let fitted = fit::fit(planned, &all)?;
    let context = SimplifyContext::builder().with_schema(all.clone()).build();
    let simplifier = ExprSimplifier::new(context);
    // Types are checked before the missing columns disappear.
    let coerced = lenient(simplifier.coerce(fitted, &all)?, &all)?;
    let filled = fill_missing(coerced, &missing)?;
    let simple = simplifier.simplify(filled)?;
    let simple = lenient(simplifier.coerce(simple, &all)?, &all)?;
    let planning = PhysicalPlanningContext::default();
    let physical = create_physical_expr(&simple, &all, &ExecutionProps::new(), &planning)?;
    let result = physical.data_type(&input)?;
    Ok(Compiled { input, physical, result })
}

fn fill_missing(expr: Expr, missing: &[Field]) -> Result<Expr> {
    let filled = expr.transform_up(|node| match &node {
        Expr::Column(column) => match missing.iter().find(|field| *field.name() == column.name) {
            Some(field) => Ok(Transformed::yes(lit(ScalarValue::try_from(field.data_type())?))),
            None => Ok(Transformed::no(node)),
        },
        _ => Ok(Transformed::no(node)),
    });
    filled.map(|filled| filled.data)
}
