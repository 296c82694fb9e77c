//! Which rows of a batch stay.

use arrow::array::RecordBatch;
use arrow::buffer::{BooleanBuffer, MutableBuffer};
use arrow::util::bit_util;
use weir_pdata::expr::{Expr, Failures};

/// The conditions for the rows of one signal.
#[derive(Clone, Debug)]
pub(crate) struct Conditions {
    /// Rows for which none of these is true go. Empty: none goes.
    pub(crate) keep: Vec<Expr>,
    /// Rows for which one of these is true go.
    pub(crate) drop: Vec<Expr>,
    /// The meaning of a failure.
    pub(crate) doubt: Doubt,
}

/// The meaning of a condition that fails on a row: for the row, or against it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Doubt {
    /// A condition of `keep` counts as true, one of `drop` as false.
    Keeps,
    /// A condition of `keep` counts as false, one of `drop` as true.
    Drops,
}

impl Conditions {
    /// Whether a condition reads a column. If not, all rows of all batches stay, or none.
    pub(crate) fn read_columns(&self) -> bool {
        self.all().any(|condition| !condition.names().is_empty())
    }

    /// Every condition.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Expr> {
        self.keep.iter().chain(&self.drop)
    }

    /// For each row whether it stays. Rows on which conditions fail go to `failures`.
    pub(crate) fn rows_that_stay(&self, batch: &RecordBatch, failures: &mut Failures) -> BooleanBuffer {
        let rows = batch.num_rows();
        let mut stays = BooleanBuffer::new_set(rows);
        if !self.keep.is_empty() {
            stays = BooleanBuffer::new_unset(rows);
            for condition in &self.keep {
                stays = &stays | &truth(condition, batch, self.doubt == Doubt::Keeps, failures);
            }
        }
        for condition in &self.drop {
            stays = &stays & &!&truth(condition, batch, self.doubt == Doubt::Drops, failures);
        }
        stays
    }
}

/// For each row whether the condition is true, and `failed` where it fails.
fn truth(condition: &Expr, batch: &RecordBatch, failed: bool, failures: &mut Failures) -> BooleanBuffer {
    let rows = batch.num_rows();
    match condition.filter_rows(batch, failures) {
        Ok((truth, failing)) if failed && !failing.is_empty() => {
            let truth = truth.values();
            let mut bits = MutableBuffer::collect_bool(rows, |row| truth.value(row));
            failing.iter().for_each(|row| bit_util::set_bit(bits.as_slice_mut(), *row));
            BooleanBuffer::new(bits.into(), 0, rows)
        }
        // It is false where it fails.
        Ok((truth, _)) => truth.values().clone(),
        Err(error) => {
            // The columns do not fit it.
            failures.add(rows, error);
            if failed { BooleanBuffer::new_set(rows) } else { BooleanBuffer::new_unset(rows) }
        }
    }
}
