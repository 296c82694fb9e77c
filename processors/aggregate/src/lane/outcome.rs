//! Whether events failed.

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use weir_pdata::expr::Failures;
use weir_pdata::text::TextColumn;
use weir_pdata::{Signal, schema};

use crate::operator::Operator;

/// The outcomes of the events of one batch.
pub(crate) struct Outcomes<'a> {
    /// What `success` says.
    success: Option<BooleanArray>,
    /// The signal has a status.
    with_status: bool,
    errors: Errors<'a>,
}

/// Which rows have `status` = `error`.
enum Errors<'a> {
    None,
    Text(TextColumn<'a>),
    /// One answer per dictionary value.
    Dictionary(TextColumn<'a>, Vec<bool>),
}

impl<'a> Outcomes<'a> {
    /// Reads a batch of `signal`.
    pub(crate) fn read(
        batch: &'a RecordBatch,
        signal: Signal,
        operator: &Operator,
        failures: &mut Failures,
    ) -> Outcomes<'a> {
        let with_status = schema::is_fixed(signal, "status");
        let status = batch.column_by_name("status").filter(|_| with_status);
        let success = operator.success.as_ref().and_then(|success| {
            success.truth(batch, failures).map_err(|error| failures.add(batch.num_rows(), error)).ok()
        });
        Outcomes { success, with_status, errors: status.map_or(Errors::None, Errors::read) }
    }

    /// Whether the event of a row failed. `None`: nothing says so.
    pub(crate) fn failed(&self, row: usize) -> Option<bool> {
        match &self.success {
            Some(success) if success.is_valid(row) => Some(!success.value(row)),
            _ => self.with_status.then(|| self.errors.get(row)),
        }
    }
}

impl<'a> Errors<'a> {
    fn read(array: &'a ArrayRef) -> Errors<'a> {
        let Some(text) = TextColumn::new(array) else { return Errors::None };
        let is_error = |value: Option<&str>| value == Some("error");
        match text {
            TextColumn::DictionaryOfViews(_, values) if values.len() <= array.len() => {
                Errors::Dictionary(text, values.iter().map(is_error).collect())
            }
            TextColumn::Dictionary(_, values) if values.len() <= array.len() => {
                Errors::Dictionary(text, values.iter().map(is_error).collect())
            }
            _ => Errors::Text(text),
        }
    }

    fn get(&self, row: usize) -> bool {
        match self {
            Errors::None => false,
            Errors::Text(text) => text.get(row) == Some("error"),
            Errors::Dictionary(text, errors) => text.dictionary().is_some_and(|(dictionary, _)| {
                let key = dictionary.key(row);
                key.and_then(|key| errors.get(key)).copied().unwrap_or(false)
            }),
        }
    }
}
