//! Writing results for people and programs.

use std::io::{self, Write};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use clap::ValueEnum;
use datafusion::arrow::csv;
use datafusion::arrow::json::writer::{LineDelimited, WriterBuilder};
use datafusion::arrow::util::display::{ArrayFormatter, FormatOptions};
use datafusion::execution::SendableRecordBatchStream;
use futures::StreamExt;

use crate::commands::printable::printable;

/// How the result of a query is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// For people: a table, or one column a line where a table would be too wide. At most 1000 rows
    Table,
    /// One JSON object a line
    Json,
    /// Comma-separated values with a header
    Csv,
}

/// A table shows this many rows; the others are counted.
const SHOWN_ROWS: usize = 1_000;
/// Longer cells of a table are cut.
const CELL: usize = 60;
/// A table wider than this is written one column a line.
const WIDTH: usize = 200;

/// Writes a result as it comes.
pub(super) async fn write(
    mut stream: SendableRecordBatchStream,
    format: OutputFormat,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let schema = stream.schema();
    let mut table = Table::new(&schema);
    let mut header = format == OutputFormat::Csv;
    while let Some(batch) = stream.next().await {
        let batch = batch?;
        let text = match format {
            OutputFormat::Table => {
                table.add(&batch)?;
                continue;
            }
            OutputFormat::Json => json(&batch)?,
            OutputFormat::Csv => csv(&batch, std::mem::take(&mut header))?,
        };
        if !deliver(&text, out)? {
            return Ok(());
        }
    }
    let end = match format {
        OutputFormat::Table => table.finish().into_bytes(),
        OutputFormat::Csv if header => csv(&RecordBatch::new_empty(schema), true)?,
        OutputFormat::Csv | OutputFormat::Json => Vec::new(),
    };
    deliver(&end, out)?;
    Ok(())
}

/// Whether anybody still reads.
fn deliver(text: &[u8], out: &mut impl Write) -> io::Result<bool> {
    match out.write_all(text).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error),
    }
}

fn json(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let mut writer = WriterBuilder::new().with_explicit_nulls(true).build::<_, LineDelimited>(Vec::new());
    writer.write(batch)?;
    writer.finish()?;
    Ok(writer.into_inner())
}

fn csv(batch: &RecordBatch, header: bool) -> Result<Vec<u8>, ArrowError> {
    let mut text = Vec::new();
    csv::WriterBuilder::new().with_header(header).build(&mut text).write(&without_nesting(batch)?)?;
    Ok(text)
}

/// CSV knows no lists and maps: they become the text that a table shows.
fn without_nesting(batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    let mut fields = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for (field, column) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        if field.data_type().is_nested() {
            let texts = ArrayFormatter::try_new(column, &FormatOptions::new())?;
            let text = |row| column.is_valid(row).then(|| texts.value(row).to_string());
            columns.push(Arc::new((0..column.len()).map(text).collect::<StringArray>()));
            fields.push(Field::new(field.name(), DataType::Utf8, true));
        } else {
            columns.push(column.clone());
            fields.push(field.as_ref().clone());
        }
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)
}

/// A result as text for a terminal.
struct Table {
    headers: Vec<String>,
    numeric: Vec<bool>,
    rows: Vec<Vec<String>>,
    total: usize,
}

impl Table {
    fn new(schema: &SchemaRef) -> Table {
        Table {
            headers: schema.fields().iter().map(|field| printable(field.name())).collect(),
            numeric: schema.fields().iter().map(|field| field.data_type().is_numeric()).collect(),
            rows: Vec::new(),
            total: 0,
        }
    }

    fn add(&mut self, batch: &RecordBatch) -> Result<(), ArrowError> {
        self.total += batch.num_rows();
        let shown = batch.num_rows().min(SHOWN_ROWS - self.rows.len());
        let options = FormatOptions::new();
        let columns = batch.columns().iter().map(|column| ArrayFormatter::try_new(column, &options));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        for row in 0..shown {
            let cells =
                columns.iter().map(|column| column.value(row).try_to_string().map(|text| printable(&text)));
            self.rows.push(cells.collect::<Result<_, _>>()?);
        }
        Ok(())
    }

    fn finish(self) -> String {
        let widths: Vec<usize> = (0..self.headers.len())
            .map(|column| {
                let cells = self.rows.iter().map(|row| length(&row[column]).min(CELL));
                cells.chain([length(&self.headers[column])]).max().unwrap_or(0)
            })
            .collect();
        let width = widths.iter().map(|width| width + 2).sum::<usize>();
        let mut text = if width > WIDTH && !self.rows.is_empty() { self.tall() } else { self.wide(&widths) };
        let rows = if self.total == 1 { "1 row".to_owned() } else { format!("{} rows", self.total) };
        match self.total - self.rows.len() {
            0 => text.push_str(&format!("({rows})\n")),
            _ => text.push_str(&format!(
                "({rows}; the first {SHOWN_ROWS} are shown; LIMIT, or --format csv or json, shows others)\n"
            )),
        }
        text
    }

    fn wide(&self, widths: &[usize]) -> String {
        let line = |cells: &[String]| {
            let cells = cells.iter().zip(widths).zip(&self.numeric).map(|((cell, width), numeric)| {
                let cell = cut(cell);
                let blanks = " ".repeat(width.saturating_sub(length(&cell)));
                if *numeric { format!("{blanks}{cell}") } else { format!("{cell}{blanks}") }
            });
            format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
        };
        let mut text = line(&self.headers);
        text.push_str(&widths.iter().map(|width| "-".repeat(*width)).collect::<Vec<_>>().join("  "));
        text.push('\n');
        text.extend(self.rows.iter().map(|row| line(row)));
        text
    }

    /// One column a line, without those that are null.
    fn tall(&self) -> String {
        let width = self.headers.iter().map(|header| length(header)).max().unwrap_or(0);
        let mut text = String::new();
        for (number, row) in (1..).zip(&self.rows) {
            text.push_str(&format!("--- row {number}\n"));
            for (header, cell) in self.headers.iter().zip(row).filter(|(_, cell)| !cell.is_empty()) {
                text.push_str(&format!("{header}{}  {cell}\n", " ".repeat(width - length(header))));
            }
        }
        text
    }
}

fn length(text: &str) -> usize {
    text.chars().count()
}

fn cut(text: &str) -> String {
    if length(text) <= CELL {
        return text.to_owned();
    }
    text.chars().take(CELL - 1).chain(['…']).collect()
}
