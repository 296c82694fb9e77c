//! Which rows of an export are tried next, when the destination refuses some of them. Sans-IO.
//!
//! * Rows are delivered in parts. A part is a run of rows without the rejected ones. Parts are tried in the
//!   order of the rows, so all rows before the current part are finished.
//! * Rows that the destination names are left out at once. When it names none, each half of the part is
//!   tried.
//! * After [`BLOCK`] rows were refused in a row and none was taken, a part that is refused as a whole goes to
//!   the dead letters as a whole, if it is not larger than the rows refused before it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use crate::delivery::Split;

/// See above.
const BLOCK: usize = 32;

/// Rows that are not all taken.
#[derive(Debug)]
pub struct RowIsolation {
    /// How many rows the range has; these may be some of them.
    of: usize,
    /// The first row that exists: those before it are gone from the lane.
    first: usize,
    /// Still to be tried or dead-lettered, the first one last.
    todo: Vec<Range<usize>>,
    /// Rows that are refused, and why.
    rejected: BTreeMap<usize, Arc<str>>,
    /// How many were refused since one was taken.
    refused: usize,
}

/// How rows were refused.
#[derive(Clone, Debug, Default)]
pub struct Refusal {
    /// Why.
    pub reason: String,
    /// Which of the rows that were tried, where the destination has told them.
    pub rejected: Vec<usize>,
    /// Only because there are so many. It says nothing about the rows.
    pub too_large: bool,
}

/// The next step.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// These rows go to the dead letters.
    DeadLetter(Range<usize>, Arc<str>),
    /// These are exported.
    Try(Split),
}

impl RowIsolation {
    /// All of these rows were refused together.
    #[must_use]
    pub fn new(rows: Range<usize>, of: usize, refusal: &Refusal) -> RowIsolation {
        let first = rows.start;
        let mut isolation =
            RowIsolation { of, first, todo: Vec::new(), rejected: BTreeMap::new(), refused: 0 };
        if !rows.is_empty() {
            isolation.refused(&Split { rows, of, without: Vec::new() }, refusal);
        }
        isolation
    }

    /// An earlier owner of the lane was at this part, of these rows. It is tried as it was: what has become
    /// of it is not known.
    #[must_use]
    pub fn resumed(part: Split, all: Range<usize>) -> RowIsolation {
        let Range { start: first, end } = all;
        let Split { rows, of, without } = part;
        let reason: Arc<str> =
            Arc::from("it was refused before a restart, for a reason that is in the log of then");
        let rejected = without.into_iter().map(|row| (row, Arc::clone(&reason))).collect();
        let todo = [rows.end.min(end)..end, rows.start..rows.end.min(end)];
        let todo = todo.into_iter().filter(|rows| !rows.is_empty()).collect();
        RowIsolation { of, first, todo, rejected, refused: 0 }
    }

    /// The next step. `None`: all is done.
    #[expect(clippy::should_implement_trait, reason = "what comes next depends on what is told in between")]
    pub fn next(&mut self) -> Option<Step> {
        let Range { start, end } = self.todo.pop()?;
        if let Some(reason) = self.rejected.get(&start).cloned() {
            let same = |row: &usize| self.rejected.get(row).is_some_and(|other| Arc::ptr_eq(other, &reason));
            let until = (start..end).find(|row| !same(row)).unwrap_or(end);
            self.push(until..end);
            return Some(Step::DeadLetter(start..until, reason));
        }
        let refused = self.rejected.range(start..end).map(|(row, _)| *row);
        let part = Split::beginning(start..end, self.of, refused);
        self.push(part.rows.end..end);
        Some(Step::Try(part))
    }

    /// The part is delivered.
    pub fn taken(&mut self, part: &Split) {
        self.refused = 0;
        part.without.iter().rev().for_each(|row| self.push(*row..row + 1));
    }

    /// The part is refused.
    pub fn refused(&mut self, part: &Split, refusal: &Refusal) {
        let Refusal { reason, rejected, too_large } = refusal;
        let is_there = |row: &usize| *row >= self.first && part.without.binary_search(row).is_err();
        let tried: Vec<usize> = part.rows.clone().filter(is_there).collect();
        let named: Vec<usize> = rejected.iter().filter_map(|at| tried.get(*at).copied()).collect();
        let (rows, count) = (part.rows.clone(), tried.len());
        let refused = if !named.is_empty() {
            named
        } else if count == 1 || (!too_large && self.refused >= BLOCK && count <= self.refused) {
            self.refused += count;
            tried
        } else {
            let middle = tried.get(count.div_ceil(2)).copied().unwrap_or(rows.end);
            self.push(middle..rows.end);
            self.push(rows.start..middle);
            return;
        };
        let reason: Arc<str> = Arc::from(reason.as_str());
        self.rejected.extend(refused.into_iter().map(|row| (row, Arc::clone(&reason))));
        self.push(rows);
    }

    fn push(&mut self, rows: Range<usize>) {
        if !rows.is_empty() {
            self.todo.push(rows);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(rejected: &[usize]) -> Refusal {
        Refusal { reason: "no".to_owned(), rejected: rejected.to_vec(), too_large: false }
    }

    fn too_large() -> Refusal {
        Refusal { too_large: true, ..refusal(&[]) }
    }

    /// Runs against a destination that refuses these rows and names them or not: how often it was asked, and
    /// the rows that were taken and dead-lettered.
    fn run(isolation: RowIsolation, bad: fn(usize) -> bool, named: bool) -> (usize, Vec<usize>, Vec<usize>) {
        run_small(isolation, bad, named, usize::MAX)
    }

    /// The same, where it takes at most `most` rows.
    fn run_small(
        mut isolation: RowIsolation,
        bad: fn(usize) -> bool,
        named: bool,
        most: usize,
    ) -> (usize, Vec<usize>, Vec<usize>) {
        let (mut asked, mut taken, mut dead_lettered) = (0, Vec::new(), Vec::new());
        let mut done = 0;
        while let Some(step) = isolation.next() {
            let part = match step {
                Step::DeadLetter(rows, _) => {
                    dead_lettered.extend(rows);
                    continue;
                }
                Step::Try(part) => part,
            };
            asked += 1;
            assert!(part.rows.start >= done, "in order: {part:?} after {done}");
            let tried: Vec<usize> = part.rows.clone().filter(|row| !part.without.contains(row)).collect();
            let refused: Vec<usize> = (0..tried.len()).filter(|at| bad(tried[*at])).collect();
            if tried.len() > most {
                isolation.refused(&part, &too_large());
            } else if refused.is_empty() {
                done = part.rows.end;
                taken.extend(tried);
                isolation.taken(&part);
            } else {
                isolation.refused(&part, &refusal(if named { &refused } else { &[] }));
            }
        }
        dead_lettered.sort_unstable();
        (asked, taken, dead_lettered)
    }

    #[test]
    fn rows_that_are_named_are_left_out_at_once() {
        let bad = |row: usize| row % 10 == 3;
        let named: Vec<usize> = (0..3_000).filter(|row| bad(*row)).collect();
        let (asked, taken, dead_lettered) =
            run(RowIsolation::new(0..3_000, 3_000, &refusal(&named)), bad, true);
        assert!(asked <= 2, "{asked}");
        assert_eq!((taken.len(), dead_lettered), (2_700, named));
    }

    #[test]
    fn rows_that_are_not_named_are_found_by_halves() {
        let bad = |row: usize| row == 7 || row == 990;
        let (asked, taken, dead_lettered) =
            run(RowIsolation::new(0..1_000, 1_000, &refusal(&[])), bad, false);
        assert!(asked < 50, "{asked}");
        assert_eq!((taken.len(), dead_lettered), (998, vec![7, 990]));
    }

    #[test]
    fn when_every_row_is_refused_they_go_as_blocks() {
        let (asked, taken, dead_lettered) =
            run(RowIsolation::new(0..30_000, 30_000, &refusal(&[])), |_| true, false);
        assert!(asked < 150, "{asked}");
        assert_eq!((taken.len(), dead_lettered.len()), (0, 30_000));
    }

    #[test]
    fn good_rows_after_many_bad_ones_are_taken() {
        let (_, taken, dead_lettered) =
            run(RowIsolation::new(0..1_000, 1_000, &refusal(&[])), |row| row < 500, false);
        assert_eq!((taken.len() + dead_lettered.len(), taken.len() >= 480), (1_000, true), "{}", taken.len());
    }

    #[test]
    fn a_part_that_is_only_too_large_is_never_given_up_as_a_block() {
        let refused = RowIsolation::new(0..1_000, 1_000, &too_large());
        let (_, taken, dead_lettered) = run_small(refused, |row| row < 50, false, 20);
        assert_eq!(taken.len() + dead_lettered.len(), 1_000);
        // Of the part in which the bad ones end some good ones may go with them.
        assert!(taken.len() >= 930, "{}", taken.len());
        let alone = RowIsolation::new(0..4, 4, &too_large());
        assert_eq!(run_small(alone, |_| false, false, 0).2, [0, 1, 2, 3]);
    }

    #[test]
    fn the_next_owner_goes_on_where_the_earlier_one_was() {
        let part = Split { rows: 20..40, of: 100, without: vec![25, 30] };
        let mut isolation = RowIsolation::resumed(part.clone(), 0..100);
        assert_eq!(isolation.next(), Some(Step::Try(part.clone())), "the same rows under the same name");
        let (asked, taken, dead_lettered) = run(RowIsolation::resumed(part, 0..100), |_| false, false);
        assert_eq!((asked, taken.len(), dead_lettered), (2, 78, vec![25, 30]));
    }
}
