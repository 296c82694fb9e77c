//! From the results of single windows to an alarm that fires and resolves: one state machine for each rule
//! and series.
//!
//! * The alarm fires when the rule held in `fire_after` consecutive windows, with the severity of the last of
//!   them.
//! * While it fires, a window that holds at another severity changes the severity at once, up or down.
//! * It resolves when the rule did not hold in `resolve_after` consecutive windows. Missing windows resolve
//!   nothing. Before it fires, a missing window breaks the run.

use serde::{Deserialize, Serialize};
use weir_alarms::Severity;

/// How many windows it takes to fire and to resolve. Both are at least 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Patience {
    pub(crate) fire_after: u32,
    pub(crate) resolve_after: u32,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience { fire_after: 1, resolve_after: 1 }
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
}

/// The change that a window made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// Nothing that anybody must hear of.
    Nothing,
    /// The alarm begins.
    Fire(Severity),
    /// It goes on at another severity.
    Move { from: Severity, to: Severity },
    /// It is over.
    Resolve(Severity),
}

impl Change {
    /// The change to report when an alarm that was reported at one severity is now at another.
    pub(crate) fn between(reported: Option<Severity>, now: Option<Severity>) -> Change {
        match (reported, now) {
            (None, None) => Change::Nothing,
            (None, Some(severity)) => Change::Fire(severity),
            (Some(severity), None) => Change::Resolve(severity),
            (Some(from), Some(to)) if from == to => Change::Nothing,
            (Some(from), Some(to)) => Change::Move { from, to },
        }
    }
}

impl AlarmState {
    /// Takes the verdict on the next window: the worst severity that held, if any did. `follows`: no window
    /// is missing between the one before and this one.
    pub(crate) fn step(&mut self, held: Option<Severity>, follows: bool, patience: Patience) -> Change {
        match (self.firing, held) {
            (None, Some(severity)) => {
                self.run = if follows { self.run.saturating_add(1) } else { 1 };
                if self.run < patience.fire_after {
                    return Change::Nothing;
                }
                *self = AlarmState { firing: Some(severity), run: 0 };
                Change::Fire(severity)
            }
            (None, None) => {
                self.run = 0;
                Change::Nothing
            }
            (Some(from), Some(to)) => {
                *self = AlarmState { firing: Some(to), run: 0 };
                if from == to { Change::Nothing } else { Change::Move { from, to } }
            }
            (Some(severity), None) => {
                self.run = self.run.saturating_add(1);
                if self.run < patience.resolve_after {
                    return Change::Nothing;
                }
                *self = AlarmState::default();
                Change::Resolve(severity)
            }
        }
    }

    /// The severity at which it fires.
    pub(crate) fn firing(&self) -> Option<Severity> {
        self.firing
    }

    /// Forgets the run of windows: what they were evaluated by has changed.
    pub(crate) fn forget_run(&mut self) {
        self.run = 0;
    }

    /// Whether there is nothing to remember.
    pub(crate) fn is_rest(&self) -> bool {
        *self == AlarmState::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Windows as letters: `h`, `m`, `l` held at that severity, `-` did not hold, `_` is missing.
    /// Changes as letters: `H`, `M`, `L` fires or moves there, `R` resolves, `.` nothing.
    fn run(windows: &str, fire_after: u32, resolve_after: u32) -> String {
        let mut state = AlarmState::default();
        let mut follows = true;
        let mut changes = String::new();
        for window in windows.chars() {
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
            let change = state.step(held, follows, Patience { fire_after, resolve_after });
            follows = true;
            changes.push(match change {
                Change::Nothing => '.',
                Change::Resolve(_) => 'R',
                Change::Fire(to) | Change::Move { to, .. } => match to {
                    Severity::High => 'H',
                    Severity::Mid => 'M',
                    Severity::Low => 'L',
                },
            });
        }
        changes
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
        let mut state = AlarmState::default();
        state.step(Some(Severity::Low), true, Patience { fire_after: 2, resolve_after: 1 });
        assert!(!state.is_rest());
        state.step(None, true, Patience { fire_after: 2, resolve_after: 1 });
        assert!(state.is_rest());
    }
}
