//! A slice on the trunk: what each lane contributed to it.

use std::collections::{BTreeMap, HashMap};

use weir_component::LaneId;
use weir_pdata::Held;

use crate::state::GroupState;
use crate::trunk::key_table::KeyTable;
use crate::window::Span;

/// States of a lane below which duplicates are not looked for.
const FEW: usize = 64;

/// The groups of a slice and what each lane contributed.
pub(crate) struct Slice {
    /// When it is.
    pub(crate) span: Span,
    /// By lane and the first window that it counts in.
    pub(crate) lanes: BTreeMap<LaneSliceKey, LaneSlice>,
    /// The numbers of its keys: one bit each.
    members: Vec<u64>,
    groups: usize,
}

/// Whose groups they are, and where they count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct LaneSliceKey {
    /// The lane.
    pub(crate) lane: LaneId,
    /// They count in windows that end here or later. `i64::MIN`: in all.
    pub(crate) from: i64,
}

impl LaneSliceKey {
    /// Whether they count in this window.
    pub(crate) fn counts_in(&self, window: Span) -> bool {
        window.end >= self.from
    }
}

/// The share of one lane in one slice.
#[derive(Default)]
pub(crate) struct LaneSlice {
    /// Its inputs.
    pub(crate) inputs: Held,
    /// The numbers of keys. What comes late for a group comes as one more of the same number.
    numbers: Vec<u32>,
    states: Vec<GroupState>,
    /// How many there were when duplicates were last added up.
    merged: usize,
}

impl Slice {
    /// Without groups.
    pub(crate) fn new(span: Span) -> Slice {
        Slice { span, lanes: BTreeMap::new(), members: Vec::new(), groups: 0 }
    }

    /// How many groups it has.
    pub(crate) fn groups(&self) -> usize {
        self.groups
    }

    /// Whether it has the group of this number.
    pub(crate) fn has(&self, number: u32) -> bool {
        let word = self.members.get(number as usize / 64);
        word.is_some_and(|word| word >> (number % 64) & 1 == 1)
    }

    /// Makes room for the group of this number; its key is held from now on. Whether it is new.
    pub(crate) fn add_group(&mut self, number: u32, keys: &mut KeyTable) -> bool {
        if self.has(number) {
            return false;
        }
        let word = number as usize / 64;
        if word >= self.members.len() {
            self.members.resize(word + 1, 0);
        }
        self.members[word] |= 1 << (number % 64);
        self.groups += 1;
        keys.hold(number);
        true
    }

    /// Nothing needs the inputs any more but what waits for `inputs`.
    pub(crate) fn release(self, keys: &mut KeyTable, inputs: &mut Held) {
        self.release_keys(keys);
        for lane in self.lanes.into_values() {
            inputs.absorb(lane.inputs);
        }
    }

    /// Releases its keys.
    pub(crate) fn release_keys(&self, keys: &mut KeyTable) {
        self.numbers().for_each(|number| keys.release(number));
    }

    fn numbers(&self) -> impl Iterator<Item = u32> {
        let words = self.members.iter().zip((0..).step_by(64));
        words.flat_map(|(word, first)| {
            (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| first + bit)
        })
    }

    /// Keys have other numbers now: the new ones, by old ones.
    pub(crate) fn renumber(&mut self, numbers: &[u32]) {
        let new = |old: u32| numbers.get(old as usize).copied().unwrap_or(u32::MAX);
        let mut members = Vec::new();
        for number in self.numbers().map(new) {
            let word = number as usize / 64;
            if word >= members.len() {
                members.resize(word + 1, 0);
            }
            members[word] |= 1_u64 << (number % 64);
        }
        self.members = members;
        let all = self.lanes.values_mut().flat_map(|lane| &mut lane.numbers);
        all.for_each(|number| *number = new(*number));
    }
}

impl LaneSlice {
    /// Room for this many more.
    pub(crate) fn reserve(&mut self, more: usize) {
        self.numbers.reserve_exact(more);
        self.states.reserve_exact(more);
    }

    /// Adds to the group of this number.
    pub(crate) fn add(&mut self, number: u32, state: GroupState) {
        self.numbers.push(number);
        self.states.push(state);
    }

    /// Adds up what is there several times for one group, when it may be much.
    pub(crate) fn merge_duplicates(&mut self) {
        if self.numbers.len() < FEW.max(self.merged * 2) {
            return;
        }
        let mut known: HashMap<u32, usize, foldhash::fast::RandomState> = HashMap::default();
        let (numbers, states) = (std::mem::take(&mut self.numbers), std::mem::take(&mut self.states));
        for (number, state) in numbers.into_iter().zip(states) {
            let next = self.numbers.len();
            let at = *known.entry(number).or_insert(next);
            match self.states.get_mut(at) {
                Some(sum) => sum.merge(&state),
                None => self.add(number, state),
            }
        }
        self.merged = self.numbers.len();
    }

    /// The numbers of groups with their states.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &GroupState)> {
        self.numbers.iter().copied().zip(&self.states)
    }

    /// Takes the numbers of groups with their states. The inputs are left.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = (u32, GroupState)> {
        std::mem::take(&mut self.numbers).into_iter().zip(std::mem::take(&mut self.states))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_stays_small_however_often_a_group_comes_late() {
        let mut lane = LaneSlice::default();
        for number in 0..10_000 {
            lane.add(number % 10, GroupState { count: 1, ..GroupState::default() });
            lane.merge_duplicates();
            assert!(lane.numbers.len() < FEW, "{number}");
        }
        assert_eq!(lane.iter().map(|(_, state)| state.count).sum::<u64>(), 10_000);
    }

    #[test]
    fn a_slice_holds_each_key_once_and_lets_it_go() {
        let mut keys = KeyTable::default();
        let hasher = crate::group::key::KeyHasher::default();
        let overflow = keys.overflow(1, &hasher);
        let mut slice = Slice::new(Span { start: 0, end: 5 });
        assert!(slice.add_group(overflow, &mut keys));
        assert!(!slice.add_group(overflow, &mut keys));
        assert_eq!((slice.groups(), keys.used()), (1, 1));
        assert!(slice.has(overflow) && !slice.has(overflow + 1) && !slice.has(1_000));
        slice.release_keys(&mut keys);
        assert_eq!(keys.used(), 0);
    }
}
