//! Lines to columns.

use arrow::array::RecordBatch;
use prost::Message;

use super::line_error::LineError;
use super::parse::parse;
use super::segment;
use super::table::Table;
use super::value::Json;
use crate::{DecodeError, Encoded, Format, Projection, Signal, decode, otlp};

/// The content of some JSON lines.
#[derive(Clone, Debug, Default)]
pub struct JsonLines {
    /// Their events, at most one batch a signal in own form, then one of the spans of SkyWalking segments,
    /// then one for each kind of OTLP request. Within a batch, in the order of the lines.
    pub batches: Vec<(Signal, RecordBatch)>,
    /// The lines that are no events, in order. Nothing of them is in `batches`, but of a
    /// [line with unusable items](LineError::Items) the others.
    pub rejected: Vec<RejectedLine>,
    /// Lines that are blank, segments without spans, and requests without items.
    pub empty: usize,
    /// Spans that end before they start, or whose line gives a negative duration. Their times stay, their
    /// duration is 0.
    pub backwards: usize,
}

/// A line that is not an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedLine {
    /// The index of the line among those given, from 0.
    pub line: usize,
    /// Why.
    pub reason: LineError,
}

impl JsonLines {
    /// Reads lines, without their line ends: each one event in Weir's own form, one SkyWalking
    /// `SegmentObject` in protobuf's JSON form, or one OTLP request in [OTLP's JSON](crate::otlp::from_json).
    ///
    /// Of traces, logs and metrics only what `projection` asks for is built; windows and alarms always whole.
    /// The columns of traces, logs, metrics and alarms depend on the projection only; those of windows on the
    /// lines too. Never fails as a whole: see [`JsonLines::rejected`].
    #[must_use]
    pub fn read<'a>(lines: impl IntoIterator<Item = &'a [u8]>, projection: &Projection) -> JsonLines {
        let mut read = JsonLines::default();
        let mut tables = Signal::ALL.map(|signal| Table::new(signal, projection));
        let mut records = Vec::new();
        for (line, bytes) in lines.into_iter().enumerate() {
            if bytes.trim_ascii().is_empty() {
                read.empty += 1;
                continue;
            }
            if let Err(reason) = read_line(bytes, line, &mut tables, &mut records) {
                read.rejected.push(RejectedLine { line, reason });
            }
        }
        for table in tables {
            read.backwards += table.backwards;
            let (signal, lines) = (table.signal, table.lines.clone());
            match table.finish() {
                Ok(batch) if batch.num_rows() > 0 => read.batches.push((signal, batch)),
                Ok(_) => {}
                // Cells are read for their columns, so this would be a mistake in this module. Lose nothing,
                // say so.
                Err(error) => read.rejected.extend(
                    lines
                        .into_iter()
                        .map(|line| RejectedLine { line, reason: LineError::Columns(error.to_string()) }),
                ),
            }
        }
        for format in [Format::SkyWalkingSegment, Format::OtlpTraces, Format::OtlpLogs, Format::OtlpMetrics] {
            read.decode(format, &records, projection);
        }
        read.rejected.sort_by_key(|rejected| rejected.line);
        read
    }

    /// Decodes the records of a format.
    fn decode(&mut self, format: Format, records: &[LineRecord], projection: &Projection) {
        let records: Vec<&LineRecord> = records.iter().filter(|record| record.format == format).collect();
        if records.is_empty() {
            return;
        }
        let Ok(encoded) = Encoded::concat(format, records.iter().map(|record| &*record.bytes)) else {
            let reason = LineError::Record(DecodeError::BatchFull);
            let all = records.iter().map(|record| RejectedLine { line: record.line, reason: reason.clone() });
            self.rejected.extend(all);
            return;
        };
        let decoded = decode(&encoded, projection);
        self.empty += decoded.empty;
        self.backwards += decoded.backwards;
        let line = |at: usize| records.get(at).map(|record| record.line);
        self.rejected.extend(decoded.rejected.into_iter().filter_map(|rejected| {
            Some(RejectedLine { line: line(rejected.record)?, reason: rejected.reason.into() })
        }));
        self.rejected.extend(decoded.rejected_items.into_iter().filter_map(|part| {
            let reason = LineError::Items { items: part.items, reason: part.reason };
            Some(RejectedLine { line: line(part.record)?, reason })
        }));
        if decoded.columns.num_rows() > 0 {
            self.batches.push((format.signal(), decoded.columns));
        }
    }
}

/// The record that a line holds.
struct LineRecord {
    format: Format,
    line: usize,
    bytes: Vec<u8>,
}

fn read_line(
    bytes: &[u8],
    line: usize,
    tables: &mut [Table<'_>; 5],
    records: &mut Vec<LineRecord>,
) -> Result<(), LineError> {
    let fields = match parse(bytes).map_err(LineError::Json)? {
        Json::Object(fields) => fields,
        other => return Err(LineError::NotAnObject(other.kind())),
    };
    let signal = fields.iter().find(|(name, _)| name == "signal").map(|(_, signal)| signal);
    match signal {
        Some(Json::Text(name)) => {
            let signal = Signal::from_name(name).ok_or_else(|| LineError::Signal(format!("\"{name}\"")))?;
            tables[signal as usize].push(line, fields)
        }
        Some(other) => Err(LineError::Signal(other.kind().to_owned())),
        None if segment::is_segment(&fields) => {
            let segment =
                segment::segment(&fields).map_err(|(name, problem)| LineError::Field { name, problem })?;
            let bytes = segment.encode_to_vec();
            records.push(LineRecord { format: Format::SkyWalkingSegment, line, bytes });
            Ok(())
        }
        None => {
            let format = otlp::format_of(fields.iter().map(|(name, _)| name.as_str()));
            let format = format.ok_or(LineError::NotAnEvent)?;
            let bytes = otlp::from_tree(format, &Json::Object(fields))?;
            records.push(LineRecord { format, line, bytes });
            Ok(())
        }
    }
}
