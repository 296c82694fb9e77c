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
use weir_alarms::{Alarm, Compared, Severity, series_key};

use crate::evaluation::alarm_state::AlarmState;
use crate::evaluation::deadlines::Deadlines;
use crate::evaluation::earlier::{values_of, with_earlier};
use crate::evaluation::no_data::{self, Next};
use crate::evaluation::reports::Reports;
use crate::evaluation::series::{Earlier, Series};
use crate::evaluation::template_context::{context_without_window, template_context};
use crate::evaluation::texts;
use crate::evaluation::told::Change;
use crate::evaluation::windows::{Window, WindowRows, WindowStream};
use crate::rule::Rule;
use crate::rule_source::rule_set::RuleSet;
use crate::state::history::Changed;

/// All that is remembered of series.
pub(crate) struct SeriesTable {
    series: HashMap<String, Series>,
    /// The rules of the series, and perhaps some that had series.
    rules: HashSet<Arc<str>>,
    /// Series at rest since their last window; at most as many.
    rested: HashMap<String, Series>,
    /// Series that have changed since this was last asked.
    changed: HashMap<String, WindowStream>,
    deadlines: Deadlines,
    max_series: usize,
}

/// What a rule says of a window.
pub(crate) struct Verdict<'a> {
    pub(crate) rule: &'a Arc<Rule>,
    pub(crate) windows: &'a WindowRows<'a>,
    pub(crate) window: &'a Window,
    /// The worst severity that holds.
    pub(crate) held: Option<(Severity, Compared)>,
    /// Of the rule.
    pub(crate) epoch: i64,
}

/// A series by its key, and whose windows it reads.
pub(crate) type SeriesName = (String, WindowStream);

impl SeriesTable {
    pub(crate) fn new(max_series: usize) -> SeriesTable {
        let deadlines = Deadlines::default();
        let (series, rested, changed) = (HashMap::new(), HashMap::new(), HashMap::new());
        SeriesTable { series, rules: HashSet::new(), rested, changed, deadlines, max_series }
    }

    pub(crate) fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether a window for which this rule does not hold may change something.
    pub(crate) fn may_have(&self, rule: &Arc<str>) -> bool {
        self.rules.contains(rule)
    }

    /// The series that have changed since this was last asked.
    pub(crate) fn take_changes(&mut self) -> Vec<Changed> {
        let changed = std::mem::take(&mut self.changed).into_iter();
        let now = |(key, stream): SeriesName| {
            let series = self.series.get(&key).or(self.rested.get(&key)).cloned();
            (key, stream, series)
        };
        changed.map(now).collect()
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
        self.rules.insert(series.name.clone());
        self.series.insert(series.key(), series);
    }

    /// Forgets the series of a shard, without a word.
    pub(crate) fn forget(&mut self, shard: u32) {
        self.series.retain(|_, series| series.stream.shard != shard);
        self.rested.retain(|_, series| series.stream.shard != shard);
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
            let rule = series.rule.as_ref()?;
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
        let before = alarms.len();
        match no_data::elapse(series, key, &rule, now, alarms) {
            Next::Never => {}
            Next::At(at) => self.deadlines.watch(key, at),
            Next::Gone => {
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

    /// These windows of one end, with the columns that the rule reads of the window before each of them.
    pub(crate) fn with_earlier(
        &self,
        rule: &Rule,
        batch: &RecordBatch,
        windows: &[&Window],
    ) -> Result<RecordBatch, ArrowError> {
        let series =
            |window: &Window| self.series.get(&series_key([&rule.name, &window.operator], &window.labels));
        with_earlier(batch, rule.earlier(), windows, series)
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
            series.earlier = Earlier { state: series.state, last_end: series.last_end, values };
        }
        series.values = values_of(rule.earlier(), windows, window);
        let follows = window.start.is_none_or(|start| start <= series.earlier.last_end);
        series.last_end = window.end;
        self.changed.insert(key.clone(), series.stream.clone());
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

    /// What happened to a series between its last window and this one.
    fn elapse_before(
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
            self.changed.insert(key.to_owned(), series.stream);
        }
    }
}

/// Adds the rows of a change.
fn tell(
    series: &mut Series,
    key: &str,
    change: Change,
    is_active: bool,
    verdict: Verdict<'_>,
    alarms: &mut Vec<Alarm>,
    reports: &Reports,
) {
    let Verdict { rule, windows, window, held, epoch } = verdict;
    let context = |alarm: &Alarm| template_context(rule, alarm, windows, window);
    if let Change::Move { from, to } = change {
        let message = format!("{}: severity changed from {} to {}", rule.name, from.name(), to.name());
        let value = value_of(&series.compared, windows, window);
        let resolved = series.resolved(key, from, message);
        let mut resolved = Alarm { value, epoch, ..of_window(resolved, window) };
        texts::annotate(rule, &mut resolved, context, reports);
        alarms.push(resolved);
    }
    let (severity, firing) = match change {
        Change::Nothing => return,
        Change::Fire(severity) | Change::Repeat(severity) | Change::Move { to: severity, .. } => {
            (severity, true)
        }
        Change::Resolve(severity) => (severity, false),
    };
    // While it goes on at the same severity the alarm keeps what it said when it fired.
    if let Some((_, compared)) = held {
        series.compared = compared;
    }
    if matches!(change, Change::Fire(_)) {
        series.own = rule.extras.labels.clone();
    }
    let value = value_of(&series.compared, windows, window);
    let resolved = series.resolved(key, severity, String::new());
    let mut alarm = Alarm { firing, value, epoch, ..of_window(resolved, window) };
    if firing {
        alarm.ends_at = None;
    }
    if is_active {
        texts::write(rule, &mut alarm, context, reports);
    } else {
        alarm.message = format!("{} the rule is not active at this time", alarm.opening());
        texts::annotate(rule, &mut alarm, context, reports);
    }
    alarms.push(alarm);
}

/// Completes an alarm that belongs to no window.
fn finish(alarm: &mut Alarm, rule: &Rule, stream: &WindowStream, epoch: i64, reports: &Reports) {
    alarm.epoch = epoch;
    let context = |alarm: &Alarm| context_without_window(alarm, &stream.operator);
    // Only there the message is for this alarm.
    if rule.has_no_condition() && rule.message.is_given() {
        texts::write(rule, alarm, context, reports);
    } else {
        texts::annotate(rule, alarm, context, reports);
    }
}

/// The value of the measure in a window.
fn value_of(compared: &Compared, windows: &WindowRows<'_>, window: &Window) -> Option<f64> {
    compared.measure.as_deref().and_then(|measure| windows.number(measure, window.row))
}

fn of_window(alarm: Alarm, window: &Window) -> Alarm {
    Alarm { window_start: window.start, window_end: Some(window.end), ..alarm }
}
