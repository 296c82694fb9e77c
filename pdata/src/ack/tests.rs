use super::*;
use std::sync::Mutex;

#[derive(Default)]
struct Log(Mutex<Vec<(u64, Outcome)>>);

impl AckSink for Log {
    fn settle(&self, id: u64, outcome: Outcome) {
        self.0.lock().unwrap().push((id, outcome));
    }
}

fn log() -> (Arc<Log>, impl Fn(u64) -> Ack) {
    let log = Arc::new(Log::default());
    let sink = log.clone();
    (log, move |id| Ack::new(sink.clone(), id))
}

fn settled(log: &Log) -> Vec<(u64, Outcome)> {
    log.0.lock().unwrap().clone()
}

#[test]
fn done_when_the_last_clone_is_dropped() {
    let (log, ack) = log();
    let first = ack(7);
    let second = first.clone();
    drop(first);
    assert!(settled(&log).is_empty());
    drop(second);
    assert_eq!(settled(&log), [(7, Outcome::Done)]);
}

#[test]
fn the_last_handle_knows_that_it_is_and_not_when_another_has_failed() {
    let (_, ack) = log();
    let (first, second) = (ack(1), ack(2));
    let (held, joined) = (Held::new(first.clone()), Ack::join([first, second.clone()]));
    assert!(!held.is_last() && !second.is_last());
    joined.fail();
    drop(joined);
    assert!(!held.is_last() && !second.is_last(), "they have failed");
    assert!(ack(3).is_last() && Held::default().is_last());
    drop(held.release());
}

#[test]
fn one_failed_clone_fails_the_input() {
    let (log, ack) = log();
    let first = ack(1);
    first.clone().fail();
    drop(first);
    assert_eq!(settled(&log), [(1, Outcome::Failed)]);
}

#[test]
fn joined_inputs_settle_together_and_inherit_failure() {
    let (log, ack) = log();
    let (a, b) = (ack(1), ack(2));
    let joined = Ack::join([a.clone(), b.clone(), a.clone()]);
    drop((a, b));
    assert!(settled(&log).is_empty());
    joined.fail();
    drop(joined);
    let mut all = settled(&log);
    all.sort_by_key(|(id, _)| *id);
    assert_eq!(all, [(1, Outcome::Failed), (2, Outcome::Failed)]);
}

#[test]
fn inputs_joined_in_order_settle_in_order() {
    let (log, ack) = log();
    drop(Ack::in_order([ack(3), ack(1), ack(2)]));
    assert_eq!(settled(&log), [(3, Outcome::Done), (1, Outcome::Done), (2, Outcome::Done)]);
}

#[test]
fn a_held_ack_fails_when_dropped_and_not_when_released() {
    let (log, ack) = log();
    drop(Held::new(ack(1)));
    let mut held = Held::new(ack(2));
    held.absorb(Held::new(ack(3)));
    drop(held.release());
    let mut all = settled(&log);
    all.sort_by_key(|(id, _)| *id);
    assert_eq!(all, [(1, Outcome::Failed), (2, Outcome::Done), (3, Outcome::Done)]);
}

/// Joins, one in the other: `depth` of them, around one input each.
fn nested(ack: &impl Fn(u64) -> Ack, depth: u64, join: impl Fn([Ack; 2]) -> Ack) -> Ack {
    (1..depth).fold(ack(0), |inner, id| join([inner, ack(id)]))
}

#[test]
fn joins_nested_a_hundred_thousand_deep_are_dropped_on_a_small_stack() {
    const DEPTH: u64 = 100_000;
    let small = std::thread::Builder::new().stack_size(128 * 1024);
    let dropped = small.spawn(|| {
        let (log, ack) = log();
        drop(nested(&ack, DEPTH, Ack::join));
        assert_eq!(settled(&log).len(), usize::try_from(DEPTH).unwrap());
        let failed = nested(&ack, DEPTH, Ack::in_order);
        failed.fail();
        drop(failed);
        let all = settled(&log).split_off(usize::try_from(DEPTH).unwrap());
        assert!(all.iter().zip(0..).all(|(found, id)| *found == (id, Outcome::Failed)), "in order");
        assert_eq!(all.len(), usize::try_from(DEPTH).unwrap());
    });
    dropped.unwrap().join().unwrap();
}

#[test]
fn a_join_inside_a_join_that_somebody_else_has_too_stays_open() {
    let (log, ack) = log();
    let inner = Ack::join([ack(1), ack(2)]);
    let other = inner.clone();
    let outer = Ack::join([inner, ack(3)]);
    outer.fail();
    drop(outer);
    assert_eq!(settled(&log), [(3, Outcome::Failed)]);
    drop(other);
    let mut all = settled(&log);
    all.sort_by_key(|(id, _)| *id);
    assert!(all.iter().all(|(_, outcome)| *outcome == Outcome::Failed) && all.len() == 3, "{all:?}");
}

/// Inputs of which one that is open keeps all later ones.
#[derive(Default)]
struct Ordered(Log);

impl AckSink for Ordered {
    fn settle(&self, id: u64, outcome: Outcome) {
        self.0.settle(id, outcome);
    }

    fn is_ordered(&self) -> bool {
        true
    }
}

#[test]
fn of_inputs_that_are_done_in_order_the_first_is_kept_for_all() {
    let lanes: Vec<Arc<Ordered>> = (0..64).map(|_| Arc::default()).collect();
    let ack = |lane: usize, id: u64| Ack::new(lanes[lane].clone(), id);
    let mut held = Held::default();
    // The first of each lane comes late in between.
    for id in [5, 3, 4, 1, 2].into_iter().chain(6..1000) {
        (0..lanes.len()).for_each(|lane| held.add(ack(lane, id)));
        assert!(held.len() <= 2 * lanes.len(), "{}", held.len());
    }
    let fired = held.another_ack();
    assert_eq!(held.len(), 1);
    for lane in &lanes {
        let done = settled(&lane.0);
        assert_eq!(done.len(), 998, "all but one are open no longer");
        assert!(done.iter().all(|(id, outcome)| *id != 1 && *outcome == Outcome::Done));
    }
    drop(fired);
    assert_eq!(settled(&lanes[0].0).len(), 998);
    drop(held);
    assert!(lanes.iter().all(|lane| settled(&lane.0).last() == Some(&(1, Outcome::Failed))));
}

#[test]
fn a_panicking_owner_counts_as_failure() {
    let (log, ack) = log();
    let owned = ack(9);
    let result = std::thread::spawn(move || {
        let _kept = owned;
        panic!("on purpose");
    })
    .join();
    assert!(result.is_err());
    assert_eq!(settled(&log), [(9, Outcome::Failed)]);
}
