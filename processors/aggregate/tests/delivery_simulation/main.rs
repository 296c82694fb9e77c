//! The delivery core under random schedules: ledgers, marks, ranges and the stages of `aggregate` are the
//! real ones, Kafka and the destination are models, and everything that has a thread in the program is a
//! state machine here.
//!
//! A schedule is a seed: gateways start, stop, crash, are expelled without knowing it; requests are refused,
//! delayed, or their answers are lost, between any two steps; the store refuses rows for good, is repaired,
//! and forgets what it was sent. What is checked: every record is stored once, every window row is emitted
//! once and right, and no commit passes what is not finished.
//!
//! `WEIR_SCHEDULES=N` runs more than the 10,000 of CI, `WEIR_SEED=N` others. A schedule that fails is printed
//! without the steps that it does not need, ready to become a test below.
//!
//! Not in the model, because documented as limits: `windows: all` with several gateways of which one dies,
//! `allowed_lateness` with shards that change, sessions.
#![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

mod between;
mod exporter;
mod gateway;
mod kafka;
mod pipeline;
mod plan;
mod store;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};

use plan::{Does, Fate, Plan, Step};

/// A fault of a broken gateway. Shows that the simulation sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A range is inserted before it is written down.
    InsertBeforeWritten,
    /// A batch spans the end of an earlier owner's range.
    BatchesOverCuts,
    /// Kafka takes commits of members that it has expelled.
    StaleCommits,
    /// Lanes whose windows are added up end one after another for the trunk.
    LanesEndOneByOne,
    /// Rows that a former owner was about to insert, or that were tried long ago, are not looked for in the
    /// table.
    RepeatsNotLookedFor,
    /// A part of a range is inserted before it is written down.
    PartBeforeWritten,
    /// The next owner of a range that went in parts tries it as a whole.
    PartsForgotten,
    /// An insert is made without asking who owns the lane. So rare that it has a schedule of its own.
    InsertWithoutLease,
}

impl Fault {
    const ALL: [Fault; 7] = [
        Fault::InsertBeforeWritten,
        Fault::BatchesOverCuts,
        Fault::StaleCommits,
        Fault::LanesEndOneByOne,
        Fault::RepeatsNotLookedFor,
        Fault::PartBeforeWritten,
        Fault::PartsForgotten,
    ];
}

/// The first of these schedules that fails, and how.
fn search(seeds: std::ops::Range<u64>, fault: Option<Fault>) -> Option<(u64, String)> {
    let (next, threads) = (AtomicU64::new(seeds.start), 2);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return None;
            }
            if let Err(error) = world::run(&Plan::new(seed), fault) {
                next.store(seeds.end, Ordering::Relaxed);
                return Some((seed, error));
            }
        }
    };
    std::thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running.into_iter().filter_map(|thread| thread.join().unwrap()).min()
    })
}

fn number(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).map_or(otherwise, |text| text.parse().unwrap())
}

#[test]
fn nothing_is_lost_or_doubled_or_committed_too_early_in_any_schedule() {
    let first = number("WEIR_SEED", 0);
    let seeds = first..first.saturating_add(number("WEIR_SCHEDULES", 10_000));
    let Some((seed, error)) = search(seeds, None) else { return };
    let plan = Plan::new(seed).shrink(|plan| world::run(plan, None).is_err());
    let shrunk = world::run(&plan, None).unwrap_err();
    panic!(
        "seed {seed}: {error}\nwith fewer steps: {shrunk}\n{:?}\nPlan::with({seed}, &{:?})",
        plan, plan.steps
    );
}

#[test]
fn gateways_with_a_fault_are_found() {
    for fault in Fault::ALL {
        let found = search(0..10_000, Some(fault));
        assert!(found.is_some(), "{fault:?} is not found");
    }
}

/// The lane of a new owner has read part of a range that its predecessor had begun, and has to stop.
#[test]
fn part_of_a_range_to_be_repeated_is_given_up_at_the_deadline_and_repeated_by_the_next_owner() {
    let by = |does| Step::Gateway { gateway: 0, does };
    let own = by(Does::Own { late: false });
    let read = by(Does::Read { lane: 1, records: 3 });
    let steps = [own, by(Does::Work), by(Does::Crash), Step::Start, Step::Expel { member: 0 }, own, read];
    let stop = [by(Does::Stop), own, own, own];
    let given_up = [by(Does::Own { late: true }); 2];
    for end in [&stop[..], &given_up] {
        let all = [&steps, &stop[..], end].concat();
        world::run(&Plan::with(1270, &all), None).unwrap();
    }
}

/// A gateway has written a range down when it is cut off. The next one stores the range, the store forgets
/// it, and the first one goes on.
#[test]
fn a_gateway_that_was_cut_off_asks_whether_it_is_still_the_owner() {
    let is_fit = |seed: &u64| {
        let Plan { table, partitions, .. } = Plan::new(*seed);
        table.refuses.is_none() && !table.blind && partitions.iter().all(|records| !records.is_empty())
    };
    // `windows: all`, one gateway at a time.
    let seed = (0..).step_by(3).find(is_fit).unwrap();
    let by = |gateway, does| Step::Gateway { gateway, does };
    let own = by(0, Does::Own { late: false });
    let read = by(0, Does::Read { lane: 0, records: 4 });
    let commit = by(0, Does::Commit { fate: Fate::Answered });
    let begun = [own, read, by(0, Does::Begin), by(0, Does::Snapshot), commit];
    let next = [[Step::Expel { member: 0 }, Step::Start].as_slice(), &[by(1, Does::Work); 20]].concat();
    let export = by(0, Does::Export { export: 0, fate: Fate::Answered });
    let all = [&begun, next.as_slice(), &[Step::Forget, export]].concat();
    let plan = Plan::with(seed, &all);
    world::run(&plan, None).unwrap();
    let error = world::run(&plan, Some(Fault::InsertWithoutLease)).unwrap_err();
    assert!(error.contains("is stored twice"), "{error}");
}
