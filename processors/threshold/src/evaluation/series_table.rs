//! The series that fire, are about to, or are watched for data: what a window, and what time does to them.
//!
//! * At most `max_series` are remembered. Above that, new ones raise no alarm: they are counted and logged.
//! * A window of a series comes once, or again with more in it. Then it is evaluated again from the state
//!   before it. So a series that its last window brought to rest is remembered until the next window.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::error::ArrowError;
use weir_alarms::{Alarm, series_key};

use crate::evaluation::alarm_state::AlarmState;
use crate::evaluation::deadlines::Deadlines;
use crate::evaluation::earlier::{values_of, with_earlier};
use crate::evaluation::no_data;
use crate::evaluation::past::{NewWindow, PastWindows, series_of};
use crate::evaluation::reports::Reports;
use crate::evaluation::rows::{Verdict, finish, tell};
use crate::evaluation::series::{Earlier, Series};
use crate::evaluation::windows::{Window, WindowStream};
use crate::rule::Rule;
use crate::rule_source::rule_set::RuleSet;
use crate::state::history::Changed;

/// All that is remembered of series.
pub(crate) struct SeriesTable {
    pub(super) series: HashMap<String, Series>,
    /// The rules of the series, and perhaps some that had series.
    rules: HashSet<Arc<str>>,
    /// Series at rest since their last window; at most as many.
    rested: HashMap<String, Series>,
    /// Series that have changed since this was last asked.
    pub(super) changed: HashMap<String, WindowStream>,
    pub(super) deadlines: Deadlines,
    max_series: usize,
    past: PastWindows,
    /// Series may be gone whose past windows are kept.
    pub(super) past_unchecked: bool,
}

/// Bounds of what is remembered.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    pub(crate) series: usize,
    /// Of all series.
    pub(crate) past_windows: usize,
}

/// A series by its key, and whose windows it reads.
pub(crate) type SeriesName = (String, WindowStream);

impl SeriesTable {
    pub(crate) fn new(bounds: Bounds) -> SeriesTable {
        SeriesTable {
            series: HashMap::new(),
            rules: HashSet::new(),
            rested: HashMap::new(),
            changed: HashMap::new(),
            deadlines: Deadlines::default(),
            max_series: bounds.series,
            past: PastWindows::new(bounds.past_windows),
            past_unchecked: false,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.series.len()
    }

    /// How many past windows are kept.
    pub(crate) fn past_windows(&self) -> usize {
        self.past.len()
    }

    /// Whether a window for which this rule does not hold may change something.
    pub(crate) fn may_have(&self, rule: &Arc<str>) -> bool {
        self.rules.contains(rule)
    }

    /// The series that have changed since this was last asked.
    pub(crate) fn take_changes(&mut self) -> Vec<Changed> {
        self.forget_past();
        let changed = std::mem::take(&mut self.changed).into_iter();
        let now = |(key, stream): SeriesName| {
            let series = self.series.get(&key).or(self.rested.get(&key)).cloned();
            let series = series.or_else(|| self.past_of(&key));
            (key, stream, series)
        };
        changed.map(now).collect()
    }

    /// The chunk of this key, as it is written down.
    fn past_of(&self, key: &str) -> Option<Series> {
        let (key, first) = series_of(key)?;
        let chunk = self.past.chunk(key, first)?;
        Some(self.series.get(key)?.of_past(Arc::clone(chunk)))
    }

    /// Forgets the past of series that are gone, or whose rule does not look back any more.
    fn forget_past(&mut self) {
        if !std::mem::take(&mut self.past_unchecked) || self.past.len() == 0 {
            return;
        }
        let (series, changed) = (&self.series, &mut self.changed);
        let is_kept = |key: &str, _: &WindowStream| {
            let series = series.get(key);
            series.is_some_and(|series| series.rule.as_ref().is_none_or(|rule| rule.look_back().is_some()))
        };
        self.past.retain(is_kept, &mut |key, stream| drop(changed.insert(key, stream.clone())));
    }

    /// These have changed, and nobody is to hear of that yet.
    pub(crate) fn hold_back(&mut self, names: &[SeriesName]) {
        for (key, _) in names {
            self.changed.remove(key);
        }
    }

    /// What happened to these may be written down.
    pub(crate) fn let_go(&mut self, names: Vec<SeriesName>) {
        self.changed.extend(names);
    }

    /// Remembers a series as it was kept.
    pub(crate) fn restore(&mut self, series: Series) {
        if let Some(chunk) = series.past.clone() {
            return self.past.restore(series.series_key(), series.stream, chunk);
        }
        self.rules.insert(series.name.clone());
        self.series.insert(series.key(), series);
    }

    /// Forgets the series of a shard, without a word.
    pub(crate) fn forget(&mut self, shard: u32) {
        self.series.retain(|_, series| series.stream.shard != shard);
        self.rested.retain(|_, series| series.stream.shard != shard);
        self.past.forget(shard);
        self.changed.retain(|_, stream| stream.shard != shard);
    }

    /// Forgets series whose next window never came: those at rest, and when there is no room those that were
    /// about to fire.
    pub(crate) fn forget_broken_runs(&mut self, evaluated_to: i64) {
        // Each rule of which nothing is left costs a look at each of its windows.
        if self.rules.len() > self.series.len().saturating_mul(2) {
            self.rules = self.series.values().map(|series| series.name.clone()).collect();
        }
        let missed = |series: &Series| series.last_end.saturating_add(series.size) < evaluated_to;
        let rested = self.rested.extract_if(|_, series| missed(series));
        self.changed.extend(rested.map(|(key, series)| (key, series.stream)));
        if self.series.len() < self.max_series {
            return;
        }
        self.past_unchecked = true;
        let broken = self.series.extract_if(|_, series| {
            let rule = series.rule.as_ref();
            rule.is_none_or(|rule| series.is_rest_but_for_a_run(rule, evaluated_to)) && missed(series)
        });
        self.changed.extend(broken.map(|(key, series)| (key, series.stream)));
    }

    /// Rules have changed: series go on under `newest`, and those without a rule are over, at the end of the
    /// last window that was evaluated. Gives the series of which something is told.
    pub(crate) fn take_up_rules(
        &mut self,
        newest: &RuleSet,
        evaluated_to: i64,
        alarms: &mut Vec<Alarm>,
    ) -> Vec<SeriesName> {
        self.past_unchecked = true;
        let mut told: Vec<(SeriesName, Vec<Alarm>)> = Vec::new();
        let (changed, deadlines) = (&mut self.changed, &mut self.deadlines);
        self.series.retain(|key, series| {
            let name = || (key.clone(), series.stream.clone());
            let rule = newest.get(&series.name);
            let is_known = |rule: &&Arc<Rule>| {
                // The choice of classic rules depends on the others.
                rule.inline().is_some() && series.rule.as_ref().is_some_and(|known| Arc::ptr_eq(known, rule))
            };
            let applies = |rule: &&Arc<Rule>| {
                is_known(rule) || newest.applies(rule, &series.stream.operator, &series.labels)
            };
            let Some(rule) = rule.filter(applies) else {
                changed.extend([name()]);
                let what = if rule.is_some() { "does not cover this any more" } else { "was removed" };
                let message = format!("resolved: {}: the rule {what}", series.name);
                let name = name();
                let mut ends = Vec::new();
                if let Some(severity) = series.told.end() {
                    ends.push(series.resolved(key, severity, message));
                }
                ends.extend(no_data::end(series, key, series.last_end));
                if !ends.is_empty() {
                    told.push((name, ends));
                }
                return false;
            };
            let is_same = series.rule.as_ref().is_some_and(|known| Arc::ptr_eq(known, rule));
            // What the rule was before a restart is not known: the run goes on.
            if !is_same && series.rule.as_ref().is_some_and(|known| known != rule) {
                series.state.forget_run();
                changed.extend([name()]);
            }
            series.rule = Some(rule.clone());
            if rule.no_data.is_none() && series.silent.is_some() {
                let name = name();
                told.push((name, no_data::end(series, key, evaluated_to).into_iter().collect()));
            }
            if !is_same {
                deadlines.watch(key, series.last_end);
            }
            true
        });
        let is_rest =
            |series: &Series| series.rule.as_ref().is_some_and(|rule| series.is_rest(rule, evaluated_to));
        let rested: Vec<_> = self.series.extract_if(|_, series| is_rest(series)).collect();
        rested.into_iter().for_each(|(key, series)| self.rest(key, series));
        told.sort_by(|((a, _), _), ((b, _), _)| a.cmp(b));
        let mut names = Vec::with_capacity(told.len());
        for (name, ends) in told {
            for alarm in ends {
                let end = evaluated_to.max(alarm.time);
                alarms.push(Alarm { time: end, ends_at: Some(end), epoch: newest.epoch, ..alarm });
            }
            names.push(name);
        }
        names
    }

    /// These windows of one end, with the columns that the rule reads of earlier ones.
    pub(crate) fn with_earlier(
        &self,
        rule: &Rule,
        batch: &RecordBatch,
        windows: &[&Window],
    ) -> Result<RecordBatch, ArrowError> {
        let key = |window: &&Window| series_key([&rule.name, &window.operator], &window.labels);
        let keys: Vec<String> = windows.iter().map(key).collect();
        let series = |at: usize| self.series.get(keys.get(at)?);
        let past = |at: usize, column: &str, end: i64| self.past.value(keys.get(at)?, column, end);
        with_earlier(batch, rule.earlier(), windows, series, past)
    }

    /// A series is at rest.
    fn rest(&mut self, key: String, series: Series) {
        if !series.earlier.state.is_rest() && self.rested.len() < self.max_series {
            self.rested.insert(key, series);
        }
    }

    /// Takes a verdict on a window.
    pub(crate) fn step(&mut self, verdict: Verdict<'_>, alarms: &mut Vec<Alarm>, reports: &Reports) {
        let Verdict { rule, windows, window, held, epoch } = verdict;
        let is_watched = rule.remembers_all();
        if held.is_none() && !is_watched && self.series.is_empty() {
            reports.metrics.evaluations.inc();
            return;
        }
        let is_active = rule.is_active(window.end);
        let held = held.filter(|_| is_active);
        let key = series_key([&rule.name, &window.operator], &window.labels);
        if is_watched || rule.resolve_without_data.is_some() {
            self.elapse_before(&key, rule, window, epoch, alarms, reports);
        }
        if let Some(rested) = self.rested.remove(&key) {
            self.changed.insert(key.clone(), rested.stream.clone());
            if window.again && window.end == rested.last_end {
                self.rules.insert(rule.name.clone());
                self.series.insert(key.clone(), Series { rule: Some(rule.clone()), ..rested });
            }
        }
        let full = self.series.len() >= self.max_series;
        let too_few = windows.is_below("count", window.row, rule.min_count);
        let mut entry = match self.series.entry(key.clone()) {
            Entry::Occupied(known) => known,
            Entry::Vacant(_) if too_few && !is_watched => return,
            Entry::Vacant(_) if held.is_none() && !is_watched => {
                reports.metrics.evaluations.inc();
                return;
            }
            Entry::Vacant(_) if full => {
                reports.metrics.evaluations.inc();
                reports.series_refused(rule, self.max_series);
                return;
            }
            Entry::Vacant(free) => {
                self.rules.insert(rule.name.clone());
                free.insert_entry(Series::new(rule, window))
            }
        };
        let series = entry.get_mut();
        let again = window.again && window.end == series.last_end;
        if window.end <= series.last_end && !again {
            reports.metrics.skipped_late.inc();
            return;
        }
        if again {
            // Whatever was said of it before, its new value is what counts.
            series.state = series.earlier.state;
        } else {
            let values = std::mem::take(&mut series.values);
            series.is_over = false;
            series.earlier = Earlier { state: series.state, last_end: series.last_end, values };
        }
        series.values = values_of(rule.earlier(), windows, window);
        let follows = window.start.is_none_or(|start| start <= series.earlier.last_end);
        series.last_end = window.end;
        self.changed.insert(key.clone(), series.stream.clone());
        if let Some(back) = rule.look_back() {
            let (columns, keep) = (&back.columns, back.longest);
            let values = columns.iter().map(|column| windows.number(column, window.row)).collect();
            let (stream, end) = (&series.stream, window.end);
            let window = NewWindow { key: &key, stream, end, columns, values, keep };
            let changed = &mut |key: String| drop(self.changed.insert(key, series.stream.clone()));
            if !self.past.push(window, changed) {
                reports.past_refused(rule, self.past.len());
            }
        }
        if !again && let Some(mut ended) = no_data::end(series, &key, window.end) {
            finish(&mut ended, rule, &series.stream, epoch, reports);
            alarms.push(ended);
        }
        // Outside of the active times an alarm ends, however thin the window is.
        if too_few && is_active {
            if !follows && series.state.firing().is_none() {
                series.state.forget_run();
            }
        } else {
            reports.metrics.evaluations.inc();
            let severity = held.as_ref().map(|(severity, _)| *severity);
            let fired_before = series.state.firing().is_some();
            match is_active {
                true => series.state.step(severity, window.end, follows, rule.patience),
                false => series.state = AlarmState::default(),
            }
            if !fired_before && series.state.firing().is_some() {
                series.starts_at = window.end;
            }
            let change = series.told.tell(series.state.firing(), held.is_some(), window.end, rule.silence);
            let verdict = Verdict { rule, windows, window, held, epoch };
            tell(series, &key, change, is_active, verdict, alarms, reports);
        }
        if series.is_rest(rule, window.end) {
            let series = entry.remove();
            self.rest(key, series);
        } else {
            self.deadlines.watch(&key, window.end);
        }
    }
}
