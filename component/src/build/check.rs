//! Checking what a section says beyond the types of its keys.

use arrow::datatypes::DataType;
use weir_config::{Diagnostic, Diagnostics, Duration};
use weir_pdata::expr::{Expr, ExprError};
use weir_pdata::{Signal, schema};

use super::Settings;
use crate::exporter_helper::HelperConfig;

/// The longest length of event time: 400 days in milliseconds.
const LONGEST: i64 = 400 * 86_400_000;

/// A section and what is wrong with it. Keys are paths within the section, as for [`Settings::error_at`].
pub struct Check<'a> {
    settings: Settings<'a>,
    found: Diagnostics,
}

impl<'a> Check<'a> {
    /// Nothing is wrong so far.
    #[must_use]
    pub fn new(settings: Settings<'a>) -> Check<'a> {
        Check { settings, found: Diagnostics::new() }
    }

    /// Notes an error at a key.
    pub fn wrong(&mut self, key: &str, message: impl Into<String>) {
        self.found.push(self.settings.error_at(key, message));
    }

    /// Notes errors, each at its key.
    pub fn all<K: AsRef<str>, M: Into<String>>(&mut self, problems: impl IntoIterator<Item = (K, M)>) {
        problems.into_iter().for_each(|(key, message)| self.wrong(key.as_ref(), message));
    }

    /// Notes what is wrong with `queue`, `batch`, `retry` and `timeout`.
    pub fn helper(&mut self, helper: &HelperConfig) {
        self.all(helper.problems());
    }

    /// That one export runs at a time: `why`.
    pub fn one_export_at_a_time(&mut self, helper: &HelperConfig, why: &str) {
        if helper.queue.concurrency > 1 {
            self.wrong("queue.concurrency", format!("{why}: must be 1"));
        }
    }

    /// Whether nothing was noted.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.found.is_empty()
    }

    /// Notes an error of an expression: the first line says what is wrong; the others show the place in it.
    pub fn bad_expression(&mut self, key: &str, error: &ExprError) {
        let text = error.to_string();
        let mut lines = text.lines();
        let first = self.settings.error_at(key, lines.next().unwrap_or_default());
        self.found.push(lines.fold(first, Diagnostic::with_help));
    }

    /// A condition, when it is one.
    pub fn condition(&mut self, key: &str, text: &str) -> Option<Expr> {
        Expr::parse_condition(text).map_err(|error| self.bad_expression(key, &error)).ok()
    }

    /// Names that are read of events of these signals. One that is a column of another signal only would be
    /// NULL in all of them, also where an attribute has that name.
    pub fn columns<'n>(&mut self, key: &str, names: impl IntoIterator<Item = &'n str>, signals: &[Signal]) {
        let events = [Signal::Traces, Signal::Logs, Signal::Metrics];
        if signals.is_empty() || signals.iter().any(|signal| !events.contains(signal)) {
            return;
        }
        for name in names {
            let others: Vec<&str> = events
                .iter()
                .filter(|signal| schema::is_fixed(**signal, name))
                .map(|signal| signal.name())
                .collect();
            if others.is_empty() || signals.iter().any(|signal| schema::is_fixed(*signal, name)) {
                continue;
            }
            let own: Vec<&str> = signals.iter().map(|signal| signal.name()).collect();
            let message = format!(
                "`{name}` is a column of {}, and {} have none; an attribute of that name is `attr.{name}`",
                others.join(" and "),
                own.join(" and ")
            );
            self.wrong(key, message);
        }
    }

    /// A length of event time: whole milliseconds up to 400 days. Of a wrong one a length within these
    /// bounds.
    pub fn millis(&mut self, key: &str, duration: Duration) -> i64 {
        let millis = duration.as_millis();
        if millis > LONGEST {
            self.wrong(key, "must not be more than 400d");
        } else if !duration.get().subsec_nanos().is_multiple_of(1_000_000) {
            self.wrong(key, format!("`{duration}` is not a whole number of milliseconds; event times are"));
        }
        millis.min(LONGEST)
    }

    /// A bound from 1.
    pub fn count(&mut self, key: &str, count: u32) -> usize {
        if count == 0 {
            self.wrong(key, "must be at least 1");
        }
        usize::try_from(count).unwrap_or(usize::MAX)
    }

    /// That `key` names a time column which all batches of the signal have.
    pub fn time_column(&mut self, key: &str, column: &str, signal: Signal) {
        let fields = schema::fixed(signal).iter();
        let times = fields.filter(|field| matches!(field.data_type(), DataType::Timestamp(..)));
        let times: Vec<&str> = times.map(|field| field.name().as_str()).collect();
        if !times.contains(&column) {
            let message = format!("{signal} have no time column `{column}`; they have {}", times.join(", "));
            self.wrong(key, message);
        }
    }

    /// `value`, which is there unless something was noted; or everything that is wrong.
    ///
    /// # Errors
    /// The errors noted.
    pub fn finish_some<T>(self, value: Option<T>) -> Result<T, Diagnostics> {
        match value {
            Some(value) => self.finish(value),
            None => Err(self.found),
        }
    }

    /// `value`, or everything that is wrong.
    ///
    /// # Errors
    /// The errors noted.
    pub fn finish<T>(self, value: T) -> Result<T, Diagnostics> {
        self.found.into_result(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use weir_config::{Document, SourceText, Topology};

    /// The errors after `notes`, without the excerpt of the file.
    fn after(notes: impl FnOnce(&mut Check<'_>)) -> Vec<String> {
        let text = "receivers: {file: {}}\nexporters: {nop: {}}\nservice: {pipelines: {main: {receivers: [file], exporters: [nop]}}}\n";
        let document = Document::load(vec![SourceText::new("weir.yaml", text)], &[], &|_| None).unwrap();
        let topology = Topology::read(&document).unwrap();
        let mut check = Check::new(Settings::new(&document, &topology.receivers[0]));
        notes(&mut check);
        let found = check.finish(()).map_or_else(|found| found.to_string(), |()| String::new());
        let told =
            found.lines().filter(|line| ["error:", "  = "].iter().any(|start| line.starts_with(start)));
        told.map(str::to_owned).collect()
    }

    #[test]
    fn what_fits_is_no_error() {
        let found = after(|check| {
            assert!(check.condition("where", "kind = 'server'").is_some());
            assert_eq!(check.millis("within", Duration::from_secs(400 * 86_400)), LONGEST);
            assert_eq!(check.count("max_keys", 1), 1);
            check.time_column("time", "end_time", Signal::Traces);
        });
        assert_eq!(found, Vec::<String>::new());
    }

    #[test]
    fn an_expression_is_shown_below_what_is_wrong_with_it() {
        let found = after(|check| assert_eq!(check.condition("where", "kind = "), None));
        assert!(found[0].starts_with("error: ") && found[1] == "  = path: receivers.file.where", "{found:?}");
        assert_eq!(found[2..], ["  = help:   kind = ", "  = help:          ^ column 8"]);
    }

    #[test]
    fn lengths_and_counts_have_bounds() {
        let found = after(|check| {
            assert_eq!(check.millis("a", Duration::from_secs(400 * 86_400 + 1)), LONGEST);
            check.millis("b", "1500us".parse().unwrap());
            check.count("c", 0);
            check.time_column("d", "service", Signal::Traces);
        });
        let errors: Vec<&String> = found.iter().filter(|line| line.starts_with("error")).collect();
        assert_eq!(
            errors,
            [
                "error: must not be more than 400d",
                "error: `1ms500us` is not a whole number of milliseconds; event times are",
                "error: must be at least 1",
                "error: traces have no time column `service`; they have time, end_time",
            ]
        );
    }
}
