//! Logs in protobuf's JSON form, which are read as the same logs in protobuf.

use prost::Message;

use super::records::{all_rejected, bounds};
use crate::decode::result::{DecodeError, Decoded, Rejected};
use crate::{Encoded, Format, json};

/// Decodes one `LogData` a record, or an array of them. `decode_logs` decodes the same logs in protobuf, one
/// a record.
pub(super) fn decode(encoded: &Encoded, decode_logs: impl FnOnce(&Encoded) -> Decoded) -> Decoded {
    // Of each log in protobuf, the record that it comes from.
    let (mut logs, mut records): (Vec<Vec<u8>>, Vec<usize>) = (Vec::new(), Vec::new());
    let (mut rejected, mut empty) = (Vec::new(), 0);
    for (record, range) in encoded.records.iter().enumerate() {
        let bytes = bounds(range).and_then(|range| encoded.arena.get(range).ok_or(DecodeError::OutOfBounds));
        let read = bytes.and_then(|bytes| {
            json::log_data(bytes).map_err(|error| DecodeError::Json {
                what: if error.starts_with("not valid JSON") {
                    "it is not valid JSON"
                } else {
                    "a field has another type than it should"
                },
            })
        });
        match read {
            Ok(read) => {
                empty += usize::from(read.is_empty());
                records.extend(std::iter::repeat_n(record, read.len()));
                logs.extend(read.iter().map(Message::encode_to_vec));
            }
            Err(reason) => rejected.push(Rejected { record, reason }),
        }
    }
    let of_logs = |numbers: &Option<std::sync::Arc<[i64]>>| {
        let numbers = numbers.as_ref()?;
        Some(records.iter().map(|record| numbers.get(*record).copied().unwrap_or_default()).collect())
    };
    let Ok(protobuf) = Encoded::concat(Format::SkyWalkingLog, logs.iter().map(Vec::as_slice)) else {
        return all_rejected(encoded, DecodeError::BatchFull);
    };
    let protobuf = Encoded {
        positions: of_logs(&encoded.positions),
        arrivals: of_logs(&encoded.arrivals),
        written: of_logs(&encoded.written),
        ..protobuf
    };
    let mut decoded = decode_logs(&protobuf);
    // A log that is valid JSON is valid protobuf, so there is nothing else.
    for of_log in decoded.rejected.drain(..) {
        let record = records.get(of_log.record).copied().unwrap_or_default();
        rejected.push(Rejected { record, ..of_log });
    }
    rejected.sort_by_key(|rejected| rejected.record);
    rejected.dedup_by_key(|rejected| rejected.record);
    Decoded { rejected, empty: decoded.empty + empty, ..decoded }
}
