//! The deduplication token of an insert: equal for the same rows of the same inputs, different for others.
//!
//! The token of batches with an identity (a range of a lane, a window) is made of the identity and the
//! table's name. It is readable in `system.part_log` and in the server's log, and is the same when another
//! process repeats the insert after a crash.
//!
//! The token of other batches is a hash: of the table's name, the lane and positions of each batch, the place
//! of the rows in their buffers, and the bytes that are sent. So:
//! * the helper's retry of an export repeats the token, whatever became of the first attempt;
//! * the halves of a split export have their own tokens, even if their rows are equal;
//! * equal rows from other positions have another token and are kept. Batches without positions (windows,
//!   alarms) differ by their rows alone, which are never equal by intent.

use std::hash::{BuildHasher, Hasher};

use arrow::array::{Array, RecordBatch};
use foldhash::quality::FixedState;
use weir_component::Outgoing;

use crate::native::block::Body;

/// The token of an insert of `body`, converted from `batches`, into `table`.
pub(crate) fn token(table: &str, batches: &[Outgoing], body: &Body) -> String {
    if let Some(identity) = identity(batches) {
        return format!("{table}:{identity}");
    }
    // Two hashes of 64 bits: one alone might collide among the millions of inserts of a busy day.
    let [first, second] = [0x7765_6972, 0x746f_6b65].map(|seed| {
        let mut hasher = FixedState::with_seed(seed).build_hasher();
        hash_text(&mut hasher, table);
        for batch in batches {
            hash_text(&mut hasher, &batch.origin.lane);
            hasher.write_i64(batch.origin.positions.start);
            hasher.write_i64(batch.origin.positions.end);
            if let Some(columns) = batch.as_columns() {
                hash_place(&mut hasher, columns);
            }
        }
        body.chunks.iter().for_each(|part| hasher.write(part));
        hasher.finish()
    });
    format!("{first:016x}{second:016x}")
}

/// Tells the batches of one insert from those of others, whatever they are converted to.
pub(crate) fn key_of_try(batches: &[Outgoing]) -> u64 {
    let mut hasher = FixedState::with_seed(0x7472_6965).build_hasher();
    for batch in batches {
        hash_text(&mut hasher, &batch.origin.lane);
        hash_text(&mut hasher, batch.origin.identity.as_deref().unwrap_or_default());
        hasher.write_i64(batch.origin.positions.start);
        hasher.write_i64(batch.origin.positions.end);
        hasher.write_usize(batch.len());
        if let Some(columns) = batch.as_columns() {
            hash_place(&mut hasher, columns);
        }
    }
    hasher.finish()
}

/// The common identity of these batches.
fn identity(batches: &[Outgoing]) -> Option<&str> {
    let first = batches.first()?.origin.identity.as_deref()?;
    batches.iter().all(|batch| batch.origin.identity.as_deref() == Some(first)).then_some(first)
}

fn hash_text(hasher: &mut impl Hasher, text: &str) {
    hasher.write_usize(text.len());
    hasher.write(text.as_bytes());
}

/// Where the rows of a batch begin in the buffers that they are a slice of.
fn hash_place(hasher: &mut impl Hasher, columns: &RecordBatch) {
    hasher.write_usize(columns.num_rows());
    for array in columns.columns() {
        let data = array.to_data();
        hasher.write_usize(data.offset());
        hasher.write_usize(data.buffers().first().map_or(0, arrow::buffer::Buffer::ptr_offset));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, Int64Array, StringArray};
    use std::sync::Arc;
    use weir_pdata::{Ack, EventBatch, Origin, Signal};

    use crate::convert::convert;
    use crate::native::block::block;
    use crate::native::scratch::Scratch;
    use crate::schema::columns::TableColumns;

    fn batch(positions: std::ops::Range<i64>, texts: &[&str]) -> EventBatch {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![1; texts.len()]));
        let texts: ArrayRef = Arc::new(StringArray::from(texts.to_vec()));
        let columns = RecordBatch::try_from_iter([("n", numbers), ("s", texts)]).unwrap();
        let origin = Origin::lane("kafka/t/0".into(), positions);
        EventBatch::columns(Signal::Traces, columns, origin, Ack::none())
    }

    fn body(batch: &EventBatch) -> Body {
        let lines = "{\"name\":\"n\",\"type\":\"Int64\"}\n{\"name\":\"s\",\"type\":\"String\"}";
        let table = TableColumns::parse(lines.as_bytes()).unwrap();
        let rows = batch.as_columns().unwrap();
        let mut scratch = Scratch::new(true);
        let converted = convert(Signal::Traces, &[rows], &table, &mut scratch).unwrap();
        block(&[&converted.encoded], &mut scratch)
    }

    fn token_of(batch: &EventBatch) -> String {
        token("events", &[batch.clone().into()], &body(batch))
    }

    fn part(batch: &EventBatch, from: usize, rows: usize) -> EventBatch {
        batch.clone().with_columns(batch.as_columns().unwrap().slice(from, rows))
    }

    #[test]
    fn the_same_export_repeats_its_token() {
        let batch = batch(0..2, &["a", "b"]);
        assert_eq!(token_of(&batch), token_of(&batch.clone()));
        assert_eq!(token_of(&batch).len(), 32);
    }

    #[test]
    fn other_rows_and_other_positions_have_other_tokens() {
        let tokens = [
            token_of(&batch(0..2, &["a", "b"])),
            token_of(&batch(0..2, &["a", "c"])),
            token_of(&batch(2..4, &["a", "b"])),
            token_of(&batch(0..2, &["b", "a"])),
            token_of(&batch(0..1, &["ab"])),
        ];
        for (at, token) in tokens.iter().enumerate() {
            assert!(!tokens[..at].contains(token), "{at}");
        }
    }

    #[test]
    fn an_identity_is_the_token_whatever_the_rows_are() {
        let mut one = batch(0..2, &["a", "b"]);
        one.origin.identity = Some("c/g/t/0/0-2".into());
        assert_eq!(token_of(&one), "events:c/g/t/0/0-2");
        let two = [one.clone().into(), batch(2..4, &["a"]).into()];
        assert_eq!(token("events", &two, &body(&one)).len(), 32, "not all of them have it");
    }

    #[test]
    fn equal_halves_of_a_split_batch_have_tokens_of_their_own() {
        let batch = batch(0..1, &["a", "a"]);
        let (first, second) = (part(&batch, 0, 1), part(&batch, 1, 1));
        assert_ne!(token_of(&first), token_of(&second));
        assert_eq!(token_of(&first), token_of(&part(&batch, 0, 1)));
    }
}
