//! Judges windows by the rules in force and remembers what is firing. No I/O, no clock: time is the windows' own.
//!
//! * Windows are judged in the order of their ends, each once. One that fires again is judged again, from where the series stood
//!   before it, unless a later window of the series has been judged. All windows with the same end are judged by one
//!   rule set; a newer set is taken up at the first window that ends later, or when the watermark moves.
//! * Only series that fire or are about to are remembered, at most `max_series` of them. Above that, new series
//!   raise no alarm; they are counted and the log says so.
//! * When a new rule set has no rule for a series any more, its alarm resolves, at the end of the last window judged.
//! * What is remembered can be [taken back](Judge::go_back) to what it was after earlier windows.

pub(crate) mod alarm_state;
pub(crate) mod last_windows;
pub(crate) mod series;
pub(crate) mod template_context;
pub(crate) mod windows;

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use weir_alarms::{Alarm, Compared, Severity, series_key};
use weir_component::{Clock, Context, LogLimit};
use weir_pdata::expr::{ExprError, Failures};

use crate::evaluation::alarm_state::Change;
use crate::evaluation::last_windows::Seen;
use crate::evaluation::series::{Earlier, Series, Source};
use crate::evaluation::template_context::{default_message, facts};
use crate::evaluation::windows::{Window, Windows};
use crate::metrics::JudgeMetrics;
use crate::rule::per_severity::PerSeverity;
use crate::rule::{Classic, Named, Rule};
use crate::rules::{RuleSet, SharedRules};
use crate::state::history::{Begun, Changed};

/// The rules in force and what they say of every series.
pub(crate) struct Judge {
    newest: SharedRules,
    current: Arc<RuleSet>,
    /// The end of the last window judged, in nanoseconds.
    judged_to: i64,
    series: HashMap<String, Series>,
    /// Some series may be without rules.
    unchecked: bool,
    /// Series that have changed since this was last asked.
    changed: HashMap<String, Source>,
    seen: Seen,
    max_series: usize,
    metrics: JudgeMetrics,
    id: String,
    clock: Arc<dyn Clock>,
    full: LogLimit,
    errors: LogLimit,
    templates: LogLimit,
}

/// What came of a batch of windows.
#[derive(Default)]
pub(crate) struct Judged {
    /// In the order of their times.
    pub(crate) alarms: Vec<Alarm>,
    /// The end of the last window of each source, in nanoseconds.
    pub(crate) ends: BTreeMap<Source, i64>,
}

impl Judge {
    pub(crate) fn new(newest: SharedRules, max_series: usize, context: &Context) -> Judge {
        Judge {
            current: newest.load(),
            newest,
            judged_to: i64::MIN,
            series: HashMap::new(),
            unchecked: false,
            changed: HashMap::new(),
            seen: Seen::new(max_series),
            max_series,
            metrics: JudgeMetrics::new(context),
            id: context.id.to_string(),
            clock: context.clock.clone(),
            full: LogLimit::every_ms(10_000),
            errors: LogLimit::every_ms(10_000),
            templates: LogLimit::every_ms(10_000),
        }
    }

    /// The series that have changed since this was last asked.
    pub(crate) fn take_changes(&mut self) -> Vec<Changed> {
        let changed = std::mem::take(&mut self.changed).into_iter();
        let now = |(key, source): (String, Source)| {
            let series = self.series.get(&key).cloned();
            (key, source, series)
        };
        changed.map(now).collect()
    }

    /// Nobody waits any more for the end of an alarm without a rule.
    pub(crate) fn let_go(&mut self, series: &Series) {
        self.changed.insert(series.key(), series.source.clone());
    }

    /// Remembers nothing else of a shard.
    pub(crate) fn go_back(&mut self, begun: Begun) {
        self.forget(begun.shard);
        if !begun.series.is_empty() {
            let firing = begun.series.iter().filter(|series| series.progress.firing().is_some()).count();
            tracing::info!("{}: {firing} alarms that fired before go on", self.id);
        }
        for series in begun.series {
            self.series.insert(series.key(), series);
        }
        self.judged_to = self.judged_to.max(begun.judged_to);
        self.seen.begin(begun.shard, begun.limits);
        self.unchecked = true;
        self.settle(&[]);
    }

    /// Forgets a shard, without a word.
    pub(crate) fn forget(&mut self, shard: u32) {
        self.series.retain(|_, series| series.source.shard != shard);
        self.changed.retain(|_, source| source.shard != shard);
        self.seen.forget(shard);
        self.settle(&[]);
    }

    /// Judges a batch of windows.
    pub(crate) fn judge(&mut self, batch: &RecordBatch) -> Judged {
        let windows = Windows::new(batch);
        let mut found = windows.find();
        self.metrics.skipped_endless.inc_by(found.endless);
        let before = found.windows.len();
        found.windows.retain(|window| self.seen.admits(window));
        self.metrics.skipped_late.inc_by((before - found.windows.len()) as u64);
        self.forget_broken_runs();
        let mut ends: BTreeMap<Source, i64> = BTreeMap::new();
        for window in &found.windows {
            // Windows come in the order of their ends, and those of a batch are of one source as a rule.
            match ends.iter_mut().find(|(source, _)| window.is_of(source)) {
                Some((_, end)) => *end = window.end,
                None => drop(ends.insert(window.source(), window.end)),
            }
        }
        let mut alarms = Vec::new();
        let known = found.windows.partition_point(|window| window.end <= self.judged_to);
        let later = found.windows.split_off(known);
        self.judge_by_current(&windows, &found.windows, &mut alarms);
        if let Some(last) = later.last() {
            self.take_up_rules(&mut alarms);
            self.judge_by_current(&windows, &later, &mut alarms);
            self.judged_to = last.end;
        }
        // Stable: what one window says of a series stays in order.
        alarms.sort_by_key(|alarm| alarm.time);
        self.settle(&alarms);
        Judged { alarms, ends }
    }

    /// The watermark moved: no window that was begun is judged any more, so the newest rules are taken up. The alarms
    /// without a rule, and what was remembered of them.
    pub(crate) fn boundary(&mut self) -> (Vec<Alarm>, Vec<Series>) {
        let mut alarms = Vec::new();
        let gone = self.take_up_rules(&mut alarms);
        // They are remembered until their end has been told.
        for series in &gone {
            self.changed.remove(&series.key());
        }
        self.settle(&alarms);
        (alarms, gone)
    }

    /// Makes room, when there is none: a series that was about to fire and whose next window never came is at rest.
    fn forget_broken_runs(&mut self) {
        if self.series.len() < self.max_series {
            return;
        }
        let judged_to = self.judged_to;
        let broken = self.series.extract_if(|_, series| {
            series.progress.firing().is_none() && series.last_end.saturating_add(series.size) < judged_to
        });
        self.changed.extend(broken.map(|(key, series)| (key, series.source)));
    }

    fn settle(&self, alarms: &[Alarm]) {
        for alarm in alarms {
            self.metrics.alarms(alarm.severity, alarm.firing).inc();
        }
        self.metrics.series.set(i64::try_from(self.series.len()).unwrap_or(i64::MAX));
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
            match rule.filter(|rule| newest.applies(rule, &series.source.operator, &series.labels)) {
                Some(rule) => {
                    // What the rule was before a restart is not known: the run goes on.
                    if series.rule.as_ref().is_some_and(|known| known != rule) {
                        series.progress.forget_run();
                        changed.insert(key.clone(), series.source.clone());
                    }
                    series.rule = Some(rule.clone());
                    !series.progress.is_rest()
                }
                None => {
                    changed.insert(key.clone(), series.source.clone());
                    let what = if rule.is_some() { "does not cover this any more" } else { "was removed" };
                    if let Some(severity) = series.progress.firing() {
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
            let end = self.judged_to.max(alarm.time);
            alarms.push(Alarm { time: end, ends_at: Some(end), epoch: newest.epoch, ..alarm });
            without.push(series);
        }
        self.current = newest;
        without
    }

    fn judge_by_current(&mut self, windows: &Windows<'_>, found: &[Window], alarms: &mut Vec<Alarm>) {
        if found.is_empty() {
            return;
        }
        let rules = self.current.clone();
        for (rule, named) in rules.named() {
            let covered: Vec<&Window> =
                found.iter().filter(|window| named.covers(&window.operator, &window.labels)).collect();
            if covered.is_empty() {
                continue;
            }
            let Some(truth) = self.evaluate(rule, named, windows.batch) else { continue };
            for window in covered {
                let held = Severity::FROM_HIGH.into_iter().find_map(|severity| {
                    let clause = named.when.get(severity).as_ref()?;
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
    fn evaluate(
        &self,
        rule: &Rule,
        named: &Named,
        batch: &RecordBatch,
    ) -> Option<PerSeverity<Option<BooleanArray>>> {
        let mut failures = Failures::default();
        let mut evaluated = |severity: Severity| {
            let clause = named.when.get(severity).as_ref();
            clause.map(|clause| clause.condition.filter(batch, &mut failures)).transpose()
        };
        let mut all = || {
            Ok::<_, ExprError>(PerSeverity {
                high: evaluated(Severity::High)?,
                mid: evaluated(Severity::Mid)?,
                low: evaluated(Severity::Low)?,
            })
        };
        let truth = all();
        let (windows, error, what) = match (&truth, &failures) {
            (Err(error), _) => (batch.num_rows(), error, "did not judge"),
            (Ok(_), Failures { rows, first: Some(error) }) => (*rows, error, "is false for"),
            (Ok(_), Failures { first: None, .. }) => return truth.ok(),
        };
        self.metrics.evaluation_errors.inc_by(windows as u64);
        if let Some(held_back) = self.errors.allow(self.clock.now_ms()) {
            let (id, name) = (&self.id, &rule.name);
            tracing::warn!(held_back, "{id}: rule `{name}` {what} {windows} windows: {error}");
        }
        truth.ok()
    }

    fn step(
        &mut self,
        rule: &Arc<Rule>,
        windows: &Windows<'_>,
        window: &Window,
        held: Option<(Severity, Compared)>,
        alarms: &mut Vec<Alarm>,
    ) {
        if held.is_none() && self.series.is_empty() {
            self.metrics.evaluations.inc();
            return;
        }
        let key = series_key([&rule.name, &window.operator], &window.labels);
        let full = self.series.len() >= self.max_series;
        let thin = windows.is_below("count", window.row, rule.min_count);
        let mut entry = match self.series.entry(key.clone()) {
            Entry::Occupied(known) => known,
            Entry::Vacant(_) if thin => return,
            Entry::Vacant(_) if held.is_none() => {
                self.metrics.evaluations.inc();
                return;
            }
            Entry::Vacant(_) if full => {
                self.metrics.evaluations.inc();
                self.metrics.series_refused.inc();
                if let Some(held_back) = self.full.allow(self.clock.now_ms()) {
                    let (id, max, name) = (&self.id, self.max_series, &rule.name);
                    tracing::error!(
                        held_back,
                        "{id}: {max} series have alarms already, rule `{name}` raises none for another one; raise `max_series`"
                    );
                }
                return;
            }
            Entry::Vacant(free) => free.insert_entry(Series::new(rule, window)),
        };
        let series = entry.get_mut();
        let again = window.again && window.end == series.last_end;
        if window.end <= series.last_end && !again {
            self.metrics.skipped_late.inc();
            return;
        }
        let told = series.progress.firing();
        if again {
            // Whatever was said of it before, its new value is what counts.
            series.progress = series.earlier.progress;
        } else {
            series.earlier = Earlier { progress: series.progress, last_end: series.last_end };
        }
        let follows = window.start.is_none_or(|start| start <= series.earlier.last_end);
        series.last_end = window.end;
        self.changed.insert(key.clone(), series.source.clone());
        if thin {
            return;
        }
        self.metrics.evaluations.inc();
        let severity = held.as_ref().map(|(severity, _)| *severity);
        series.progress.step(severity, follows, rule.patience);
        let change = Change::between(told, series.progress.firing());
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
                if series.progress.is_rest() {
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
        } else if series.progress.is_rest() {
            entry.remove();
        }
        self.write_message(rule, windows, window, &mut alarm);
        alarms.push(alarm);
    }

    fn write_message(&self, rule: &Rule, windows: &Windows<'_>, window: &Window, alarm: &mut Alarm) {
        let known = || facts(rule, alarm, windows, window);
        let rendered = rule.message.render(known, || default_message(alarm));
        if let Some(problem) = rendered.problem {
            self.metrics.template_errors.inc();
            if let Some(held_back) = self.templates.allow(self.clock.now_ms()) {
                let (id, name) = (&self.id, &rule.name);
                tracing::warn!(held_back, "{id}: the message template of rule `{name}` fails: {problem}");
            }
        }
        alarm.message = rendered.text;
    }
}

/// What a window says of the measure.
fn value_of(compared: &Compared, windows: &Windows<'_>, window: &Window) -> Option<f64> {
    compared.measure.as_deref().and_then(|measure| windows.number(measure, window.row))
}

fn of_window(alarm: Alarm, window: &Window) -> Alarm {
    Alarm { window_start: window.start, window_end: Some(window.end), ..alarm }
}

impl Classic {
    /// The worst severity that holds: the longest or the mean duration is above its threshold.
    fn held(&self, windows: &Windows<'_>, window: &Window) -> Option<(Severity, Compared)> {
        let above = |measure: &str, threshold: Option<f64>| {
            let threshold =
                threshold.filter(|threshold| windows.number(measure, window.row) > Some(*threshold))?;
            Some(Compared { measure: Some(measure.into()), threshold: Some(threshold) })
        };
        Severity::FROM_HIGH.into_iter().find_map(|severity| {
            let compared = above("max_duration_ns", *self.max_ns.get(severity))
                .or_else(|| above("avg_duration_ns", *self.avg_ns.get(severity)))?;
            Some((severity, compared))
        })
    }
}
