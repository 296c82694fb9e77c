//! Alarms that hide others: the key `inhibit`.

use std::collections::HashSet;

use super::config::Inhibition;
use super::state::Tracked;
use crate::alarm::Alarm;

/// The alarms that hide others by one rule.
pub(super) struct Sources {
    /// The values of `equal`, of alarms that cannot be hidden by the rule themselves.
    plain: HashSet<Vec<String>>,
    /// Of the others, which hide no alarms of their own kind.
    both: HashSet<Vec<String>>,
}

impl Sources {
    /// Those of these alarms that the rule means.
    pub(super) fn of<'a>(rule: &Inhibition, alarms: impl Iterator<Item = &'a Tracked>) -> Sources {
        let mut sources = Sources { plain: HashSet::new(), both: HashSet::new() };
        for Tracked { alarm, .. } in alarms {
            if alarm.is_firing() && !alarm.is_event() && rule.source.matches(alarm) {
                let set = if rule.target.matches(alarm) { &mut sources.both } else { &mut sources.plain };
                set.insert(rule.values(alarm));
            }
        }
        sources
    }
}

/// By what this alarm is hidden, if it is.
pub(super) fn inhibited(rules: &[Inhibition], sources: &[Sources], alarm: &Alarm) -> Option<String> {
    let hides = |(rule, sources): &(&Inhibition, &Sources)| {
        let values = rule.values(alarm);
        rule.target.matches(alarm)
            && (sources.plain.contains(&values)
                || (!rule.source.matches(alarm) && sources.both.contains(&values)))
    };
    let (rule, _) = rules.iter().zip(sources).find(hides)?;
    Some(format!("inhibited by an alarm with the same {}", rule.equal.join(", ")))
}
