//! A rule: which windows it covers, and which conditions raise an alarm.

pub(crate) mod active_times;
pub(crate) mod classic;
pub(crate) mod comparison;
pub(crate) mod earlier;
pub(crate) mod glob;
pub(crate) mod window_names;

use std::sync::Arc;

use weir_alarms::{Compared, Labels, Message, Severity};
use weir_pdata::expr::Expr;

use crate::evaluation::alarm_state::Patience;
use crate::rule::active_times::ActiveTimes;
use crate::rule::comparison::Comparison;
use crate::rule::earlier::{EarlierColumn, LookBack};
use crate::rule::glob::Glob;

/// A rule that has been checked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rule {
    /// Unique within a rule set.
    pub(crate) name: Arc<str>,
    pub(crate) kind: Kind,
    pub(crate) patience: Patience,
    /// Windows with fewer events are not looked at.
    pub(crate) min_count: u64,
    pub(crate) message: Message,
    /// For so long after a series was told to fire, nothing else is told that is not worse. Nanoseconds, 0 is
    /// none.
    pub(crate) silence: i64,
    pub(crate) no_data: Option<NoData>,
    /// Alarms of a series without windows end after this time, in nanoseconds.
    pub(crate) resolve_without_data: Option<i64>,
    /// Outside of these times the rule does not hold.
    pub(crate) active: Option<ActiveTimes>,
    pub(crate) extras: Extras,
}

/// An alarm for series whose windows stay away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoData {
    /// Nanoseconds from the end of the last window.
    pub(crate) after: i64,
    pub(crate) severity: Severity,
}

/// Fields of its alarms beside the message.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Extras {
    /// In the order of their names.
    pub(crate) labels: Arc<Labels>,
    pub(crate) annotations: Vec<(Arc<str>, Message)>,
    pub(crate) runbook: Option<Arc<str>>,
}

/// The two forms of rules.
#[allow(clippy::large_enum_variant, reason = "rules are behind an Arc, and most are the larger ones")]
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    Inline(InlineRule),
    Classic(Classic),
}

/// A rule of the configuration: every one that covers a window evaluates it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct InlineRule {
    pub(crate) operator: Option<Glob>,
    pub(crate) labels: Vec<(String, Glob)>,
    pub(crate) when: PerSeverity<Option<Clause>>,
    /// What its conditions read of earlier windows.
    pub(crate) earlier: Vec<EarlierColumn>,
    /// How far back, when that is further than the window before.
    pub(crate) look_back: Option<LookBack>,
}

/// A condition over a window's columns.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Clause {
    pub(crate) condition: Expr,
    pub(crate) compared: Compared,
    /// The same as the condition, when it is as simple as that.
    pub(crate) comparison: Option<Comparison>,
}

/// A classic rule: of those that cover a window only the most specific ones evaluate it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Classic {
    pub(crate) endpoint: Endpoint,
    /// Those that are given; the first that a window is beyond is the one that the alarm names.
    pub(crate) limits: Vec<Limit>,
}

/// Thresholds of one measure.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Limit {
    /// A window's column.
    pub(crate) measure: &'static str,
    pub(crate) side: Side,
    /// In the unit of the column.
    pub(crate) at: PerSeverity<Option<f64>>,
}

/// Which values are beyond a threshold; an equal one never is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Side {
    Above,
    Below,
}

/// Which windows a classic rule is for; `None` is any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) service: Option<Arc<str>>,
    pub(crate) operation: Option<Arc<str>>,
}

/// One thing for each severity.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct PerSeverity<T> {
    pub(crate) high: T,
    pub(crate) mid: T,
    pub(crate) low: T,
}

impl<T> PerSeverity<T> {
    pub(crate) fn get(&self, severity: Severity) -> &T {
        match severity {
            Severity::High => &self.high,
            Severity::Mid => &self.mid,
            Severity::Low => &self.low,
        }
    }
}

impl Endpoint {
    pub(crate) fn name(&self) -> Arc<str> {
        let part = |part: &Option<Arc<str>>| part.as_deref().unwrap_or("*").to_owned();
        format!("{}|{}", part(&self.service), part(&self.operation)).into()
    }
}

impl InlineRule {
    /// Whether the rule is for windows of this operator with these labels. A label that is missing fits only
    /// `*`.
    pub(crate) fn covers(&self, operator: &str, labels: &Labels) -> bool {
        self.operator.as_ref().is_none_or(|glob| glob.is_match(operator))
            && self.labels.iter().all(|(name, glob)| {
                let label = labels.iter().find(|(known, _)| **known == **name);
                glob.is_match(label.map_or("", |(_, value)| value))
            })
    }
}

impl Rule {
    /// Whether templates see milliseconds: classic rules are written in milliseconds.
    pub(crate) fn uses_milliseconds(&self) -> bool {
        matches!(self.kind, Kind::Classic(_))
    }

    /// What makes it one of the configuration's rules.
    pub(crate) fn inline(&self) -> Option<&InlineRule> {
        match &self.kind {
            Kind::Inline(inline) => Some(inline),
            Kind::Classic(_) => None,
        }
    }

    /// How far it looks back, when that is further than the window before.
    pub(crate) fn look_back(&self) -> Option<&LookBack> {
        self.inline()?.look_back.as_ref()
    }

    /// What it reads of earlier windows.
    pub(crate) fn earlier(&self) -> &[EarlierColumn] {
        self.inline().map_or(&[], |inline| &inline.earlier)
    }

    /// Whether series that are at rest are remembered too.
    pub(crate) fn remembers_all(&self) -> bool {
        self.no_data.is_some() || !self.earlier().is_empty()
    }

    /// Whether it holds for no window, and only asks whether there are any.
    pub(crate) fn has_no_condition(&self) -> bool {
        match &self.kind {
            Kind::Inline(inline) => {
                Severity::FROM_HIGH.into_iter().all(|severity| inline.when.get(severity).is_none())
            }
            Kind::Classic(_) => false,
        }
    }

    /// Whether it is active just before this moment, in nanoseconds.
    pub(crate) fn is_active(&self, end: i64) -> bool {
        self.active.as_ref().is_none_or(|times| times.contains(end.saturating_sub(1)))
    }
}
