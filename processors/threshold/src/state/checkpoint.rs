//! Alarms as versions of Weir before 2026-11-30 kept them: one value, a line of JSON for each checkpoint, the
//! oldest first. It is read once, by the first start of a later version.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use crate::evaluation::series::Series;
use crate::evaluation::windows::WindowStream;
use crate::state::remembered::LogEntry;

const VERSION: u32 = 1;

/// Every series after some windows.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Checkpoint {
    #[serde(rename = "v")]
    version: u32,
    /// The end of the last window evaluated, in nanoseconds, for each stream.
    ends: Vec<(WindowStream, i64)>,
    series: Vec<Series>,
}

/// The checkpoints as changes.
///
/// # Errors
/// The fault in them.
pub(crate) fn read(value: &[u8]) -> Result<Vec<LogEntry>, String> {
    let mut entries = Vec::new();
    let mut known: BTreeMap<WindowStream, (i64, BTreeSet<String>)> = BTreeMap::new();
    for line in value.split(|byte| *byte == b'\n') {
        let Checkpoint { version, ends, series } =
            serde_json::from_slice(line).map_err(|error| error.to_string())?;
        if version != VERSION {
            return Err(format!("version {version} instead of {VERSION}"));
        }
        for (stream, end) in ends {
            let set: Vec<Series> = series.iter().filter(|series| series.stream == stream).cloned().collect();
            let keys: BTreeSet<String> = set.iter().map(Series::key).collect();
            let (last, before) = known.entry(stream.clone()).or_insert((i64::MIN, BTreeSet::new()));
            // Windows that were evaluated once more after a restart.
            if end < *last {
                entries.push(LogEntry::Back { stream: stream.clone(), limit: Some(end.saturating_sub(1)) });
            }
            let gone = before.difference(&keys).cloned().collect();
            *last = end;
            before.extend(keys);
            entries.push(LogEntry::Changed { stream, end, set, gone });
        }
    }
    Ok(entries)
}
