//! The state of a notifier, as it is kept on disk.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use serde::{Deserialize, Serialize};

use crate::alarm::Alarm;

/// Everything that has to survive a restart.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct State {
    /// Alarms that fire, and resolved ones that somebody has still to be told of, by fingerprint.
    pub(crate) alarms: BTreeMap<String, Tracked>,
    /// Groups of these alarms.
    pub(crate) groups: BTreeMap<String, Group>,
    /// Messages that are not delivered, the oldest first.
    pub(crate) outbox: VecDeque<Message>,
    /// The number of the next message.
    pub(crate) next: u64,
    /// Alarms that were old when they came wait until this time.
    pub(crate) catching_up_until: i64,
    /// Alarms that are over, for a while: they may come again.
    #[serde(default)]
    pub(crate) ended: BTreeMap<String, Ended>,
    /// How often it was written.
    #[serde(default)]
    pub(crate) generation: u64,
}

/// Messages that were delivered since the state was written as a whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sent {
    /// That state's.
    pub(crate) generation: u64,
    /// The messages'.
    pub(crate) numbers: BTreeSet<u64>,
}

/// An alarm, as it was heard of last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Tracked {
    pub(crate) alarm: Alarm,
    /// Its group; none when it only hides others.
    pub(crate) group: Option<String>,
    /// It was older than `max_age` when it came.
    pub(crate) old: bool,
    /// Why it is not sent now.
    pub(crate) hidden: Option<String>,
    /// When it came first.
    #[serde(default)]
    pub(crate) came_ms: i64,
    /// When a row of it came last, or Weir started after that; 0 in a state that an older version wrote.
    #[serde(default)]
    pub(crate) heard_ms: i64,
    /// The target refuses it.
    #[serde(default)]
    pub(crate) refused: bool,
}

/// An alarm that is over.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Ended {
    /// The event time of its end.
    pub(crate) time: Option<i64>,
    /// When that was heard of.
    pub(crate) at_ms: i64,
}

/// Alarms that are told together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Group {
    /// The labels that its alarms share.
    pub(crate) labels: BTreeMap<String, String>,
    /// The fingerprints of its alarms.
    pub(crate) members: BTreeSet<String>,
    /// Those that people know to fire.
    pub(crate) told: BTreeSet<String>,
    /// When there is something to do next, in milliseconds; `i64::MAX`: nothing.
    pub(crate) next_ms: i64,
    /// When its last message was made.
    pub(crate) last_ms: Option<i64>,
    /// Its next message is not made before.
    #[serde(default)]
    pub(crate) opens_ms: i64,
}

/// A message on its way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Message {
    /// Its number, part of the id of its requests.
    pub(crate) number: u64,
    /// When it was made.
    pub(crate) made_ms: i64,
    /// The labels of its group; empty for a digest.
    pub(crate) labels: BTreeMap<String, String>,
    /// What it tells of.
    pub(crate) alarms: Vec<Alarm>,
    /// How often it was tried.
    pub(crate) attempts: u32,
    /// The fingerprints of those that nobody has heard of before.
    #[serde(default)]
    pub(crate) new: BTreeSet<String>,
}

/// What became of an alarm at this target.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Note {
    pub(crate) alarm: Alarm,
    pub(crate) outcome: Outcome,
    /// By what it was suppressed, or what the target answered.
    pub(crate) reason: String,
    pub(crate) attempts: u32,
}

/// The outcomes of a notification.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The target took it.
    Sent,
    /// It was given up.
    Failed,
    /// It was not sent on purpose.
    Suppressed,
}

impl Outcome {
    /// The name in metrics and logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Outcome::Sent => "sent",
            Outcome::Failed => "failed",
            Outcome::Suppressed => "suppressed",
        }
    }
}
