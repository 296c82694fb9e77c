//! From the results of single windows to an alarm that fires and resolves: one state machine for each rule
//! and series.
//!
//! * The alarm fires when the rule held in `fire_after` consecutive windows, or in consecutive windows over
//!   that time, with the severity of the last of them.
//! * While it fires, a window that holds at another severity changes the severity at once, up or down.
//! * It resolves when the rule did not hold in `resolve_after` consecutive windows, the last of which ends at
//!   least `keep_firing_for` after the first. Missing windows resolve nothing. Before it fires, a missing
//!   window breaks the run.

use serde::{Deserialize, Serialize};
use weir_alarms::Severity;

/// How long it takes to fire and to resolve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patience {
    pub(crate) fire_after: Lasting,
    /// Windows, at least 1.
    pub(crate) resolve_after: u32,
    /// From the end of the first window that does not hold, in nanoseconds.
    pub(crate) keep_firing_for: i64,
}

/// How long a rule has to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lasting {
    /// Windows, at least 1.
    Windows(u32),
    /// From the end of the first window to the end of the last one, in nanoseconds.
    Time(i64),
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { fire_after: Lasting::Windows(1), resolve_after: 1, keep_firing_for: 0 }
    }
}

/// Where a series stands with a rule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AlarmState {
    /// The severity at which it fires.
    firing: Option<Severity>,
    /// Consecutive windows that say that it should change: held while not firing, did not hold while firing.
    run: u32,
    /// The end of the first of them.
    #[serde(default)]
    since: i64,
}

impl AlarmState {
    /// Takes the verdict on the next window, which ends at `end`: the worst severity that held, if any did.
    /// `follows`: no window is missing between the one before and this one.
    pub(crate) fn step(&mut self, held: Option<Severity>, end: i64, follows: bool, patience: Patience) {
        match (self.firing, held) {
            (None, Some(severity)) => {
                if !follows {
                    self.forget_run();
                }
                self.count(end);
                let fires = match patience.fire_after {
                    Lasting::Windows(windows) => self.run >= windows,
                    Lasting::Time(time) => end.saturating_sub(self.since) >= time,
                };
                if fires {
                    *self = AlarmState { firing: Some(severity), ..AlarmState::default() };
                }
            }
            (None, None) => self.forget_run(),
            (Some(_), Some(to)) => *self = AlarmState { firing: Some(to), ..AlarmState::default() },
            (Some(_), None) => {
                self.count(end);
                let kept_for = end.saturating_sub(self.since);
                if self.run >= patience.resolve_after && kept_for >= patience.keep_firing_for {
                    *self = AlarmState::default();
                }
            }
        }
    }

    fn count(&mut self, end: i64) {
        if self.run == 0 {
            self.since = end;
        }
        self.run = self.run.saturating_add(1);
    }

    /// The severity at which it fires.
    pub(crate) fn firing(&self) -> Option<Severity> {
        self.firing
    }

    /// Forgets the run of windows: what they were evaluated by has changed.
    pub(crate) fn forget_run(&mut self) {
        (self.run, self.since) = (0, 0);
    }

    /// Whether there is nothing to remember.
    pub(crate) fn is_rest(&self) -> bool {
        *self == AlarmState::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Windows as letters, each ten long: `h`, `m`, `l` held at that severity, `-` did not hold, `_` is
    /// missing. Changes as letters: `H`, `M`, `L` fires or moves there, `R` resolves, `.` nothing.
    fn run_with(windows: &str, patience: Patience) -> String {
        let mut state = AlarmState::default();
        let mut follows = true;
        let mut changes = String::new();
        for (index, window) in windows.chars().enumerate() {
            let held = match window {
                '_' => {
                    follows = false;
                    changes.push(' ');
                    continue;
                }
                'h' => Some(Severity::High),
                'm' => Some(Severity::Mid),
                'l' => Some(Severity::Low),
                _ => None,
            };
            let before = state.firing();
            state.step(held, (index as i64 + 1) * 10, follows, patience);
            follows = true;
            changes.push(match state.firing() {
                now if now == before => '.',
                None => 'R',
                Some(Severity::High) => 'H',
                Some(Severity::Mid) => 'M',
                Some(Severity::Low) => 'L',
            });
        }
        changes
    }

    fn run(windows: &str, fire_after: u32, resolve_after: u32) -> String {
        let fire_after = Lasting::Windows(fire_after);
        run_with(windows, Patience { fire_after, resolve_after, keep_firing_for: 0 })
    }

    fn timed(windows: &str, fire_after: i64, resolve_after: u32, keep_firing_for: i64) -> String {
        run_with(windows, Patience { fire_after: Lasting::Time(fire_after), resolve_after, keep_firing_for })
    }

    #[test]
    fn a_time_to_fire_is_counted_from_the_end_of_the_first_window() {
        assert_eq!(timed("hhhh", 0, 1, 0), "H...");
        assert_eq!(timed("hhhh", 20, 1, 0), "..H.");
        assert_eq!(timed("hhhh", 15, 1, 0), "..H.");
        assert_eq!(timed("hh-hhh", 20, 1, 0), ".....H");
        assert_eq!(timed("h_hhh", 20, 1, 0), ". ..H");
    }

    #[test]
    fn an_alarm_is_kept_for_a_time_after_the_first_window_that_does_not_hold() {
        assert_eq!(timed("h---", 0, 1, 20), "H..R");
        assert_eq!(timed("h-h---", 0, 1, 20), "H....R", "a window that holds begins the time again");
        assert_eq!(timed("h-_-", 0, 1, 20), "H. R");
        assert_eq!(timed("h-----", 0, 4, 20), "H...R.", "both have to be over");
    }

    #[test]
    fn fires_once_and_resolves_once() {
        assert_eq!(run("--hhh--h", 1, 1), "..H..R.H");
    }

    #[test]
    fn a_change_of_severity_is_told_at_once_in_both_directions() {
        assert_eq!(run("lmhhl-", 1, 1), "LMH.LR");
    }

    #[test]
    fn fires_after_consecutive_windows_with_the_severity_of_the_last() {
        assert_eq!(run("l-lmh", 3, 1), "....H");
        assert_eq!(run("ll-ll", 3, 1), ".....");
    }

    #[test]
    fn a_missing_window_breaks_the_run_to_firing() {
        assert_eq!(run("h_hh", 2, 1), ". .H");
    }

    #[test]
    fn a_missing_window_resolves_nothing() {
        assert_eq!(run("h_-_-", 1, 2), "H . R");
    }

    #[test]
    fn resolves_after_consecutive_windows_below() {
        assert_eq!(run("h-h--h", 1, 2), "H...RH");
    }

    #[test]
    fn at_rest_nothing_is_remembered() {
        let patience = Patience { fire_after: Lasting::Windows(2), ..Patience::default() };
        let mut state = AlarmState::default();
        state.step(Some(Severity::Low), 10, true, patience);
        assert!(!state.is_rest());
        state.step(None, 20, true, patience);
        assert!(state.is_rest());
    }
}
