//! SQL expressions over the columns of a batch: one language for filters, `where`, rules and measures.
//!
//! * Dotted names need no quotes: `http.method = 'GET'`. Any other name is written `"in quotes"`.
//!   Names keep their case. Text is in single quotes.
//! * A column that a batch lacks is NULL. A condition that is NULL is false.
//! * Text compared with a number is read as a number: `http.status_code >= 500`. Text that is no number is
//!   NULL there, and so are a cast that fails and a division by zero.
//! * `/` divides as floats: `1 / 2` is 0.5. `a // b` and `div(a, b)` divide without what is after the point,
//!   integers exactly, towards zero.
//! * NaN and infinities are NULL, in columns, in text that is read as a number, and as the result of
//!   anything.
//! * A row on which a function fails is NULL; the other rows of its batch are evaluated as usual.
//! * `SIMILAR TO` matches the whole text, `~` any part of it. A pattern that is written in the expression is
//!   checked.
//! * `lpad`, `rpad` and `repeat` make at most 4,096 characters (`repeat`: bytes), `replace` and
//!   `regexp_replace` at most 64 KiB: else NULL, or an error when the length is written in the expression.
//!   There are no functions that make lists of any length.
//! * Everything that SQL says about the values of one row is there, with the scalar functions of this build
//!   of DataFusion. Functions of several rows, subqueries, and functions of the clock or of chance are
//!   errors.
//!
//! * Integer arithmetic wraps around, as in DataFusion.
//!
//! Parsing never panics, whatever the text, and takes bounded time: at most 64 KiB, 200 operators and 32
//! levels of nesting, where `a + b + c` is two. A parsed expression is compiled once for each set of column
//! types that it meets.

mod bounded;
mod compile;
mod div;
mod error;
mod finite;
mod fit;
mod functions;
mod grammar;
mod lenient;
mod measure;
mod pattern;
mod rows;
mod syntax;
#[cfg(test)]
mod tests;
mod text_as;

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Float64Array, RecordBatch, RecordBatchOptions};
use arrow::compute::prep_null_mask_filter;
use arrow::datatypes::DataType;
use datafusion::common::DataFusionError;
use datafusion::sql::sqlparser::ast::Expr as Sql;
use datafusion::sql::sqlparser::tokenizer::TokenWithSpan;

pub use error::ExprError;
pub use measure::{Function, Measure};
pub use text_as::numbers;

use compile::{Compiled, Read, compile};

/// A parsed SQL expression. Cloning is cheap, and clones share what was compiled.
#[derive(Clone)]
pub struct Expr(Arc<Inner>);

struct Inner {
    text: String,
    tree: Sql,
    names: BTreeSet<String>,
    /// The result's type, as far as it is known without a batch.
    result: DataType,
    compiled: RwLock<Vec<CompiledFor>>,
}

/// The types of the columns read, in the order of `names`, and what they compile to.
struct CompiledFor(Vec<Option<DataType>>, Arc<Compiled>);

/// The rows on which expressions failed. They count as NULL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failures {
    /// How many rows: one on which two expressions fail counts twice.
    pub rows: usize,
    /// Why the first of them failed.
    pub first: Option<ExprError>,
}

impl Failures {
    /// Adds rows that failed for one reason.
    pub fn add(&mut self, rows: usize, error: ExprError) {
        self.rows += rows;
        self.first.get_or_insert(error);
    }
}

/// A pipeline has few schemas; more than this many come from casts that change back and forth.
const KEPT: usize = 16;

/// Reserved address space, of which only what is touched becomes memory.
const PLANNING_STACK: usize = 64 << 20;

impl Expr {
    /// Parses an expression that gives a value of any type.
    ///
    /// Errors: bad syntax, an unknown function, something that needs several rows, types that can never fit.
    pub fn parse(text: &str) -> Result<Expr, ExprError> {
        Expr::of_tokens(text, text, syntax::tokens(text)?)
    }

    /// Parses an expression that is true or false (or NULL, which is false), for [`filter`](Expr::filter).
    pub fn parse_condition(text: &str) -> Result<Expr, ExprError> {
        Expr::parse(text)?.into_condition()
    }

    /// The columns and attribute keys that the expression reads.
    #[must_use]
    pub fn names(&self) -> &BTreeSet<String> {
        &self.0.names
    }

    /// For each row whether the expression is true. NULL is false; text is true when it says so. Rows on
    /// which it fails are false and go to `failures`.
    ///
    /// Errors: the columns' types do not fit, or the result is no condition.
    pub fn filter(&self, batch: &RecordBatch, failures: &mut Failures) -> Result<BooleanArray, ExprError> {
        Ok(self.filter_rows(batch, failures)?.0)
    }

    /// The same, and the rows on which it fails, in rising order.
    ///
    /// Errors: as for [`filter`](Expr::filter).
    pub fn filter_rows(
        &self,
        batch: &RecordBatch,
        failures: &mut Failures,
    ) -> Result<(BooleanArray, Vec<usize>), ExprError> {
        let (truth, failed) = self.truth_rows(batch, failures)?;
        Ok((if truth.null_count() > 0 { prep_null_mask_filter(&truth) } else { truth }, failed))
    }

    /// For each row whether the expression is true; NULL where it is NULL or fails. Text is true or false
    /// when it says so, and else NULL.
    ///
    /// Errors: as for [`filter`](Expr::filter).
    pub fn truth(&self, batch: &RecordBatch, failures: &mut Failures) -> Result<BooleanArray, ExprError> {
        Ok(self.truth_rows(batch, failures)?.0)
    }

    fn truth_rows(
        &self,
        batch: &RecordBatch,
        failures: &mut Failures,
    ) -> Result<(BooleanArray, Vec<usize>), ExprError> {
        let (value, failed) = self.evaluate_rows(batch, failures)?;
        let value = match value.data_type() {
            DataType::Boolean => value,
            DataType::Null => return Ok((BooleanArray::new_null(value.len()), failed)),
            other if is_text(other) => arrow::compute::cast(&value, &DataType::Boolean)
                .map_err(|error| self.failed(&error.into()))?,
            other => return Err(self.not_a_condition(other)),
        };
        Ok((value.as_boolean().clone(), failed))
    }

    /// The expression's value for each row. Rows on which it fails are NULL and go to `failures`.
    ///
    /// Errors: the columns' types do not fit.
    pub fn evaluate(&self, batch: &RecordBatch, failures: &mut Failures) -> Result<ArrayRef, ExprError> {
        Ok(self.evaluate_rows(batch, failures)?.0)
    }

    fn evaluate_rows(
        &self,
        batch: &RecordBatch,
        failures: &mut Failures,
    ) -> Result<(ArrayRef, Vec<usize>), ExprError> {
        let schema = batch.schema_ref();
        let found: Vec<Option<usize>> =
            self.0.names.iter().map(|name| schema.fields().iter().position(|f| f.name() == name)).collect();
        let types: Vec<Option<&DataType>> =
            found.iter().map(|found| found.map(|index| schema.field(index).data_type())).collect();
        let compiled = self.compiled(&types)?;
        let columns = found.into_iter().flatten().map(|index| batch.column(index).clone()).collect();
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let (values, failed, error) =
            RecordBatch::try_new_with_options(compiled.input.clone(), columns, &options)
                .map_err(DataFusionError::from)
                .and_then(|input| rows::evaluate(&compiled, &input))
                .map_err(|error| self.failed(&error))?;
        if let Some(error) = error {
            failures.add(failed.len(), self.failed(&error));
        }
        Ok((values, failed))
    }

    /// The expression's value for each row as a float; NULL where it is no number.
    pub fn numbers(&self, batch: &RecordBatch, failures: &mut Failures) -> Result<Float64Array, ExprError> {
        text_as::numbers(&self.evaluate(batch, failures)?).map_err(|error| self.failed(&error))
    }

    /// `whole` is what error messages show, `text` the part of it that `tokens` are.
    fn of_tokens(whole: &str, text: &str, tokens: Vec<TokenWithSpan>) -> Result<Expr, ExprError> {
        let (tree, names, compiled) = on_a_large_stack(whole, move || {
            let tree = syntax::parse(whole, tokens)?;
            let names = syntax::check(whole, &tree)?;
            let reads: Vec<Read<'_>> = names.iter().map(|name| (name.as_str(), None)).collect();
            let compiled = compile(&tree, &reads).map_err(|error| types(whole, &error))?;
            Ok((tree, names, compiled))
        })?;
        let text = text.trim().to_owned();
        let result = compiled.result.clone();
        let known = CompiledFor(vec![None; names.len()], Arc::new(compiled));
        Ok(Expr(Arc::new(Inner { text, tree, names, result, compiled: RwLock::new(vec![known]) })))
    }

    fn into_condition(self) -> Result<Expr, ExprError> {
        match &self.0.result {
            DataType::Boolean | DataType::Null => Ok(self),
            other if is_text(other) => Ok(self),
            other => Err(self.not_a_condition(other)),
        }
    }

    fn compiled(&self, types: &[Option<&DataType>]) -> Result<Arc<Compiled>, ExprError> {
        let same = |compiled: &&CompiledFor| compiled.0.iter().map(Option::as_ref).eq(types.iter().copied());
        {
            let known = self.0.compiled.read().unwrap_or_else(PoisonError::into_inner);
            if let Some(known) = known.iter().find(same) {
                return Ok(known.1.clone());
            }
        }
        let reads: Vec<Read<'_>> =
            self.0.names.iter().zip(types).map(|(name, found)| (name.as_str(), *found)).collect();
        let compiled = on_a_large_stack(&self.0.text, || {
            compile(&self.0.tree, &reads).map_err(|error| self::types(&self.0.text, &error))
        })?;
        let compiled = Arc::new(compiled);
        let mut known = self.0.compiled.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KEPT {
            known.remove(0);
        }
        known.push(CompiledFor(types.iter().map(|found| found.cloned()).collect(), compiled.clone()));
        Ok(compiled)
    }

    fn not_a_condition(&self, found: &DataType) -> ExprError {
        let message = format!("it gives {found}, and a condition must give true or false");
        ExprError::Types { expression: self.0.text.clone(), message }
    }

    fn failed(&self, error: &DataFusionError) -> ExprError {
        ExprError::Evaluate { expression: self.0.text.clone(), message: plain(error) }
    }
}

/// Parsing and planning recurse with the depth of the expression, in frames of many kilobytes; callers have
/// small stacks. It is done rarely, so a thread of its own costs nothing. Should it panic, that is an error
/// here.
fn on_a_large_stack<T: Send>(
    expression: &str,
    work: impl FnOnce() -> Result<T, ExprError> + Send,
) -> Result<T, ExprError> {
    let failed =
        |message: &str| ExprError::Types { expression: expression.to_owned(), message: message.to_owned() };
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("weir-expr".to_owned()).stack_size(PLANNING_STACK);
        match thread.spawn_scoped(scope, work) {
            Ok(thread) => {
                thread.join().unwrap_or_else(|_| Err(failed("planning it failed; please report this")))
            }
            Err(error) => Err(failed(&format!("no thread could be started to plan it: {error}"))),
        }
    })
}

fn types(expression: &str, error: &DataFusionError) -> ExprError {
    let (expression, message) = (expression.to_owned(), plain(error));
    match error.find_root() {
        DataFusionError::Configuration(_) => ExprError::Wrong { expression, message },
        _ => ExprError::Types { expression, message },
    }
}

/// The error without DataFusion's prefixes.
fn plain(error: &DataFusionError) -> String {
    let message = match error.find_root() {
        DataFusionError::Plan(message)
        | DataFusionError::Execution(message)
        | DataFusionError::Configuration(message) => message.clone(),
        other => other.strip_backtrace(),
    };
    message.lines().next().unwrap_or_default().to_owned()
}

fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}

impl FromStr for Expr {
    type Err = ExprError;

    fn from_str(text: &str) -> Result<Expr, ExprError> {
        Expr::parse(text)
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.text)
    }
}

impl fmt::Debug for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expr").field(&self.0.text).finish()
    }
}

/// Equal text.
impl PartialEq for Expr {
    fn eq(&self, other: &Expr) -> bool {
        self.0.text == other.0.text
    }
}

impl Eq for Expr {}
