//! Lines to batches, in the order of the file.
//!
//! Consecutive lines of one kind form a batch. Most files hold one kind, so all lines are read together
//! first; only when that gives several batches is each line's kind looked at, to find where one ends and the
//! next begins.

use std::ops::Range;

use arrow::array::RecordBatch;
use serde::Deserialize;
use serde::de::IgnoredAny;
use weir_pdata::json::JsonLines;
use weir_pdata::{Projection, Signal};

use crate::lines::Chunk;

/// The content of the lines of a chunk.
#[derive(Debug, Default)]
pub(crate) struct Batches {
    /// Batches in the order of their lines, and the numbers of those lines.
    pub batches: Vec<(Signal, RecordBatch, Range<i64>)>,
    /// Indices of lines that are no events, and why.
    pub rejected: Vec<(usize, String)>,
    /// Lines that are blank, or segments without spans.
    pub empty: usize,
    /// Spans that end before they start.
    pub backwards: usize,
}

/// Reads chunks. Remembers whether the file mixes kinds, to not try in vain each time.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    mixed: bool,
}

impl Reader {
    /// The batches in the lines of `chunk`.
    pub(crate) fn read(&mut self, chunk: &Chunk, projection: &Projection) -> Batches {
        let all = 0..chunk.len();
        let mut batches = Batches::default();
        if all.is_empty() {
            return batches;
        }
        if !self.mixed {
            let together = read(chunk, all.clone(), projection);
            if together.batches.len() <= 1 {
                batches.add(chunk, all, together);
                return batches;
            }
        }
        let runs = runs(chunk);
        self.mixed = runs.len() > 1;
        for run in runs {
            let lines = read(chunk, run.clone(), projection);
            batches.add(chunk, run, lines);
        }
        batches
    }
}

impl Batches {
    fn add(&mut self, chunk: &Chunk, run: Range<usize>, lines: JsonLines) {
        let numbers = chunk.number(run.start)..chunk.number(run.end - 1) + 1;
        let batches = lines.batches.into_iter();
        self.batches.extend(batches.map(|(signal, columns)| (signal, columns, numbers.clone())));
        let rejected = lines.rejected.into_iter();
        self.rejected.extend(rejected.map(|line| (run.start + line.line, line.reason.to_string())));
        self.empty += lines.empty;
        self.backwards += lines.backwards;
    }
}

fn read(chunk: &Chunk, run: Range<usize>, projection: &Projection) -> JsonLines {
    JsonLines::read(run.map(|index| chunk.line(index)), projection)
}

/// The kind of a line, as far as it decides which batch the line belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Kind {
    /// An event in Weir's own form: its signal as written.
    Own(String),
    /// A request of OTLP.
    Request(Signal),
    /// Another object without a signal.
    Segment,
    /// Not readable: whatever stands around it, it ends no batch.
    Any,
}

/// The part of an event that tells its kind.
#[derive(Deserialize)]
struct Head {
    signal: Option<String>,
    #[serde(rename = "resourceSpans", alias = "resource_spans")]
    spans: Option<IgnoredAny>,
    #[serde(rename = "resourceLogs", alias = "resource_logs")]
    logs: Option<IgnoredAny>,
    #[serde(rename = "resourceMetrics", alias = "resource_metrics")]
    metrics: Option<IgnoredAny>,
}

fn kind(line: &[u8]) -> Kind {
    match serde_json::from_slice(line) {
        Ok(Head { signal: Some(signal), .. }) => Kind::Own(signal),
        Ok(Head { spans: Some(_), .. }) => Kind::Request(Signal::Traces),
        Ok(Head { logs: Some(_), .. }) => Kind::Request(Signal::Logs),
        Ok(Head { metrics: Some(_), .. }) => Kind::Request(Signal::Metrics),
        Ok(Head { .. }) => Kind::Segment,
        Err(_) => Kind::Any,
    }
}

/// Ranges of consecutive lines of one kind.
fn runs(chunk: &Chunk) -> Vec<Range<usize>> {
    let mut runs = Vec::new();
    let (mut start, mut current) = (0, Kind::Any);
    for index in 0..chunk.len() {
        let kind = kind(chunk.line(index));
        if kind == Kind::Any || kind == current {
            continue;
        }
        if current != Kind::Any {
            runs.push(start..index);
            start = index;
        }
        current = kind;
    }
    runs.push(start..chunk.len());
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines::Lines;

    const SPAN: &str = r#"{"signal":"traces","service":"pay","time":1}"#;
    const LOG: &str = r#"{"signal":"logs","body":"hello"}"#;
    const SEGMENT: &str =
        r#"{"traceId":"t","traceSegmentId":"s","service":"pay","spans":[{"spanId":0},{"spanId":1}]}"#;

    fn chunk(lines: &[&str]) -> Chunk {
        let text = lines.join("\n") + "\n";
        let mut chunk = Chunk::default();
        Lines::new(text.as_bytes(), 10_000).fill(&mut chunk, 1000, 1 << 20).unwrap();
        chunk
    }

    /// Signal, rows and line numbers of each batch.
    fn shape(batches: &Batches) -> Vec<(Signal, usize, Range<i64>)> {
        let all = batches.batches.iter();
        all.map(|(signal, columns, lines)| (*signal, columns.num_rows(), lines.clone())).collect()
    }

    #[test]
    fn lines_of_one_signal_are_one_batch_and_bad_ones_are_named() {
        let chunk = chunk(&[SPAN, "", "no JSON", SPAN]);
        let batches = Reader::default().read(&chunk, &Projection::everything());
        assert_eq!(shape(&batches), [(Signal::Traces, 2, 1..5)]);
        assert_eq!((batches.empty, batches.rejected.len(), batches.rejected[0].0), (1, 1, 2));
    }

    #[test]
    fn mixed_lines_keep_their_order() {
        let lines = [SPAN, SPAN, "bad", LOG, SEGMENT, SPAN, r#"{"signal":7}"#, "{}"];
        let mut reader = Reader::default();
        for _ in 0..2 {
            let batches = reader.read(&chunk(&lines), &Projection::everything());
            let expected = [
                (Signal::Traces, 2, 1..4),
                (Signal::Logs, 1, 4..5),
                (Signal::Traces, 2, 5..6),
                (Signal::Traces, 1, 6..8),
            ];
            assert_eq!(shape(&batches), expected);
            let rejected: Vec<usize> = batches.rejected.iter().map(|(index, _)| *index).collect();
            assert_eq!(rejected, [2, 6, 7]);
        }
        assert_eq!(shape(&reader.read(&chunk(&[LOG]), &Projection::everything())), [(Signal::Logs, 1, 1..2)]);
        assert!(!reader.mixed, "it learns that the file is of one kind again");
    }

    #[test]
    fn requests_of_otlp_keep_their_order() {
        let spans = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{},{}]}]}]}"#;
        let logs = r#"{"resource_logs":[{"scope_logs":[{"log_records":[{}]}]}]}"#;
        let lines = [spans, spans, logs, SEGMENT, spans];
        let batches = Reader::default().read(&chunk(&lines), &Projection::everything());
        let expected = [
            (Signal::Traces, 4, 1..3),
            (Signal::Logs, 1, 3..4),
            (Signal::Traces, 2, 4..5),
            (Signal::Traces, 2, 5..6),
        ];
        assert_eq!(shape(&batches), expected);
    }

    #[test]
    fn no_lines_are_no_batches() {
        let batches = Reader::default().read(&Chunk::default(), &Projection::everything());
        assert!(batches.batches.is_empty() && batches.rejected.is_empty());
    }
}
