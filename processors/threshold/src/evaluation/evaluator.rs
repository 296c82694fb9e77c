//! Evaluates windows by the rules in force, and remembers which alarms fire. No I/O and no clock: time is the
//! windows' own.
//!
//! * Windows are evaluated in the order of their ends, each once. A window that fires again is evaluated
//!   again, from the state of its series before it, unless a later window of the series was evaluated.
//! * All windows with the same end are evaluated by one rule set. A newer set is used from the first window
//!   that ends later, or when the watermark moves.
//! * Only series that fire or are about to fire are remembered, at most `max_series`. Above that, new series
//!   raise no alarm: they are counted and logged.
//! * When a new rule set has no rule for a series any more, its alarm resolves at the end of the last window
//!   that was evaluated.
//! * The state can be [restored](Evaluator::restore_shard) to the state after earlier windows.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use weir_alarms::{Alarm, Compared, Severity, series_key};
use weir_component::Context;
use weir_pdata::expr::Failures;

use crate::evaluation::alarm_state::Change;
use crate::evaluation::last_windows::LastWindows;
use crate::evaluation::reports::Reports;
use crate::evaluation::series::{Earlier, Series};
use crate::evaluation::template_context::{default_message, template_context};
use crate::evaluation::windows::WindowStream;
use crate::evaluation::windows::{Window, WindowRows};
use crate::rule::PerSeverity;
use crate::rule::{InlineRule, Rule};
use crate::rule_source::rule_set::{RuleSet, SharedRules};
use crate::state::history::{Changed, ShardStart};

/// The rules in force and what they say of every series.
pub(crate) struct Evaluator {
    newest: SharedRules,
    current: Arc<RuleSet>,
    /// The end of the last window evaluated, in nanoseconds.
    evaluated_to: i64,
    series: HashMap<String, Series>,
    /// Some series may be without rules.
    unchecked: bool,
    /// Series that have changed since this was last asked.
    changed: HashMap<String, WindowStream>,
    last_windows: LastWindows,
    max_series: usize,
    reports: Reports,
}

/// The outcome of a batch of windows.
#[derive(Default)]
pub(crate) struct Evaluated {
    /// In the order of their times.
    pub(crate) alarms: Vec<Alarm>,
    /// The end of the last window of each stream, in nanoseconds.
    pub(crate) ends: BTreeMap<WindowStream, i64>,
}

impl Evaluator {
    pub(crate) fn new(newest: SharedRules, max_series: usize, context: &Context) -> Evaluator {
        Evaluator {
            current: newest.load(),
            newest,
            evaluated_to: i64::MIN,
            series: HashMap::new(),
            unchecked: false,
            changed: HashMap::new(),
            last_windows: LastWindows::new(max_series),
            max_series,
            reports: Reports::new(context),
        }
    }

    /// The series that have changed since this was last asked.
    pub(crate) fn take_changes(&mut self) -> Vec<Changed> {
        let changed = std::mem::take(&mut self.changed).into_iter();
        let now = |(key, stream): (String, WindowStream)| {
            let series = self.series.get(&key).cloned();
            (key, stream, series)
        };
        changed.map(now).collect()
    }

    /// Nobody waits any more for the end of an alarm without a rule.
    pub(crate) fn forget_without_rule(&mut self, series: &Series) {
        self.changed.insert(series.key(), series.stream.clone());
    }

    /// Remembers nothing else of a shard.
    pub(crate) fn restore_shard(&mut self, start: ShardStart) {
        self.forget(start.shard);
        if !start.series.is_empty() {
            let firing = start.series.iter().filter(|series| series.state.firing().is_some()).count();
            self.reports.restored(firing);
        }
        for series in start.series {
            self.series.insert(series.key(), series);
        }
        self.evaluated_to = self.evaluated_to.max(start.evaluated_to);
        self.last_windows.set_limits(start.shard, start.limits);
        self.unchecked = true;
        self.settle(&[]);
    }

    /// Forgets a shard, without a word.
    pub(crate) fn forget(&mut self, shard: u32) {
        self.series.retain(|_, series| series.stream.shard != shard);
        self.changed.retain(|_, stream| stream.shard != shard);
        self.last_windows.forget(shard);
        self.settle(&[]);
    }

    /// Evaluates a batch of windows.
    pub(crate) fn evaluate(&mut self, batch: &RecordBatch) -> Evaluated {
        let windows = WindowRows::new(batch);
        let mut found = windows.find();
        self.reports.metrics.skipped_endless.inc_by(found.endless);
        let before = found.windows.len();
        found.windows.retain(|window| self.last_windows.admits(window));
        self.reports.metrics.skipped_late.inc_by((before - found.windows.len()) as u64);
        self.forget_broken_runs();
        let mut ends: BTreeMap<WindowStream, i64> = BTreeMap::new();
        for window in &found.windows {
            // Windows come in the order of their ends, and those of a batch are of one stream as a rule.
            match ends.iter_mut().find(|(stream, _)| window.is_of(stream)) {
                Some((_, end)) => *end = window.end,
                None => drop(ends.insert(window.stream(), window.end)),
            }
        }
        let mut alarms = Vec::new();
        let known = found.windows.partition_point(|window| window.end <= self.evaluated_to);
        let later = found.windows.split_off(known);
        self.evaluate_by_current_rules(&windows, &found.windows, &mut alarms);
        if let Some(last) = later.last() {
            self.take_up_rules(&mut alarms);
            self.evaluate_by_current_rules(&windows, &later, &mut alarms);
            self.evaluated_to = last.end;
        }
        // Stable: what one window says of a series stays in order.
        alarms.sort_by_key(|alarm| alarm.time);
        self.settle(&alarms);
        Evaluated { alarms, ends }
    }

    /// The watermark moved: no window that has begun is evaluated any more, so the newest rules are taken up.
    /// The alarms without a rule, and what was remembered of them.
    pub(crate) fn boundary(&mut self) -> (Vec<Alarm>, Vec<Series>) {
        let mut alarms = Vec::new();
        let gone = self.take_up_rules(&mut alarms);
        // They are remembered until their end has been reported.
        for series in &gone {
            self.changed.remove(&series.key());
        }
        self.settle(&alarms);
        (alarms, gone)
    }

    /// Makes room, when there is none: a series that was about to fire and whose next window never came is at
    /// rest.
    fn forget_broken_runs(&mut self) {
        if self.series.len() < self.max_series {
            return;
        }
        let evaluated_to = self.evaluated_to;
        let broken = self.series.extract_if(|_, series| {
            series.state.firing().is_none() && series.last_end.saturating_add(series.size) < evaluated_to
        });
        self.changed.extend(broken.map(|(key, series)| (key, series.stream)));
    }

    fn settle(&self, alarms: &[Alarm]) {
        self.reports.settle(alarms, self.series.len());
    }

    fn take_up_rules(&mut self, alarms: &mut Vec<Alarm>) -> Vec<Series> {
        let newest = self.newest.load();
        if Arc::ptr_eq(&newest, &self.current) && !self.unchecked {
            return Vec::new();
        }
        self.unchecked = false;
        let changed = &mut self.changed;
        let mut gone = Vec::new();
        self.series.retain(|key, series| {
            let rule = newest.get(&series.name);
            match rule.filter(|rule| newest.applies(rule, &series.stream.operator, &series.labels)) {
                Some(rule) => {
                    // What the rule was before a restart is not known: the run goes on.
                    if series.rule.as_ref().is_some_and(|known| known != rule) {
                        series.state.forget_run();
                        changed.insert(key.clone(), series.stream.clone());
                    }
                    series.rule = Some(rule.clone());
                    !series.state.is_rest()
                }
                None => {
                    changed.insert(key.clone(), series.stream.clone());
                    let what = if rule.is_some() { "does not cover this any more" } else { "was removed" };
                    if let Some(severity) = series.state.firing() {
                        let message = format!("resolved: {}: the rule {what}", series.name);
                        gone.push((key.clone(), series.clone(), series.resolved(key, severity, message)));
                    }
                    false
                }
            }
        });
        gone.sort_by(|(a, ..), (b, ..)| a.cmp(b));
        let mut without = Vec::with_capacity(gone.len());
        for (_, series, alarm) in gone {
            let end = self.evaluated_to.max(alarm.time);
            alarms.push(Alarm { time: end, ends_at: Some(end), epoch: newest.epoch, ..alarm });
            without.push(series);
        }
        self.current = newest;
        without
    }

    fn evaluate_by_current_rules(
        &mut self,
        windows: &WindowRows<'_>,
        found: &[Window],
        alarms: &mut Vec<Alarm>,
    ) {
        if found.is_empty() {
            return;
        }
        let rules = self.current.clone();
        for (rule, inline) in rules.inline_rules() {
            let covered: Vec<&Window> =
                found.iter().filter(|window| inline.covers(&window.operator, &window.labels)).collect();
            if covered.is_empty() {
                continue;
            }
            let Some(truth) = self.evaluate_conditions(rule, inline, windows.batch) else { continue };
            for window in covered {
                let held = Severity::FROM_HIGH.into_iter().find_map(|severity| {
                    let clause = inline.when.get(severity).as_ref()?;
                    let holds = truth.get(severity).as_ref()?.value(window.row);
                    holds.then(|| (severity, clause.compared.clone()))
                });
                self.step(rule, windows, window, held, alarms);
            }
        }
        if !rules.has_classic() {
            return;
        }
        for window in found {
            let endpoint = (window.label("service"), window.label("operation"));
            for (rule, classic) in rules.classic(&window.operator, endpoint.0, endpoint.1) {
                self.step(rule, windows, window, classic.held(windows, window), alarms);
            }
        }
    }

    /// For every severity of the rule, for which rows it holds. `None` when that cannot be said.
    fn evaluate_conditions(
        &self,
        rule: &Rule,
        inline: &InlineRule,
        batch: &RecordBatch,
    ) -> Option<PerSeverity<Option<BooleanArray>>> {
        let mut failures = Failures::default();
        let truth = inline.held(batch, &mut failures);
        self.reports.conditions_failed(rule, &truth, &failures, batch.num_rows());
        truth.ok()
    }

    fn step(
        &mut self,
        rule: &Arc<Rule>,
        windows: &WindowRows<'_>,
        window: &Window,
        held: Option<(Severity, Compared)>,
        alarms: &mut Vec<Alarm>,
    ) {
        if held.is_none() && self.series.is_empty() {
            self.reports.metrics.evaluations.inc();
            return;
        }
        let key = series_key([&rule.name, &window.operator], &window.labels);
        let full = self.series.len() >= self.max_series;
        let too_few = windows.is_below("count", window.row, rule.min_count);
        let mut entry = match self.series.entry(key.clone()) {
            Entry::Occupied(known) => known,
            Entry::Vacant(_) if too_few => return,
            Entry::Vacant(_) if held.is_none() => {
                self.reports.metrics.evaluations.inc();
                return;
            }
            Entry::Vacant(_) if full => {
                self.reports.metrics.evaluations.inc();
                self.reports.series_refused(rule, self.max_series);
                return;
            }
            Entry::Vacant(free) => free.insert_entry(Series::new(rule, window)),
        };
        let series = entry.get_mut();
        let again = window.again && window.end == series.last_end;
        if window.end <= series.last_end && !again {
            self.reports.metrics.skipped_late.inc();
            return;
        }
        let reported = series.state.firing();
        if again {
            // Whatever was said of it before, its new value is what counts.
            series.state = series.earlier.state;
        } else {
            series.earlier = Earlier { state: series.state, last_end: series.last_end };
        }
        let follows = window.start.is_none_or(|start| start <= series.earlier.last_end);
        series.last_end = window.end;
        self.changed.insert(key.clone(), series.stream.clone());
        if too_few {
            return;
        }
        self.reports.metrics.evaluations.inc();
        let severity = held.as_ref().map(|(severity, _)| *severity);
        series.state.step(severity, follows, rule.patience);
        let change = Change::between(reported, series.state.firing());
        match change {
            Change::Nothing | Change::Resolve(_) => {}
            Change::Fire(_) => series.starts_at = window.end,
            Change::Move { from, to } => {
                let message =
                    format!("{}: severity changed from {} to {}", rule.name, from.name(), to.name());
                let value = value_of(&series.compared, windows, window);
                let resolved = series.resolved(&key, from, message);
                alarms.push(Alarm { value, epoch: self.current.epoch, ..of_window(resolved, window) });
            }
        }
        let (severity, firing) = match change {
            Change::Nothing => {
                if series.state.is_rest() {
                    entry.remove();
                }
                return;
            }
            Change::Fire(severity) | Change::Move { to: severity, .. } => (severity, true),
            Change::Resolve(severity) => (severity, false),
        };
        // While it goes on at the same severity the alarm keeps what it said when it fired.
        if let Some((_, compared)) = held {
            series.compared = compared;
        }
        let value = value_of(&series.compared, windows, window);
        let resolved = series.resolved(&key, severity, String::new());
        let mut alarm = Alarm { firing, value, epoch: self.current.epoch, ..of_window(resolved, window) };
        if firing {
            alarm.ends_at = None;
        } else if series.state.is_rest() {
            entry.remove();
        }
        self.write_message(rule, windows, window, &mut alarm);
        alarms.push(alarm);
    }

    fn write_message(&self, rule: &Rule, windows: &WindowRows<'_>, window: &Window, alarm: &mut Alarm) {
        let context = || template_context(rule, alarm, windows, window);
        let rendered = rule.message.render(context, || default_message(alarm));
        if let Some(problem) = rendered.problem {
            self.reports.template_failed(rule, &problem);
        }
        alarm.message = rendered.text;
    }
}

/// The value of the measure in a window.
fn value_of(compared: &Compared, windows: &WindowRows<'_>, window: &Window) -> Option<f64> {
    compared.measure.as_deref().and_then(|measure| windows.number(measure, window.row))
}

fn of_window(alarm: Alarm, window: &Window) -> Alarm {
    Alarm { window_start: window.start, window_end: Some(window.end), ..alarm }
}
