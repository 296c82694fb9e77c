//! A rule: which windows it is for, and what must not be.

pub(crate) mod classic;
pub(crate) mod glob;
pub(crate) mod per_severity;
pub(crate) mod window_names;

use std::sync::Arc;

use weir_alarms::{Compared, Labels, Message};
use weir_pdata::expr::Expr;

use crate::evaluation::alarm_state::Patience;
use crate::rule::classic::Endpoint;
use crate::rule::glob::Glob;
use crate::rule::per_severity::PerSeverity;

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
}

/// The two forms of rules.
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
}

/// A condition over a window's columns.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Clause {
    pub(crate) condition: Expr,
    pub(crate) compared: Compared,
}

/// A classic rule: of those that cover a window only the most specific ones evaluate it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Classic {
    pub(crate) endpoint: Endpoint,
    /// Most that a mean duration may be, in nanoseconds.
    pub(crate) avg_ns: PerSeverity<Option<f64>>,
    /// Most that the longest duration may be, in nanoseconds.
    pub(crate) max_ns: PerSeverity<Option<f64>>,
}

impl InlineRule {
    /// Whether the rule is for windows of this operator with these labels. A label that is missing fits only `*`.
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
}
