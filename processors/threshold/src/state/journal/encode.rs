//! Entries as records of the journal.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::evaluation::series::Series;
use crate::state::remembered::LogEntry;

/// Lengths in bytes.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    /// Of a log that is not replaced.
    pub(crate) shortest: u64,
    /// Of a record with several series.
    pub(crate) record: u64,
    /// Of a whole.
    pub(crate) most: u64,
}

pub(crate) fn bytes(records: &[Vec<u8>]) -> u64 {
    records.iter().map(|record| length(record)).sum()
}

pub(crate) fn length(record: &[u8]) -> u64 {
    record.len() as u64
}

/// Texts and numbers always become JSON.
pub(crate) fn json(entry: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(entry).unwrap_or_default()
}

/// Entries as JSON, and the rule and length of a series that is too long to be kept.
pub(crate) fn encode(entries: &[LogEntry], limits: Limits) -> (Vec<Vec<u8>>, Vec<LeftOut>) {
    let (mut records, mut left_out) = (Vec::with_capacity(entries.len()), Vec::new());
    entries.iter().for_each(|entry| encode_one(entry, limits, &mut records, &mut left_out));
    (records, left_out)
}

/// An entry in several records when it is long: after a crash in between, windows that come again say the
/// rest.
fn encode_one(entry: &LogEntry, limits: Limits, records: &mut Vec<Vec<u8>>, left_out: &mut Vec<LeftOut>) {
    let record = json(entry);
    match entry {
        LogEntry::Changed { stream, end, set, gone }
            if length(&record) > limits.record && set.len() + gone.len() > 1 =>
        {
            let half = (set.split_at(set.len() / 2), gone.split_at(gone.len() / 2));
            for (set, gone) in [(half.0.0, half.1.0), (half.0.1, half.1.1)] {
                if !set.is_empty() || !gone.is_empty() {
                    let (stream, set, gone) = (stream.clone(), set.to_vec(), gone.to_vec());
                    encode_one(
                        &LogEntry::Changed { stream, end: *end, set, gone },
                        limits,
                        records,
                        left_out,
                    );
                }
            }
        }
        LogEntry::Changed { stream, end, set, .. } if length(&record) > limits.most => {
            left_out.extend(set.iter().map(|series| LeftOut::new(series, length(&record))));
            let (stream, end) = (stream.clone(), *end);
            records.push(json(&LogEntry::Changed { stream, end, set: Vec::new(), gone: Vec::new() }));
        }
        _ => records.push(record),
    }
}

/// A whole as JSON, without the series for which there is no room. One that is left out is left out
/// everywhere.
pub(crate) fn encode_whole(mut entries: Vec<LogEntry>, limits: Limits) -> (Vec<Vec<u8>>, Vec<LeftOut>) {
    let (records, mut left_out) = encode(&entries, limits);
    if left_out.is_empty() && bytes(&records) <= limits.most {
        return (records, left_out);
    }
    let mut sizes: HashMap<String, u64> = HashMap::new();
    let mut taken = 0;
    for entry in &entries {
        let LogEntry::Changed { stream, end, set, gone } = entry else { continue };
        let (stream, end) = (stream.clone(), *end);
        taken += length(&json(&LogEntry::Changed { stream, end, set: Vec::new(), gone: Vec::new() }));
        set.iter().for_each(|series| *sizes.entry(series.key()).or_default() += length(&json(series)) + 1);
        gone.iter().for_each(|key| *sizes.entry(key.clone()).or_default() += length(&json(key)) + 1);
    }
    let room = limits.most.saturating_sub(taken);
    // The small ones first: that keeps the most of them.
    let mut order: Vec<(u64, String)> = sizes.into_iter().map(|(key, size)| (size, key)).collect();
    order.sort_unstable();
    let mut used = 0;
    let fits = |(size, _): &(u64, String)| {
        used += size;
        used <= room
    };
    let kept: HashSet<String> = order.into_iter().take_while(fits).map(|(_, key)| key).collect();
    left_out.clear();
    for entry in &mut entries {
        if let LogEntry::Changed { set, gone, .. } = entry {
            let without = set.extract_if(.., |series| !kept.contains(&series.key()));
            left_out.extend(without.map(|series| LeftOut::new(&series, length(&json(&series)))));
            gone.retain(|key| kept.contains(key));
        }
    }
    (encode(&entries, limits).0, left_out)
}

/// A series that is not kept.
pub(crate) struct LeftOut {
    pub(crate) rule: Arc<str>,
    pub(crate) bytes: u64,
}

impl LeftOut {
    fn new(series: &Series, bytes: u64) -> LeftOut {
        LeftOut { rule: series.name.clone(), bytes }
    }
}
