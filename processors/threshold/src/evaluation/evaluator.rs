//! Evaluates windows by the rules in force, and remembers which alarms fire. No I/O and no clock: time is the
//! windows' own.
//!
//! * Windows are evaluated in the order of their ends, each once. A window that fires again is evaluated
//!   again, from the state of its series before it, unless a later window of the series was evaluated.
//! * All windows with the same end are evaluated by one rule set. A newer set is used from the first window
//!   that ends later, or when the watermark moves.
//! * Only series that fire, are about to fire or are watched for data are
//!   [remembered](crate::evaluation::series_table).
//! * When a new rule set has no rule for a series any more, its alarm resolves at the end of the last window
//!   that was evaluated.
//! * The state can be [restored](Evaluator::restore_shard) to the state after earlier windows.

use std::collections::BTreeMap;
use std::hash::RandomState;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use weir_alarms::Alarm;
use weir_component::{Context, Watermark};
use weir_pdata::expr::Failures;

use crate::evaluation::conditions::Truth;
use crate::evaluation::last_windows::LastWindows;
use crate::evaluation::matches::Matches;
use crate::evaluation::reports::Reports;
use crate::evaluation::rows::Verdict;
use crate::evaluation::series_table::{Bounds, SeriesName, SeriesTable};
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
    table: SeriesTable,
    /// Some series may be without rules.
    unchecked: bool,
    last_windows: LastWindows,
    matches: Matches,
    hasher: RandomState,
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

/// Alarms that belong to no window, and the series that they are of.
pub(crate) type Between = (Vec<Alarm>, Vec<SeriesName>);

impl Evaluator {
    pub(crate) fn new(newest: SharedRules, bounds: Bounds, context: &Context) -> Evaluator {
        Evaluator {
            current: newest.load(),
            newest,
            evaluated_to: i64::MIN,
            table: SeriesTable::new(bounds),
            unchecked: false,
            last_windows: LastWindows::new(bounds.series),
            matches: Matches::new(bounds.series),
            hasher: RandomState::new(),
            reports: Reports::new(context),
        }
    }

    /// The series that have changed since this was last asked.
    pub(crate) fn take_changes(&mut self) -> Vec<Changed> {
        self.table.take_changes()
    }

    /// Alarms that belong to no window have been delivered: what became of their series may be written down.
    pub(crate) fn delivered(&mut self, names: Vec<SeriesName>) {
        self.table.let_go(names);
    }

    /// Remembers nothing else of a shard.
    pub(crate) fn restore_shard(&mut self, start: ShardStart) {
        self.forget(start.shard);
        if !start.series.is_empty() {
            let firing = start.series.iter().filter(|series| series.told.firing.is_some()).count();
            self.reports.restored(firing);
        }
        start.series.into_iter().for_each(|series| self.table.restore(series));
        self.evaluated_to = self.evaluated_to.max(start.evaluated_to);
        self.last_windows.set_limits(start.shard, start.limits);
        self.unchecked = true;
        self.settle(&[]);
    }

    /// Forgets a shard, without a word.
    pub(crate) fn forget(&mut self, shard: u32) {
        self.table.forget(shard);
        self.last_windows.forget(shard);
        self.settle(&[]);
    }

    /// Evaluates a batch of windows.
    pub(crate) fn evaluate(&mut self, batch: &RecordBatch) -> Evaluated {
        let windows = WindowRows::new(batch);
        let mut found = windows.find(&self.hasher);
        self.reports.metrics.skipped_endless.inc_by(found.endless);
        let before = found.windows.len();
        found.windows.retain(|window| self.last_windows.admits(window));
        self.reports.metrics.skipped_late.inc_by((before - found.windows.len()) as u64);
        self.table.forget_broken_runs(self.evaluated_to);
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

    /// The watermark moved: no window that has begun is evaluated any more, so the newest rules are taken up,
    /// and windows that have not come do not come.
    pub(crate) fn boundary(&mut self, watermark: Watermark) -> Between {
        let mut alarms = Vec::new();
        let mut names = self.take_up_rules(&mut alarms);
        // At the end of all input nothing is missing.
        if watermark < Watermark::MAX {
            let now = watermark.0.saturating_add(1).saturating_mul(1_000_000);
            names.extend(self.table.elapse(now, self.current.epoch, &mut alarms, &self.reports));
        }
        self.between(alarms, names)
    }

    /// Nothing has come for this long, in nanoseconds, of any input.
    pub(crate) fn silence(&mut self, silence: i64) -> Between {
        let mut alarms = Vec::new();
        let epoch = self.current.epoch;
        let names = self.table.elapse_silence(silence, epoch, &mut alarms, &self.reports);
        self.between(alarms, names)
    }

    /// They are remembered as they were until their alarms are delivered.
    fn between(&mut self, mut alarms: Vec<Alarm>, names: Vec<SeriesName>) -> Between {
        self.table.hold_back(&names);
        alarms.sort_by_key(|alarm| alarm.time);
        self.settle(&alarms);
        (alarms, names)
    }

    fn settle(&self, alarms: &[Alarm]) {
        self.reports.settle(alarms, self.table.len(), self.table.past_windows());
    }

    fn take_up_rules(&mut self, alarms: &mut Vec<Alarm>) -> Vec<SeriesName> {
        let newest = self.newest.load();
        if Arc::ptr_eq(&newest, &self.current) && !self.unchecked {
            return Vec::new();
        }
        self.unchecked = false;
        let names = self.table.take_up_rules(&newest, self.evaluated_to, alarms);
        self.current = newest;
        names
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
        let every: Vec<u32> = (0..).take(found.len()).collect();
        let pairs = self.covered(&rules, found);
        let mut places = pairs.chunk_by(|(a, _), (b, _)| a == b).peekable();
        let mut everywhere = rules.index.everywhere().iter().copied().peekable();
        loop {
            // In the order of the configuration.
            let next = places.peek().and_then(|pairs| pairs.first()).map(|(place, _)| *place);
            let (place, covered) = match everywhere.next_if(|place| next.is_none_or(|next| *place < next)) {
                Some(place) => (place, every.clone()),
                None => match places.next() {
                    Some(pairs) => (next.unwrap_or_default(), pairs.iter().map(|(_, at)| *at).collect()),
                    None => break,
                },
            };
            let Some(rule) = rules.inline.get(place as usize) else { continue };
            let Some(inline) = rule.inline() else { continue };
            let covered: Vec<&Window> = covered.iter().filter_map(|at| found.get(*at as usize)).collect();
            if inline.earlier.is_empty() {
                let rows: Vec<usize> = covered.iter().map(|window| window.row).collect();
                self.evaluate_rule(rule, inline, windows, windows.batch, &covered, &rows, alarms);
                continue;
            }
            // What a window says depends on the one before it.
            for covered in covered.chunk_by(|a, b| a.end == b.end) {
                let rows: Vec<usize> = (0..covered.len()).collect();
                match self.table.with_earlier(rule, windows.batch, covered) {
                    Ok(batch) => {
                        self.evaluate_rule(rule, inline, windows, &batch, covered, &rows, alarms);
                    }
                    Err(error) => {
                        let (failed, none): (Result<(), _>, _) = (Err(error), Failures::default());
                        self.reports.conditions_failed(rule, &failed, &none, covered.len());
                    }
                }
            }
        }
        if !rules.has_classic() {
            return;
        }
        for window in found {
            let endpoint = (window.label("service"), window.label("operation"));
            for (rule, classic) in rules.classic(&window.operator, endpoint.0, endpoint.1) {
                let held = classic.held(windows, window);
                let verdict = Verdict { rule, windows, window, held, epoch: rules.epoch };
                self.table.step(verdict, alarms, &self.reports);
            }
        }
    }

    /// Evaluates windows, which stand in these rows of `batch`, by one rule.
    #[allow(clippy::too_many_arguments, reason = "the windows as they came, and as the conditions read them")]
    fn evaluate_rule(
        &mut self,
        rule: &Arc<Rule>,
        inline: &InlineRule,
        windows: &WindowRows<'_>,
        batch: &RecordBatch,
        covered: &[&Window],
        rows: &[usize],
        alarms: &mut Vec<Alarm>,
    ) {
        let truth = match Truth::simple(inline, windows) {
            Some(truth) => truth,
            None => match self.evaluate_conditions(rule, inline, batch) {
                Some(rows) => Truth::Rows(Box::new(rows)),
                None => return,
            },
        };
        let may_change = rule.remembers_all() || self.table.may_have(&rule.name);
        if !may_change && rows.iter().all(|row| truth.worst(*row).is_none()) {
            self.reports.metrics.evaluations.inc_by(covered.len() as u64);
            return;
        }
        for (window, row) in covered.iter().zip(rows) {
            let held = truth.worst(*row).and_then(|severity| {
                let clause = inline.when.get(severity).as_ref()?;
                Some((severity, clause.compared.clone()))
            });
            let verdict = Verdict { rule, windows, window, held, epoch: self.current.epoch };
            self.table.step(verdict, alarms, &self.reports);
        }
    }

    /// The rules that cover some of these windows but not every one, with the place of each of these windows,
    /// in order.
    fn covered(&mut self, rules: &Arc<RuleSet>, found: &[Window]) -> Vec<(u32, u32)> {
        let mut pairs = Vec::new();
        for (at, window) in (0..).zip(found) {
            pairs.extend(self.matches.of(rules, window).iter().map(|place| (*place, at)));
        }
        pairs.sort_unstable();
        pairs
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
}
