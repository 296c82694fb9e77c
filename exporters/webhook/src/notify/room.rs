//! What messages that wait may hold.

use std::collections::VecDeque;

use super::state::Message;
use crate::alarm::Alarm;

/// Alarms that are tracked at most.
pub(crate) const MAX_ALARMS: usize = 20_000;
/// Bytes of the alarms in messages, at most.
const MAX_BYTES: usize = 16 << 20;

/// What messages may still hold.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Room {
    alarms: usize,
    bytes: usize,
    /// No message waits: one of any size has room.
    is_all: bool,
}

impl Room {
    /// What these leave.
    pub(super) fn beside(messages: &VecDeque<Message>) -> Room {
        let mut room = Room { alarms: MAX_ALARMS, bytes: MAX_BYTES, is_all: true };
        messages.iter().for_each(|message| room.take(&message.alarms));
        room
    }

    /// Whether these have room.
    pub(super) fn has(&self, alarms: &[Alarm]) -> bool {
        self.is_all || (alarms.len() <= self.alarms && bytes(alarms) <= self.bytes)
    }

    pub(super) fn take(&mut self, alarms: &[Alarm]) {
        self.alarms = self.alarms.saturating_sub(alarms.len());
        self.bytes = self.bytes.saturating_sub(bytes(alarms));
        self.is_all &= alarms.is_empty();
    }
}

pub(super) fn bytes(alarms: &[Alarm]) -> usize {
    alarms.iter().map(|alarm| alarm.line().len()).sum()
}
