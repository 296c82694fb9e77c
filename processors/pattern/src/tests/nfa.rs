//! The state machine: Flink's vectors, and agreement with a naive matcher that shares no code.

use proptest::prelude::*;

use crate::nfa::{Contiguity, Match, Nfa, Outcome, Sequence, Skip, Step};

use Contiguity::{Any, Relaxed, Strict};

fn once(join: Contiguity) -> Step {
    times(join, 1, 1, Relaxed)
}

fn times(join: Contiguity, min: u32, max: u32, inner: Contiguity) -> Step {
    Step { join, inner, min, max }
}

fn sequence(steps: &[Step], within: Option<i64>) -> Sequence {
    Sequence { steps: steps.to_vec(), within, skip: Skip::Nothing }
}

/// Runs `(time, truth)` through the machine. Matches and expired ones as (step, index of event).
fn run(sequence: &Sequence, events: &[(i64, u64)], to: i64) -> (Vec<Found>, Vec<Found>) {
    let mut nfa = Nfa::default();
    let mut outcome = Outcome::default();
    for (index, event) in events.iter().enumerate() {
        nfa.event(sequence, *event, index, usize::MAX, &mut outcome);
    }
    nfa.advance(sequence, to, &mut outcome);
    let found = |matches: &[Match<usize>]| -> Vec<Found> {
        matches.iter().map(|one| one.iter().map(|(step, event)| (*step, event.data)).collect()).collect()
    };
    (found(&outcome.matches), found(&outcome.expired))
}

type Found = Vec<(usize, usize)>;

/// The times of the events of each match, for sequences whose first letters tell the steps: `s1 b2 e4`.
fn times_of(sequence: &Sequence, letters: &str, events: &str, to: i64) -> (Vec<Vec<i64>>, Vec<Vec<i64>>) {
    let events: Vec<(i64, u64)> = events
        .split_whitespace()
        .map(|event| {
            let truth = letters.find(&event[..1]).map_or(0, |step| 1 << step);
            (event[1..].parse().unwrap(), truth)
        })
        .collect();
    let (matches, expired) = run(sequence, &events, to);
    let all_times = |found: Vec<Found>| {
        found.into_iter().map(|one| one.into_iter().map(|(_, event)| events[event].0).collect()).collect()
    };
    (all_times(matches), all_times(expired))
}

#[test]
fn v21_within_2_the_start_that_is_too_long_ago_is_over() {
    let start_end = sequence(&[once(Relaxed), once(Relaxed)], Some(2));
    assert_eq!(times_of(&start_end, "se", "s1 b2 s3 e4", 4).0, [[3, 4]]);
}

#[test]
fn v21_within_is_exclusive_on_the_right() {
    let start_end = sequence(&[once(Relaxed), once(Relaxed)], Some(2));
    let (matches, expired) = times_of(&start_end, "se", "s1 e3", 3);
    assert_eq!((matches.len(), expired), (0, vec![vec![1]]));
    assert_eq!(times_of(&start_end, "se", "s1 s2 f3 e3", 3).0, [[2, 3]]);
}

#[test]
fn v21_within_10_with_three_steps() {
    let relaxed = sequence(&[once(Relaxed), once(Relaxed), once(Relaxed)], Some(10));
    let (matches, expired) = times_of(&relaxed, "sme", "s1 s2 m3 f4 e11 e13", 13);
    assert_eq!(matches, [[2, 3, 11]]);
    assert_eq!(expired, [[1, 3]]);
}

#[test]
fn v21_within_10_followed_by_any_and_its_timeouts() {
    let any = sequence(&[once(Any), once(Any), once(Any)], Some(10));
    let events = "s1 s2 m3 f4 e11 e13";
    let (matches, expired) = times_of(&any, "sme", events, 13);
    assert_eq!(matches, [[2, 3, 11]]);
    assert_eq!(expired, [vec![1], vec![1, 3], vec![2], vec![2, 3]]);
    // Those of s1 at 11, those of s2 at 12.
    assert_eq!(times_of(&any, "sme", "s1 s2 m3 f4", 10).1.len(), 0);
    assert_eq!(times_of(&any, "sme", "s1 s2 m3 f4", 11).1, [vec![1], vec![1, 3]]);
    assert_eq!(times_of(&any, "sme", "s1 s2 m3 f4 e11", 12).1.len(), 4);
}

#[test]
fn next_takes_the_very_next_event_only() {
    let next = sequence(&[once(Strict), once(Strict)], None);
    assert_eq!(times_of(&next, "ab", "a1 c2 b3 a4 b5", 5).0, [[4, 5]]);
}

#[test]
fn followed_by_skips_what_does_not_fit_and_takes_the_first_that_does() {
    let followed = sequence(&[once(Relaxed), once(Relaxed)], None);
    assert_eq!(times_of(&followed, "ab", "a1 c2 b3 b4", 4).0, [[1, 3]]);
    let any = sequence(&[once(Any), once(Any)], None);
    assert_eq!(times_of(&any, "ab", "a1 c2 b3 b4", 4).0, [[1, 3], [1, 4]]);
}

#[test]
fn times_are_relaxed_inside_unless_consecutive() {
    let relaxed = sequence(&[times(Strict, 2, 2, Relaxed), once(Strict)], None);
    assert_eq!(times_of(&relaxed, "ab", "a1 c2 a3 b4", 4).0, [[1, 3, 4]]);
    let consecutive = sequence(&[times(Strict, 2, 2, Strict), once(Strict)], None);
    assert_eq!(times_of(&consecutive, "ab", "a1 c2 a3 b4 a5 a6 b7", 7).0, [[5, 6, 7]]);
}

#[test]
fn a_range_of_times_gives_a_match_for_each_number() {
    let range = sequence(&[times(Strict, 1, 2, Relaxed), once(Relaxed)], None);
    let (mut matches, _) = times_of(&range, "ab", "a1 a2 b3", 3);
    matches.sort();
    assert_eq!(matches, [vec![1, 2, 3], vec![1, 3], vec![2, 3]]);
}

#[test]
fn by_default_an_event_is_in_several_matches_and_past_last_event_in_one() {
    let two = sequence(&[once(Strict), once(Strict)], None);
    let hits = [(1, 3), (2, 3), (3, 3), (4, 3)];
    assert_eq!(run(&two, &hits, 4).0.len(), 3);
    let skip = Sequence { skip: Skip::PastLastEvent, ..two };
    assert_eq!(run(&skip, &hits, 4).0, [[(0, 0), (1, 1)], [(0, 2), (1, 3)]]);
}

#[test]
fn past_last_event_of_matches_with_the_same_end_the_one_that_began_first_wins() {
    let steps = [once(Strict), once(Relaxed), once(Relaxed)];
    let skip = Sequence { skip: Skip::PastLastEvent, ..sequence(&steps, Some(10)) };
    assert_eq!(times_of(&skip, "abc", "a1 a2 b3 c4 c5", 100).0, [[1, 3, 4]]);
}

#[test]
fn beyond_the_bound_the_oldest_partial_match_goes() {
    let two = sequence(&[once(Relaxed), once(Relaxed)], None);
    let mut nfa = Nfa::default();
    let mut outcome = Outcome::default();
    for (index, event) in [(1, 1), (2, 1), (3, 1), (4, 2)].into_iter().enumerate() {
        nfa.event(&two, event, index, 2, &mut outcome);
        assert!(nfa.len() <= 2);
    }
    assert_eq!(outcome.dropped, 1);
    let starts: Vec<_> = outcome.matches.iter().map(|one| one[0].1.time).collect();
    assert_eq!(starts, [2, 3]);
    assert!(nfa.is_empty());
}

/// Every choice of events that is a match, by trying them all.
fn naive(sequence: &Sequence, events: &[(i64, u64)]) -> Vec<Found> {
    let mut matches = Vec::new();
    for first in 0..events.len() {
        if events[first].1 & 1 == 1 {
            extend(sequence, events, &vec![(0, first)], &mut matches);
        }
    }
    matches
}

fn extend(sequence: &Sequence, events: &[(i64, u64)], found: &Found, matches: &mut Vec<Found>) {
    let (step, at) = *found.last().unwrap();
    let taken = found.iter().filter(|(of, _)| *of == step).count();
    let Step { min, max, inner, .. } = sequence.steps[step];
    if step + 1 == sequence.steps.len() && taken >= min as usize {
        matches.push(found.clone());
    }
    let mut ways = Vec::new();
    if taken < max as usize {
        ways.push((step, inner));
    }
    if taken >= min as usize && step + 1 < sequence.steps.len() {
        ways.push((step + 1, sequence.steps[step + 1].join));
    }
    for (step, contiguity) in ways {
        let fits = |event: usize| events[event].1 & (1 << step) != 0;
        for next in (at + 1..events.len()).filter(|next| fits(*next)) {
            let between = at + 1..next;
            let allowed = match contiguity {
                Strict => between.is_empty(),
                Relaxed => !between.into_iter().any(fits),
                Any => true,
            };
            let span = events[next].0 - events[found[0].1].0;
            if allowed && sequence.within.is_none_or(|within| span < within) {
                let longer = found.iter().copied().chain([(step, next)]).collect();
                extend(sequence, events, &longer, matches);
            }
        }
    }
}

/// Of all matches the one that begins first, of these the one that ends first; then from behind it.
fn skipping(mut matches: Vec<Found>) -> Vec<(usize, usize)> {
    let ends = |found: &Found| (found[0].1, found[found.len() - 1].1);
    let mut chosen: Vec<(usize, usize)> = Vec::new();
    matches.sort_by_key(ends);
    for found in &matches {
        let (first, last) = ends(found);
        if chosen.last().is_none_or(|(_, behind)| first > *behind) {
            chosen.push((first, last));
        }
    }
    chosen
}

fn contiguity() -> impl Strategy<Value = Contiguity> {
    prop_oneof![Just(Strict), Just(Relaxed), Just(Any)]
}

prop_compose! {
    fn any_step()(join in contiguity(), inner in contiguity(), min in 1..3_u32, more in 0..2_u32) -> Step {
        Step { join, inner, min, max: min + more }
    }
}

prop_compose! {
    fn any_events()(steps in prop::collection::vec((0..3_i64, 0..8_u64), 0..11)) -> Vec<(i64, u64)> {
        let mut time = 0;
        steps.into_iter().map(|(later, truth)| { time += later; (time, truth) }).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn the_machine_agrees_with_trying_every_choice(
        steps in prop::collection::vec(any_step(), 1..4),
        within in prop::option::of(1..10_i64),
        events in any_events(),
    ) {
        let sequence = sequence(&steps, within);
        let mut expected = naive(&sequence, &events);
        let (mut found, _) = run(&sequence, &events, i64::MAX);
        found.sort();
        expected.sort();
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn skipping_past_the_last_event_agrees_with_choosing_from_all_matches(
        steps in prop::collection::vec(any_step(), 1..4),
        within in prop::option::of(1..10_i64),
        events in any_events(),
    ) {
        let all = naive(&sequence(&steps, within), &events);
        let skip = Sequence { skip: Skip::PastLastEvent, ..sequence(&steps, within) };
        let mut nfa = Nfa::default();
        let mut outcome = Outcome::default();
        for (index, event) in events.iter().enumerate() {
            nfa.event(&skip, *event, index, usize::MAX, &mut outcome);
        }
        nfa.end(&mut outcome);
        prop_assert!(nfa.is_empty());
        let found: Vec<_> =
            outcome.matches.iter().map(|one| (one[0].1.data, one[one.len() - 1].1.data)).collect();
        prop_assert_eq!(found, skipping(all));
    }
}
