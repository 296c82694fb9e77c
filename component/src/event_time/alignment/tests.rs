//! The rules of alignment.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::time::timeout;

use super::*;

const A: LaneId = LaneId(1);
const B: LaneId = LaneId(2);
const C: LaneId = LaneId(3);
const LONG: Duration = Duration::from_secs(30);

fn alignment(max_drift: i64) -> Arc<Alignment> {
    Arc::new(Alignment::new(max_drift, Gauge::default()))
}

fn at(alignment: &Arc<Alignment>, lane: LaneId, watermark: i64) -> Aligned {
    let aligned = alignment.join(lane, Watermark::MIN);
    aligned.advance(Watermark(watermark));
    aligned
}

/// A lane that waits, in a task of its own.
async fn waiting(alignment: &Arc<Alignment>, lane: LaneId) -> tokio::task::JoinHandle<()> {
    let before = alignment.held.get();
    let task = tokio::spawn({
        let alignment = Arc::clone(alignment);
        async move { alignment.wait(lane).await }
    });
    timeout(LONG, async {
        while alignment.held.get() == before {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    task
}

#[test]
fn a_lane_waits_when_it_is_more_than_the_drift_ahead_of_the_slowest() {
    let alignment = alignment(10);
    let a = at(&alignment, A, 100);
    let _b = at(&alignment, B, 90);
    assert!(!alignment.holds(A), "exactly the drift");
    a.advance(Watermark(101));
    assert!(alignment.holds(A));
    assert!(!alignment.holds(B), "the slowest goes on");
    assert!(!alignment.holds(C), "it is unknown");
}

#[test]
fn a_lane_that_has_read_nothing_holds_the_others() {
    let alignment = alignment(10);
    let _a = at(&alignment, A, 100);
    assert!(!alignment.holds(A), "alone it is the slowest");
    let b = alignment.join(B, Watermark::MIN);
    assert!(alignment.holds(A) && !alignment.holds(B));
    b.idle();
    assert!(!alignment.holds(A));
    let _c = alignment.join(C, Watermark(95));
    assert!(!alignment.holds(A), "a lane that goes on where another owner was is not at the beginning");
}

#[test]
fn an_idle_lane_that_is_ahead_waits_but_holds_no_other() {
    let alignment = alignment(10);
    let a = at(&alignment, A, 100);
    let _b = at(&alignment, B, 50);
    a.idle();
    assert!(alignment.holds(A) && !alignment.holds(B));
}

#[test]
fn the_ends_of_time_do_not_overflow() {
    let alignment = alignment(i64::MAX);
    let a = at(&alignment, A, i64::MAX);
    let _b = alignment.join(B, Watermark::MIN);
    assert!(alignment.holds(A) && !alignment.holds(B));
    drop(a);
    assert!(!alignment.holds(B));
}

#[tokio::test]
async fn a_lane_that_waits_goes_on_when_the_others_advance_go_idle_or_close() {
    let alignment = alignment(10);
    let a = at(&alignment, A, 100);
    let b = at(&alignment, B, 0);
    let task = waiting(&alignment, A).await;
    b.advance(Watermark(90));
    timeout(LONG, task).await.unwrap().unwrap();

    a.advance(Watermark(200));
    let task = waiting(&alignment, A).await;
    b.idle();
    timeout(LONG, task).await.unwrap().unwrap();

    b.advance(Watermark(91));
    let task = waiting(&alignment, A).await;
    drop(b);
    timeout(LONG, task).await.unwrap().unwrap();
    assert_eq!(alignment.held.get(), 0);
}

#[tokio::test]
async fn a_wait_that_is_cancelled_leaves_nothing() {
    let (first, second) = (alignment(10), alignment(10));
    let _lanes = [at(&first, A, 100), at(&first, B, 0), at(&second, A, 0), at(&second, B, 100)];
    let both = Alignments::new(A, vec![Arc::clone(&first), Arc::clone(&second)]);
    let mut ready = Box::pin(both.ready());
    tokio::select! {
        biased;
        () = &mut ready => panic!("it is ahead"),
        () = tokio::task::yield_now() => {}
    }
    assert_eq!(first.held.get(), 1);
    assert!(!second.holds(B), "B is not held by a lane that waits");
    drop(ready);
    assert_eq!(first.held.get(), 0);
    assert!(second.holds(B), "A counts again");
}

#[tokio::test]
async fn two_lanes_each_ahead_for_another_operator_do_not_wait_for_each_other() {
    let (first, second) = (alignment(10), alignment(10));
    let mut lanes = vec![at(&first, A, 100), at(&first, B, 0), at(&second, A, 0), at(&second, B, 100)];
    let task = |lane| {
        let both = Alignments::new(lane, vec![Arc::clone(&first), Arc::clone(&second)]);
        tokio::spawn(async move { both.ready().await })
    };
    let (a, b) = (task(A), task(B));
    // B does not wait for A, which waits for B.
    timeout(LONG, b).await.unwrap().unwrap();
    lanes[1].advance(Watermark(95));
    timeout(LONG, a).await.unwrap().unwrap();
    lanes.clear();
}

const DRIFT: i64 = 50;
const BATCH: i64 = 20;

/// The watermarks of the lanes of a schedule, as the test sees them. `None`: idle or closed.
type Model = Arc<Mutex<Vec<Option<i64>>>>;

/// Lanes that advance by random steps, go idle, come back and end. With `check` a lane must not run ahead.
async fn schedule(seed: u64, check: bool) {
    println!("seed {seed}");
    let alignment = alignment(DRIFT);
    let mut random = StdRng::seed_from_u64(seed);
    let count: usize = random.random_range(2..6);
    let model: Model = Arc::new(Mutex::new(vec![Some(0); count]));
    let joined: Vec<Aligned> =
        (0..count).map(|lane| alignment.join(LaneId(lane as u64), Watermark(0))).collect();
    let mut tasks = Vec::new();
    for (number, aligned) in joined.into_iter().enumerate() {
        let seed: u64 = random.random();
        tasks.push(tokio::spawn(run_lane(seed, number, aligned, model.clone(), check)));
    }
    for task in tasks {
        timeout(LONG, task).await.unwrap_or_else(|_| panic!("seed {seed}: stuck")).unwrap();
    }
    assert_eq!(alignment.held.get(), 0);
    assert!(alignment.lock().all.is_empty());
}

async fn run_lane(seed: u64, number: usize, aligned: Aligned, model: Model, check: bool) {
    let mut random = StdRng::seed_from_u64(seed);
    let (alignment, mut time) = (Arc::clone(&aligned.alignment), 0);
    for _ in 0..random.random_range(50..300) {
        alignment.wait(aligned.lane).await;
        if random.random_bool(0.1) {
            aligned.idle();
            model.lock().unwrap()[number] = None;
            for _ in 0..random.random_range(1..5) {
                tokio::task::yield_now().await;
            }
            continue;
        }
        let from = time;
        time += random.random_range(1..=BATCH);
        let slowest = {
            let mut model = model.lock().unwrap();
            let slowest = model.iter().flatten().min().copied();
            model[number] = Some(time);
            slowest
        };
        aligned.advance(Watermark(time));
        if let Some(slowest) = slowest.filter(|_| check) {
            assert!(from <= slowest + DRIFT, "lane {number} read on at {from}, the slowest is at {slowest}");
        }
        if random.random_bool(0.3) {
            tokio::task::yield_now().await;
        }
    }
    model.lock().unwrap()[number] = None;
}

/// On one thread nothing happens between the wait and the batch, so the test knows exactly what was allowed.
#[tokio::test]
async fn no_lane_reads_on_when_it_is_further_ahead_than_the_drift() {
    for seed in 0..100 {
        schedule(seed, true).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lanes_that_run_beside_each_other_are_never_stuck() {
    for seed in 0..100 {
        schedule(seed, false).await;
    }
}
