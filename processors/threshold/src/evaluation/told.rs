//! The part of an alarm's state that readers have heard of.
//!
//! With a `silence` a series begins one alarm in that time, and a change to a milder severity waits. What is
//! worse than the last that was told is told at once. While the alarm goes on it is told again when the
//! silence is over. An end is told at once.

use serde::{Deserialize, Serialize};
use weir_alarms::Severity;

/// What readers know of one rule and series. Times are nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Told {
    /// It fires, at this severity.
    pub(crate) firing: Option<Severity>,
    /// When they last heard that it fires, and at which severity.
    last: Option<(i64, Severity)>,
}

/// The change to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing that anybody must hear of.
    Nothing,
    /// The alarm begins.
    Fire(Severity),
    /// It goes on, as told before.
    Repeat(Severity),
    /// It goes on at another severity.
    Move { from: Severity, to: Severity },
    /// It is over.
    Resolve(Severity),
}

impl Told {
    /// Known from the time before there was a silence: it fires at this severity since then.
    pub(crate) fn at(firing: Option<Severity>, since: i64) -> Told {
        Told { firing, last: firing.map(|severity| (since, severity)) }
    }

    /// Takes the state after a window that ends at `time`, and whether the rule held for it; gives what to
    /// tell. No silence is 0.
    pub(crate) fn tell(&mut self, now: Option<Severity>, held: bool, time: i64, silence: i64) -> Change {
        let quiet = self.is_quiet(time, silence);
        let is_worse_than_last =
            |severity: Severity| self.last.is_none_or(|(_, last)| severity.is_worse_than(last));
        let change = match (self.firing, now) {
            (None, Some(severity)) if held && (!quiet || is_worse_than_last(severity)) => {
                Change::Fire(severity)
            }
            (Some(severity), None) => Change::Resolve(severity),
            (Some(from), Some(to)) if from == to && held && silence > 0 && !quiet => Change::Repeat(to),
            (Some(from), Some(to)) if from != to && (!quiet || to.is_worse_than(from)) => {
                Change::Move { from, to }
            }
            _ => Change::Nothing,
        };
        match change {
            Change::Nothing => {}
            Change::Fire(severity) | Change::Repeat(severity) | Change::Move { to: severity, .. } => {
                *self = Told { firing: Some(severity), last: Some((time, severity)) };
            }
            Change::Resolve(_) => self.firing = None,
        }
        change
    }

    /// Its end is told otherwise.
    pub(crate) fn end(&mut self) -> Option<Severity> {
        self.firing.take()
    }

    /// Until when the silence lasts, if it has begun.
    pub(crate) fn quiet_until(&self, silence: i64) -> Option<i64> {
        self.last.map(|(at, _)| at.saturating_add(silence))
    }

    fn is_quiet(&self, time: i64, silence: i64) -> bool {
        self.quiet_until(silence).is_some_and(|end| time < end)
    }

    /// Whether nothing of it is needed any more.
    pub(crate) fn is_rest(&self, time: i64, silence: i64) -> bool {
        self.firing.is_none() && !self.is_quiet(time, silence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One window after the other, ten apart: `h`, `m`, `l` fires at that severity, `-` does not.
    /// Told: `H`, `M`, `L` fires or moves there, `+` is told again, `R` resolves, `.` nothing.
    fn told(states: &str, silence: i64) -> String {
        let mut told = Told::default();
        let letter = |state: char| match state {
            'h' => Some(Severity::High),
            'm' => Some(Severity::Mid),
            'l' => Some(Severity::Low),
            _ => None,
        };
        let mut changes = String::new();
        for (index, state) in states.chars().enumerate() {
            changes.push(match told.tell(letter(state), state != '-', index as i64 * 10, silence) {
                Change::Nothing => '.',
                Change::Repeat(_) => '+',
                Change::Resolve(_) => 'R',
                Change::Fire(_) | Change::Move { .. } => state.to_ascii_uppercase(),
            });
        }
        changes
    }

    #[test]
    fn without_a_silence_every_change_is_told_once() {
        assert_eq!(told("lllhhl-l--", 0), "L..H.LRLR.");
    }

    #[test]
    fn an_alarm_that_goes_on_is_told_again_after_the_silence() {
        assert_eq!(told("mmmmmmm-", 30), "M..+..+R");
    }

    #[test]
    fn an_alarm_that_comes_back_within_the_silence_is_told_after_it() {
        assert_eq!(told("m-m-mm-", 50), "MR...MR");
        assert_eq!(told("m-m-----m", 30), "MR......M");
    }

    #[test]
    fn a_worse_severity_breaks_the_silence_and_a_milder_one_waits_for_its_end() {
        assert_eq!(told("lh-hlll-h", 40), "LHR..L.RH");
        assert_eq!(told("hllll-", 30), "H..L.R");
    }
}
