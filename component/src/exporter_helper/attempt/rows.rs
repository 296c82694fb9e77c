//! Selecting rows of batches, and naming an export of them.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::BooleanArray;
use arrow::compute::filter_record_batch;
use weir_pdata::{EventBatch, Payload};

use crate::Outgoing;
use crate::delivery::Split;

/// Gives a part of an export its own identity, made from that of the whole.
/// The number of rows is in it: in another number of rows the same numbers are of other rows.
pub(super) fn name_part(batches: &mut [Outgoing], part: &Split) {
    for batch in batches {
        let identity = batch.origin.identity.take();
        let named = identity.map(|identity| format!("{identity}.{}", part.encode()));
        batch.origin.identity = named.map(Arc::from);
    }
}

/// These rows of batches with columns, except those in `without`. The first row of the batches has the number
/// `first`.
pub(super) fn pick(
    batches: &[EventBatch],
    first: usize,
    rows: &Range<usize>,
    without: &[usize],
) -> Vec<EventBatch> {
    let (mut picked, mut end) = (Vec::new(), first);
    for batch in batches {
        let start = end;
        end += batch.len();
        let here = rows.start.max(start)..rows.end.min(end);
        let Payload::Columns(columns) = &batch.payload else { continue };
        if here.is_empty() {
            continue;
        }
        let mut columns = columns.slice(here.start - start, here.len());
        let (from, to) = [here.start, here.end].map(|row| without.partition_point(|left| *left < row)).into();
        if from < to {
            let mut kept = vec![true; here.len()];
            without[from..to].iter().for_each(|row| kept[row - here.start] = false);
            // The filter is as long as the rows. If it failed all the same, the rejected rows would only be
            // rejected again.
            columns = filter_record_batch(&columns, &BooleanArray::from(kept)).unwrap_or(columns);
        }
        if columns.num_rows() > 0 {
            picked.push(batch.clone().with_columns(columns));
        }
    }
    picked
}
