//! Finding bad rows by trying rows without storing them.
//!
//! `INSERT INTO FUNCTION null('…')` takes the columns of a table with their `DEFAULT` and `MATERIALIZED`
//! expressions, evaluates these as the table would, and drops the rows. It makes no parts, uses no tokens,
//! and needs no limit on inserts a second. So groups of rows are tried, several at a time, and those that
//! fail are halved. A constraint is a column that fails where the constraint is violated.
//!
//! Rows that are equal in all columns that matter fail together: only one of them is tried.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use arrow::array::{RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use tokio::task::JoinSet;
use weir_pdata::Signal;

use crate::bad_rows::Refused;
use crate::client::failure::Failure;
use crate::client::server::{Described, Server};
use crate::convert::cell::ColumnReader;
use crate::convert::convert;
use crate::native::block::{Body, block_of};
use crate::native::scratch::ScratchPool;
use crate::schema::columns::TableColumns;
use crate::schema::quoting::quoted;

/// Rows that are tried together at first. With one bad row in ten about a half of the groups of so many pass.
const GROUP: usize = 8;
/// While nothing fails, the groups grow to this.
const LARGEST_GROUP: usize = 512;
/// Groups that are tried at the same time.
const WORKERS: usize = 4;
/// When so many rows, from all over the insert, all fail, the table refuses every row as it seems: there is
/// nothing to tell apart.
const SAMPLE: usize = 12;

/// Rows, and the columns of the table that decide whether they fail.
pub(crate) struct Probe {
    server: Arc<Server>,
    scratch_pool: ScratchPool,
    signal: Signal,
    /// The columns as an argument of `null`.
    structure: String,
    columns: TableColumns,
    rows: RecordBatch,
    /// Of rows that are equal, all: the first of them is the one that is tried.
    equal: Vec<Vec<usize>>,
    until: Instant,
}

impl Probe {
    /// Rows of a table with these columns and constraints. `by_type`: a type may be the cause, so every
    /// column matters. `None`: nothing of the table can fail.
    pub(crate) fn new(
        server: &Arc<Server>,
        refused: &Refused<'_>,
        described: &[Described],
        constraints: &[String],
        rows: &RecordBatch,
        by_type: bool,
    ) -> Option<Probe> {
        let is_sent = |name: &str| rows.schema_ref().index_of(name).is_ok();
        let computed = |column: &Described| match column.default_type.as_str() {
            "MATERIALIZED" => true,
            "DEFAULT" => !is_sent(&column.name),
            _ => false,
        };
        let expressions = described.iter().filter(|column| !column.default_type.is_empty());
        let expressions = expressions.map(|column| column.default_expression.as_str());
        let expressions: Vec<&str> = expressions.chain(constraints.iter().map(String::as_str)).collect();
        if !by_type && constraints.is_empty() && !described.iter().any(computed) {
            return None;
        }
        let matters = |name: &str| {
            by_type && is_sent(name) || expressions.iter().any(|expression| expression.contains(name))
        };
        let needed = described.iter().filter(|column| computed(column) || matters(&column.name));
        let mut structure: Vec<String> = needed
            .map(|Described { name, r#type, default_type, default_expression, .. }| {
                format!("{} {type} {default_type} {default_expression}", quoted(name))
            })
            .collect();
        structure.extend(constraints.iter().enumerate().map(|(at, expression)| {
            format!("weir_constraint_{at} UInt8 MATERIALIZED throwIf(NOT ifNull({expression}, 0))")
        }));
        let mut columns = refused.columns.clone();
        columns.0.retain(|column| matters(&column.name));
        let sent: Vec<usize> = (0..rows.num_columns())
            .filter(|at| columns.find(rows.schema_ref().field(*at).name()).is_some())
            .collect();
        // An insert has at least one column.
        if sent.is_empty() {
            return None;
        }
        let rows = rows.project(&sent).ok()?;
        Some(Probe {
            server: Arc::clone(server),
            scratch_pool: ScratchPool::new(refused.compressed),
            signal: refused.signal,
            structure: structure.join(", "),
            columns,
            equal: equal_rows(&rows),
            rows,
            until: Instant::now() + refused.budget,
        })
    }

    /// The rows that fail, rising, as far as they are found in the time that there is. Empty: they are not
    /// known.
    pub(crate) async fn failing(self) -> Vec<usize> {
        let all: Vec<usize> = (0..self.equal.len()).collect();
        // Could the failure not be seen like this, everything would pass.
        if !matches!(self.passes(&all).await, Ok(false)) {
            return Vec::new();
        }
        let step = all.len().div_ceil(SAMPLE).max(1);
        let sample: Vec<usize> = all.iter().copied().step_by(step).collect();
        let probe = Arc::new(self);
        if sample.len() >= SAMPLE && probe.clone().tell_apart(sample.clone(), 1).await.len() == sample.len() {
            return Vec::new();
        }
        probe.tell_apart(all, GROUP).await
    }

    /// Of these rows, which are thought to fail, those that do.
    pub(crate) async fn confirmed(self, suspects: &[usize]) -> Vec<usize> {
        let is_one =
            |equal: &Vec<usize>| equal.first().is_some_and(|row| suspects.binary_search(row).is_ok());
        let suspects = (0..self.equal.len()).filter(|at| is_one(&self.equal[*at])).collect();
        Arc::new(self).tell_apart(suspects, 1).await
    }

    /// All rows that are equal to those that fail of these.
    async fn tell_apart(self: Arc<Probe>, rows: Vec<usize>, group: usize) -> Vec<usize> {
        let (rows, next) = (Arc::new(rows), Arc::new(AtomicUsize::new(0)));
        let mut workers = JoinSet::new();
        for _ in 0..WORKERS {
            let (probe, rows, next) = (Arc::clone(&self), Arc::clone(&rows), Arc::clone(&next));
            workers.spawn(async move {
                let (mut failing, mut size) = (Vec::new(), group);
                loop {
                    let begin = next.fetch_add(size, Ordering::Relaxed);
                    let Some(part) = rows.get(begin..rows.len().min(begin + size)) else { break };
                    let before = failing.len();
                    if part.is_empty() || probe.halve(part, &mut failing).await.is_err() {
                        break;
                    }
                    // Rows that an earlier round has found to be good pass quickly again.
                    size = if failing.len() == before { LARGEST_GROUP.min(2 * size) } else { group };
                }
                failing
            });
        }
        let mut found = Vec::new();
        while let Some(failing) = workers.join_next().await {
            found.extend(failing.unwrap_or_default());
        }
        let mut found: Vec<usize> = found.into_iter().flat_map(|at: usize| self.equal[at].clone()).collect();
        found.sort_unstable();
        found
    }

    /// Adds those of these rows that fail. An error: it is not known, or the time is over.
    async fn halve(&self, rows: &[usize], failing: &mut Vec<usize>) -> Result<(), Failure> {
        // The next one last.
        let mut todo = vec![Candidates { rows: 0..rows.len(), fails: false, is_first_half: false }];
        while let Some(Candidates { rows: part, fails, is_first_half }) = todo.pop() {
            if !fails && self.passes(&rows[part.clone()]).await? {
                if let Some(second_half) = todo.last_mut().filter(|_| is_first_half) {
                    second_half.fails = true;
                }
                continue;
            }
            if part.len() == 1 {
                failing.push(rows[part.start]);
                continue;
            }
            let middle = part.start + part.len() / 2;
            todo.push(Candidates { rows: middle..part.end, fails: false, is_first_half: false });
            todo.push(Candidates { rows: part.start..middle, fails: false, is_first_half: true });
        }
        Ok(())
    }

    /// Whether the table would take these rows.
    async fn passes(&self, rows: &[usize]) -> Result<bool, Failure> {
        if Instant::now() >= self.until {
            return Err(Failure::other("no time is left"));
        }
        let body = self.body(rows).ok_or_else(|| Failure::other("the rows cannot be put together"))?;
        match self.server.try_rows(&self.structure, &body).await {
            Ok(()) => Ok(true),
            Err(failure) if failure.is_of_rows() => Ok(false),
            Err(failure) => Err(failure),
        }
    }

    fn body(&self, rows: &[usize]) -> Option<Body> {
        let numbers = rows.iter().map(|at| u32::try_from(self.equal[*at][0]).ok());
        let numbers = UInt32Array::from(numbers.collect::<Option<Vec<_>>>()?);
        let rows = take_record_batch(&self.rows, &numbers).ok()?;
        self.scratch_pool.with(|scratch| {
            let converted = convert(self.signal, &[&rows], &self.columns, scratch).ok()?;
            Some(block_of(&[&converted.encoded], |_| true, scratch))
        })
    }
}

/// Rows to be tried, of a group.
struct Candidates {
    rows: Range<usize>,
    /// Whether it is known that one of them fails.
    fails: bool,
    /// Whether it is the first half of rows of which one fails. The second half is tried next.
    is_first_half: bool,
}

/// The rows that are equal to each other, in the order of the first of them.
fn equal_rows(rows: &RecordBatch) -> Vec<Vec<usize>> {
    use std::fmt::Write;
    let sources: Vec<ColumnReader<'_>> = rows.columns().iter().map(ColumnReader::new).collect();
    let (mut equal, mut known): (Vec<Vec<usize>>, HashMap<String, usize>) = (Vec::new(), HashMap::new());
    for row in 0..rows.num_rows() {
        let mut key = String::new();
        for source in &sources {
            // Writing to a String does not fail.
            let _ = write!(key, "{:?},", source.cell(row));
        }
        let at = *known.entry(key).or_insert(equal.len());
        match equal.get_mut(at) {
            Some(rows) => rows.push(row),
            None => equal.push(vec![row]),
        }
    }
    equal
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, StringArray};

    #[test]
    fn rows_that_are_equal_are_one() {
        let texts = |texts: [Option<&str>; 5]| -> ArrayRef { Arc::new(StringArray::from(texts.to_vec())) };
        let rows = RecordBatch::try_from_iter_with_nullable([
            ("a", texts([Some("x"), Some("y"), Some("x"), None, Some("x")]), true),
            ("b", texts([Some("1"), Some("1"), Some("1"), Some("1"), Some("2")]), true),
        ])
        .unwrap();
        assert_eq!(equal_rows(&rows), [vec![0, 2], vec![1], vec![3], vec![4]]);
    }
}
