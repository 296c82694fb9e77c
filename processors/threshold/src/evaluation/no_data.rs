//! Series whose windows stay away: alarms that begin (`no_data`) and end (`resolve_without_data`) by time.
//!
//! A series has no data at a moment when no window of it ended after its last one, up to that moment. So the
//! times of these alarms depend on the windows alone, not on when somebody looks.

use weir_alarms::Alarm;
use weir_alarms::template_context::rfc3339;

use crate::evaluation::alarm_state::AlarmState;
use crate::evaluation::earlier::LONGEST_GAP;
use crate::evaluation::series::{Series, Silent};
use crate::rule::Rule;

const MINUTE: i64 = 60_000_000_000;
/// Active times come again within a week.
const LONGEST_SEARCH: i64 = 8 * 24 * 60;

/// Whether the series goes on, and when to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Something may happen then.
    At(i64),
    /// Nothing happens without a window.
    Never,
    /// It is over, and forgotten.
    Gone,
}

/// Takes up that no window of the series ends later than its last one, up to `now`, in nanoseconds. The
/// alarms that begin and end are without epoch and annotations.
pub(crate) fn elapse(series: &mut Series, key: &str, rule: &Rule, now: i64, alarms: &mut Vec<Alarm>) -> Next {
    let mut next: Option<i64> = None;
    let mut look_at = |at: i64| next = Some(next.map_or(at, |known| known.min(at)));
    let over = rule.resolve_without_data.map(|after| series.last_end.saturating_add(after));
    if let Some(no_data) = rule.no_data.filter(|_| series.silent.is_none() && !series.is_over) {
        let first = series.last_end.saturating_add(no_data.after);
        let until = over.map_or(now, |over| now.min(over - 1));
        match first_active(rule, first, until) {
            Ok(since) => {
                let silent = Silent { since, severity: no_data.severity, after: no_data.after };
                series.silent = Some(silent);
                series.own = rule.extras.labels.clone();
                alarms.push(row(series, key, silent, since, true));
            }
            Err(later) => look_at(later),
        }
    }
    if let Some(over) = over {
        if over <= now {
            if let Some(severity) = series.told.end() {
                let ended = series.resolved(key, severity, format!("resolved: {}: no data", series.name));
                alarms.push(Alarm { time: over, ends_at: Some(over), ..ended });
            }
            alarms.extend(end(series, key, over));
            series.state = AlarmState::default();
            if rule.earlier().is_empty() {
                // Its silence goes on.
                let quiet = series.told.quiet_until(rule.silence).filter(|quiet| *quiet > now);
                let quiet = quiet.filter(|_| rule.no_data.is_none());
                return quiet.map_or(Next::Gone, Next::At);
            }
            series.is_over = true;
        } else {
            look_at(over);
        }
    }
    let is_watched = rule.no_data.is_some() && !series.is_over;
    if series.is_rest(rule, now) {
        return Next::Gone;
    }
    // What only the next window would read.
    if !is_watched && series.state.is_rest() && series.told.is_rest(now, rule.silence) {
        let memory = rule.look_back().map_or(LONGEST_GAP, |back| back.longest.max(LONGEST_GAP));
        let forgotten = series.last_end.saturating_add(memory + 1);
        if forgotten <= now {
            return Next::Gone;
        }
        look_at(forgotten);
    }
    if series.state.is_rest() && !is_watched {
        let quiet = series.told.quiet_until(rule.silence).filter(|quiet| *quiet > now);
        quiet.into_iter().for_each(look_at);
    }
    next.map_or(Next::Never, |at| Next::At(at.max(now.saturating_add(1))))
}

/// The end of the alarm for windows that stayed away, when it fires.
pub(crate) fn end(series: &mut Series, key: &str, time: i64) -> Option<Alarm> {
    let silent = series.silent.take()?;
    Some(row(series, key, silent, time.max(silent.since), false))
}

fn row(series: &Series, key: &str, silent: Silent, time: i64, firing: bool) -> Alarm {
    let Silent { since, severity, after } = silent;
    let row = series.row(key, "no_data", severity, time, String::new());
    let mut row = Alarm {
        firing,
        measure: Some("no_data_ns".into()),
        value: Some(time.saturating_sub(series.last_end) as f64).filter(|_| firing),
        threshold: Some(after as f64),
        window_end: Some(series.last_end),
        starts_at: since,
        ends_at: (!firing).then_some(time),
        ..row
    };
    row.message = match firing {
        true => format!("{} no data since {}", row.opening(), rfc3339(series.last_end).unwrap_or_default()),
        false => format!("{} there was no data", row.opening()),
    };
    // Targets that tell alarms apart by rule and labels must not take it for the alarm of the condition.
    row.labels.push(("no_data".into(), "true".to_owned()));
    row.labels.sort();
    row
}

/// The first moment from `from` at which the rule is active, if that is up to `until`; else when to look
/// again.
fn first_active(rule: &Rule, from: i64, until: i64) -> Result<i64, i64> {
    for minutes in 0..LONGEST_SEARCH {
        let at = from.saturating_add(minutes * MINUTE);
        if at > until {
            return Err(at);
        }
        if rule.is_active(at) {
            return Ok(at);
        }
    }
    Err(until.saturating_add(MINUTE))
}
