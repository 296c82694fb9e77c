//! What time does to series: alarms that begin and end without a window.

use std::sync::Arc;

use weir_alarms::Alarm;

use crate::evaluation::no_data::{self, Next};
use crate::evaluation::reports::Reports;
use crate::evaluation::rows::finish;
use crate::evaluation::series::Series;
use crate::evaluation::series_table::{SeriesName, SeriesTable};
use crate::evaluation::windows::Window;
use crate::rule::Rule;

impl SeriesTable {
    /// No window that ends at or before `now` comes any more. Gives the series of which something is told.
    pub(crate) fn elapse(
        &mut self,
        now: i64,
        epoch: i64,
        alarms: &mut Vec<Alarm>,
        reports: &Reports,
    ) -> Vec<SeriesName> {
        let mut told = Vec::new();
        while let Some(key) = self.deadlines.next_due(now) {
            told.extend(self.elapse_series(&key, now, epoch, alarms, reports));
        }
        told
    }

    /// Nothing has come for this long, in nanoseconds, of any input.
    pub(crate) fn elapse_silence(
        &mut self,
        silence: i64,
        epoch: i64,
        alarms: &mut Vec<Alarm>,
        reports: &Reports,
    ) -> Vec<SeriesName> {
        let is_due = |series: &Series| {
            let is_over = series.is_over && series.state.is_rest();
            let rule = series.rule.as_ref().filter(|_| !is_over)?;
            let no_data = rule.no_data.filter(|_| series.silent.is_none()).map(|no_data| no_data.after);
            let first = no_data.into_iter().chain(rule.resolve_without_data).min()?;
            (first <= silence).then(|| series.last_end.saturating_add(silence))
        };
        let due = self.series.iter().filter_map(|(key, series)| Some((key.clone(), is_due(series)?)));
        let mut due: Vec<(String, i64)> = due.collect();
        due.sort_unstable();
        due.into_iter()
            .filter_map(|(key, now)| self.elapse_series(&key, now, epoch, alarms, reports))
            .collect()
    }

    /// The series, if something is told of it.
    fn elapse_series(
        &mut self,
        key: &str,
        now: i64,
        epoch: i64,
        alarms: &mut Vec<Alarm>,
        reports: &Reports,
    ) -> Option<SeriesName> {
        let series = self.series.get_mut(key)?;
        let rule = series.rule.clone()?;
        let name = (key.to_owned(), series.stream.clone());
        let (before, was_over) = (alarms.len(), series.is_over);
        let next = no_data::elapse(series, key, &rule, now, alarms);
        if series.is_over && !was_over && alarms.len() == before {
            self.changed.extend([name.clone()]);
        }
        match next {
            Next::Never => {}
            Next::At(at) => self.deadlines.watch(key, at),
            Next::Gone => {
                self.past_unchecked = true;
                self.series.remove(key);
                if alarms.len() == before {
                    self.changed.extend([name.clone()]);
                }
            }
        }
        let said = alarms.get_mut(before..).unwrap_or_default();
        said.iter_mut().for_each(|alarm| finish(alarm, &rule, &name.1, epoch, reports));
        (!said.is_empty()).then_some(name)
    }

    /// What happened to a series between its last window and this one.
    pub(super) fn elapse_before(
        &mut self,
        key: &str,
        rule: &Arc<Rule>,
        window: &Window,
        epoch: i64,
        alarms: &mut Vec<Alarm>,
        reports: &Reports,
    ) {
        let Some(series) = self.series.get_mut(key).filter(|series| series.last_end < window.end) else {
            return;
        };
        let before = alarms.len();
        let next = no_data::elapse(series, key, rule, window.end.saturating_sub(1), alarms);
        for alarm in alarms.get_mut(before..).unwrap_or_default() {
            finish(alarm, rule, &series.stream, epoch, reports);
        }
        if next == Next::Gone
            && let Some(series) = self.series.remove(key)
        {
            self.past_unchecked = true;
            self.changed.insert(key.to_owned(), series.stream);
        }
    }
}
