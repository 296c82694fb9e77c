//! The content of a request: the body and the id of some alarms.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::TimestampNanosecondType;
use weir_pdata::text::TextColumn;
use weir_pdata::{Signal, json};

/// The body: `{"alarms":[…]}`, each alarm as in Weir's JSON lines, in order.
pub(crate) fn body(alarms: &[&RecordBatch]) -> Vec<u8> {
    let mut lines = Vec::new();
    for batch in alarms {
        json::write_rows(batch, Signal::Alarms, &mut lines);
    }
    let mut body = b"{\"alarms\":[".to_vec();
    let mut between: &[u8] = b"";
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        body.extend_from_slice(between);
        body.extend_from_slice(line);
        between = b",";
    }
    body.extend_from_slice(b"]}");
    body
}

/// The id of a request with these alarms: the same whenever the same alarms are sent, by whichever Weir.
/// A hash (FNV-1a, 128 bits) of each alarm's fingerprint, state and time.
pub(crate) fn id(alarms: &[&RecordBatch]) -> String {
    let mut hash = Fnv::default();
    for batch in alarms {
        let [fingerprints, states] =
            ["fingerprint", "state"].map(|name| batch.column_by_name(name).and_then(TextColumn::new));
        let times = batch
            .column_by_name("time")
            .and_then(|times| times.as_primitive_opt::<TimestampNanosecondType>());
        for row in 0..batch.num_rows() {
            for text in
                [fingerprints, states].map(|texts| texts.and_then(|texts| texts.get(row)).unwrap_or_default())
            {
                hash.add(&(text.len() as u64).to_le_bytes());
                hash.add(text.as_bytes());
            }
            let time = times.filter(|times| times.is_valid(row)).map_or(0, |times| times.value(row));
            hash.add(&time.to_le_bytes());
        }
    }
    format!("msg_{:032x}", hash.0)
}

/// FNV-1a with 128 bits: <https://www.rfc-editor.org/rfc/rfc9923>.
struct Fnv(u128);

impl Default for Fnv {
    fn default() -> Fnv {
        Fnv(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }
}

impl Fnv {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u128::from(*byte)).wrapping_mul(0x0100_0000_0000_0000_0000_013b);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{ArrayRef, StringArray, TimestampNanosecondArray};
    use std::sync::Arc;

    fn alarms(rows: &[(&str, &str, i64)]) -> RecordBatch {
        let texts = |pick: fn(&(&str, &str, i64)) -> String| -> ArrayRef {
            Arc::new(rows.iter().map(|row| Some(pick(row))).collect::<StringArray>())
        };
        let times: ArrayRef = Arc::new(
            TimestampNanosecondArray::from_iter_values(rows.iter().map(|row| row.2)).with_timezone("UTC"),
        );
        RecordBatch::try_from_iter([
            ("time", times),
            ("state", texts(|row| row.1.to_owned())),
            ("fingerprint", texts(|row| row.0.to_owned())),
        ])
        .unwrap()
    }

    #[test]
    fn the_hash_is_fnv_1a() {
        let mut hash = Fnv::default();
        hash.add(b"foobar");
        assert_eq!(hash.0, 0x343e_1662_793c_64bf_6f0d_3597_ba44_6f18);
    }

    #[test]
    fn the_id_follows_fingerprint_state_and_time_and_nothing_else() {
        let one = alarms(&[("f", "firing", 1), ("g", "firing", 1)]);
        let id_of = |rows: &[(&str, &str, i64)]| id(&[&alarms(rows)]);
        assert_eq!(id(&[&one]), id(&[&one.slice(0, 1), &one.slice(1, 1)]));
        for other in [("f", "resolved", 1), ("g", "firing", 1), ("f", "firing", 2)] {
            assert_ne!(id_of(&[("f", "firing", 1)]), id_of(&[other]));
        }
        assert_ne!(id_of(&[("fg", "x", 0)]), id_of(&[("f", "gx", 0)]));
    }
}
