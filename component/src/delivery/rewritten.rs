//! The places from which on positions of an input were used again.

use serde::{Deserialize, Serialize};

/// From where on positions of an input stand for other records than they once did, and how often that has
/// happened.
///
/// The content of an input before some position changes exactly when it is written again from a position
/// below that one. So the number of these times tells the contents of a range from those that it had before.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<i64>", into = "Vec<i64>")]
pub struct Rewritten(Vec<(i64, u32)>);

impl Rewritten {
    /// Whether that has never happened.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The input is written again from this position on.
    pub fn add(&mut self, from: i64) {
        let at = self.0.partition_point(|(other, _)| *other < from);
        if self.0.get(at).is_none_or(|(other, _)| *other != from) {
            let before = at.checked_sub(1).and_then(|before| self.0.get(before));
            self.0.insert(at, (from, before.map_or(0, |(_, times)| *times)));
        }
        self.0.iter_mut().skip(at).for_each(|(_, times)| *times = times.saturating_add(1));
    }

    /// How often something before this position has been written again.
    #[must_use]
    pub fn times(&self, end: i64) -> u32 {
        self.0.iter().rev().find(|(from, _)| *from < end).map_or(0, |(_, times)| *times)
    }

    /// No range ends at this position or before it any more.
    pub fn forget_before(&mut self, position: i64) {
        let unused = self.0.partition_point(|(from, _)| *from <= position).saturating_sub(1);
        self.0.drain(..unused);
    }
}

/// `[from, times]`, or several of them one after the other.
impl TryFrom<Vec<i64>> for Rewritten {
    type Error = String;

    fn try_from(numbers: Vec<i64>) -> Result<Rewritten, String> {
        let pair = |pair: &[i64]| match pair {
            [from, times] => u32::try_from(*times).ok().map(|times| (*from, times)),
            _ => None,
        };
        let pairs: Option<Vec<(i64, u32)>> = numbers.chunks(2).map(pair).collect();
        let mut pairs = pairs.ok_or("`r` does not have pairs of a position and a number")?;
        // Earlier versions kept the last place only: what was before it had been written again once less.
        if let [(from, times)] = *pairs.as_slice()
            && times > 1
        {
            pairs = vec![(-1, times - 1), (from, times)];
        }
        pairs.retain(|(_, times)| *times > 0);
        Ok(Rewritten(pairs))
    }
}

impl From<Rewritten> for Vec<i64> {
    fn from(rewritten: Rewritten) -> Vec<i64> {
        let mut pairs = rewritten.0;
        if matches!(pairs.as_slice(), [(_, times)] if *times > 1) {
            // Nothing before this place has been written again: see above.
            pairs.insert(0, (-1, 0));
        }
        pairs.into_iter().flat_map(|(from, times)| [from, i64::from(times)]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every order of places at which an input is written again, some of them twice; the reference is the
    /// definition.
    #[test]
    fn the_times_that_something_before_a_position_was_written_again_are_known_however_often_it_happens() {
        let places = [20, 40, 60];
        for first in places {
            for second in places {
                for third in places {
                    let (mut rewritten, mut happened) = (Rewritten::default(), Vec::new());
                    for from in [first, second, third] {
                        rewritten.add(from);
                        happened.push(from);
                        for end in (1..80).rev() {
                            let before = happened.iter().filter(|from| **from < end).count();
                            assert_eq!(rewritten.times(end) as usize, before, "{happened:?} before {end}");
                        }
                    }
                    let text = serde_json::to_string(&rewritten).unwrap();
                    assert_eq!(serde_json::from_str::<Rewritten>(&text).unwrap(), rewritten, "{text}");
                    let mut short = rewritten.clone();
                    short.forget_before(45);
                    assert!(short.0.len() <= 2);
                    assert!((46..80).all(|end| short.times(end) == rewritten.times(end)), "{happened:?}");
                }
            }
        }
        let before: Rewritten = serde_json::from_str("[40,3]").unwrap();
        assert_eq!((before.times(40), before.times(41)), (2, 3), "as an earlier version meant it");
        assert!(serde_json::from_str::<Rewritten>("[40]").is_err());
    }
}
