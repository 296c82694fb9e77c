use std::time::Instant;

use super::*;
use crate::Watermark;
use crate::delivery::MAX_BYTES;
use crate::delivery::Rewritten;
use std::sync::atomic::AtomicU32;

fn spec(position: Option<i64>, metadata: Metadata) -> LedgerSpec {
    let wake: Arc<dyn Fn() + Send + Sync> = Arc::new(|| {});
    let (source, shard, own) = ("c/g/t".into(), Shard(0), Shard(1));
    LedgerSpec { source, input: None, set: None, number: 0, shard, own, position, metadata, wake }
}

fn ledger(position: Option<i64>, metadata: Metadata) -> Ledger {
    Ledger::new(spec(position, metadata))
}

fn position(ledger: &Ledger) -> Position {
    positions(&[ledger]).remove(0).unwrap()
}

fn resumed(x: i64, p: Option<i64>) -> Metadata {
    let sink = "main/db".to_owned();
    let pending = p.map(|end| (sink.clone(), end)).into_iter().collect();
    Metadata { exported: BTreeMap::from([(sink, x)]), pending, ..Metadata::default() }
}

#[tokio::test]
async fn an_owner_that_was_cut_off_asks_again_before_it_goes_on() {
    let woken = Arc::new(tokio::sync::Notify::new());
    let wake: Arc<dyn Fn() + Send + Sync> = {
        let woken = woken.clone();
        Arc::new(move || woken.notify_one())
    };
    let [length, second] = [10, 1].map(std::time::Duration::from_secs);
    let lease = Lease::new(length);
    let ledger = Ledger::leased(LedgerSpec { wake, ..spec(Some(5), Metadata::default()) }, lease.clone());
    let now = Instant::now();
    lease.renew(now);
    ledger.until_owned().await.unwrap();
    assert_eq!(position(&ledger).version, 0, "the lease holds: nothing to ask");

    // The last word is as old as the lease is long.
    let lease = Lease::new(length);
    let ledger = Ledger::leased(
        LedgerSpec { wake: ledger.0.wake.clone(), ..spec(Some(5), Metadata::default()) },
        lease.clone(),
    );
    lease.renew(now - length);
    let asked = tokio::spawn({
        let ledger = ledger.clone();
        async move { ledger.until_owned().await }
    });
    woken.notified().await;
    let answer = position(&ledger);
    // An answer to a question of long ago proves nothing.
    lease.renew(now - length);
    ledger.written(&answer);
    woken.notified().await;
    assert!(!asked.is_finished());
    lease.renew(now + second);
    ledger.written(&position(&ledger));
    asked.await.unwrap().unwrap();

    lease.renew(now + second);
    ledger.close();
    assert_eq!(ledger.until_owned().await, Err(Closed), "another owner is known");
}

#[test]
fn a_range_is_written_down_before_it_is_sent() {
    let woken = Arc::new(AtomicU32::new(0));
    let count = woken.clone();
    let wake: Arc<dyn Fn() + Send + Sync> = Arc::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
    });
    let metadata = Metadata::default();
    let (source, shard) = ("c/g/t".into(), Shard(0));
    let ledger = Ledger::new(LedgerSpec {
        source,
        input: None,
        set: None,
        number: 0,
        shard,
        own: Shard(1),
        position: Some(5),
        metadata,
        wake,
    });
    let sink: Arc<str> = "main/db".into();
    let version = ledger.record_pending(&sink, &(5..9));
    assert_eq!(woken.load(Ordering::Relaxed), 1);
    assert_eq!(ledger.is_written(version), Ok(false));
    let written = position(&ledger);
    assert_eq!(written.offset, 5);
    assert_eq!(written.metadata.pending("main/db"), Some(5..9));
    ledger.written(&written);
    assert_eq!(ledger.is_written(version), Ok(true));
    ledger.record_exported("main/db", &(5..9));
    let after = position(&ledger).metadata;
    assert_eq!((after.exported["main/db"], after.pending.len()), (9, 0));
    ledger.close();
    assert_eq!(ledger.is_written(version), Err(Closed));
}

#[test]
fn the_next_owner_repeats_the_range_without_writing_it_again() {
    let ledger = ledger(Some(3), resumed(5, Some(9)));
    let sink: Arc<str> = "main/db".into();
    assert_eq!(ledger.unfinished(&sink), Some(5..9));
    assert_eq!(ledger.cuts(), [5, 9]);
    assert_eq!(ledger.record_pending(&sink, &(5..9)), 0);
    assert_eq!(ledger.is_written(0), Ok(true));
    assert_eq!(position(&ledger).metadata.generation, 1);
}

#[test]
fn a_part_of_a_range_is_written_down_as_long_as_the_range_is_pending() {
    let first = ledger(Some(3), resumed(5, None));
    let sink: Arc<str> = "main/db".into();
    let begun = first.record_pending(&sink, &(5..9));
    let part = Split { rows: 2..7, of: 9, without: vec![3] };
    assert!(first.record_pending_part(&sink, &part) > begun);
    let written = position(&first).metadata;
    let second = ledger(Some(3), Metadata::decode(&written.encode()).unwrap().unwrap());
    assert_eq!((second.record_pending(&sink, &(5..9)), second.split(&sink)), (0, Some(part.clone())));
    assert_eq!(second.record_pending_part(&sink, &part), 0, "it is written down already");
    assert!(second.record_pending_part(&sink, &Split { rows: 7..9, of: 9, without: vec![] }) > 0);
    second.record_exported(&sink, &(5..9));
    assert_eq!((position(&second).metadata.splits.len(), second.split(&sink)), (0, None));
    let third = ledger(Some(3), Metadata::decode(&written.encode()).unwrap().unwrap());
    assert!(third.record_pending(&sink, &(5..12)) > 0, "another range");
    assert_eq!(third.split(&sink), None);
}

#[test]
fn positions_that_are_used_again_have_other_identities() {
    let mut rewritten = Rewritten::default();
    [9, 7].into_iter().for_each(|from| rewritten.add(from));
    let metadata = Metadata {
        rewritten: rewritten.clone(),
        topic: Some("T".to_owned()),
        epoch: Some(3),
        lanes: Some(2),
        ..resumed(5, None)
    };
    let ledger = ledger(Some(3), metadata);
    assert_eq!(ledger.identity(7), "c/g/t/0", "7 is not in it");
    assert_eq!(ledger.identity(8), "c/g/t/0~1");
    assert_eq!(ledger.identity(10), "c/g/t/0~2");
    assert_eq!((position(&ledger).metadata.epoch, position(&ledger).metadata.lanes), (Some(3), Some(2)));
    ledger.reached_epoch(4);
    ledger.reached_epoch(2);
    let metadata = position(&ledger).metadata;
    assert_eq!(
        (metadata.epoch, metadata.rewritten, metadata.topic.as_deref()),
        (Some(4), rewritten, Some("T"))
    );
}

#[test]
fn a_mark_is_never_behind_a_position_that_depends_on_it() {
    let (ledger, marks) = (ledger(Some(0), Metadata::default()), Marks::default());
    let (start, attachment) = ledger.attach(&"main".into(), &marks, LaneId(1));
    assert_eq!(start.watermark("aggregate"), Watermark::MIN);
    marks.open(&"aggregate".into(), Shard(0), LaneId(1));
    let input = ledger.tracker().track(10);
    let mark = marks.emit(&"aggregate".into(), Shard(0), Watermark(700));
    let fired = weir_pdata::Ack::in_order([mark, input]);
    assert_eq!(position(&ledger).offset, 0);
    drop(attachment);
    assert!(!ledger.is_final());
    drop(fired);
    let after = position(&ledger);
    assert_eq!((after.offset, after.metadata.windows["main/aggregate"]), (10, 700));
    assert!(ledger.is_final());
}

#[test]
fn marks_say_of_which_configuration_they_are() {
    let old = BTreeMap::from([("main/a#old".to_owned(), 600), ("main/b".to_owned(), 50)]);
    let ledger = ledger(Some(0), Metadata { windows: old, ..Metadata::default() });
    let marks = Marks::default();
    marks.declare(&"a".into(), "new".into());
    let (start, _attachment) = ledger.attach(&"main".into(), &marks, LaneId(1));
    marks.open(&"a".into(), Shard(0), LaneId(1));
    assert_eq!((start.watermark("a"), start.watermark("b")), (Watermark(600), Watermark(50)));
    assert_eq!(start.of_another("a", "new"), Some(Watermark(600)));
    assert_eq!((start.of_another("a", "old"), start.of_another("b", "any")), (None, None));
    let windows = |ledger: &Ledger| position(ledger).metadata.windows.into_iter().collect::<Vec<_>>();
    let b = ("main/b".to_owned(), 50);
    assert_eq!(windows(&ledger), [("main/a#old".to_owned(), 600), b.clone()], "until there is a new one");
    drop(marks.emit(&"a".into(), Shard(0), Watermark(700)));
    assert_eq!(windows(&ledger), [("main/a#new".to_owned(), 700), b]);
    ledger.written(&position(&ledger));
    assert_eq!(marks.lasting(Shard(0))["a"], 700, "under its own name for who asks here");
}

#[test]
fn what_is_not_configured_any_more_is_forgotten_when_there_is_no_room_for_it() {
    let old = |name: &str, count: u32| -> BTreeMap<String, i64> {
        (0..count).map(|n| (format!("old/{name}{n}#aaaaaaaa"), 9)).collect()
    };
    let mut before = Metadata { windows: old("operator", 20), ..resumed(5, None) };
    before.exported.extend(old("sink", 20));
    before.windows.insert("main/kept#aaaaaaaa".to_owned(), 1);
    before.windows.insert("main/renamed#aaaaaaaa".to_owned(), 1);
    let open = |before: Metadata| {
        let (ledger, marks) = (ledger(Some(3), before), Marks::default());
        marks.declare(&"kept".into(), "aaaaaaaa".into());
        let (_, attachment) = ledger.attach(&"main".into(), &marks, LaneId(1));
        (position(&ledger).metadata, attachment)
    };
    let (short, _) = open(before.clone());
    assert_eq!((short.windows.len(), short.exported.len()), (22, 21), "it may be configured again");
    before.windows.extend(old("operator", 200));
    before.pending = old("sink", 200);
    let (long, _) = open(before);
    assert!(long.encode().len() <= MAX_BYTES, "{}", long.encode().len());
    assert_eq!(long.windows, BTreeMap::from([("main/kept#aaaaaaaa".to_owned(), 1)]));
    assert_eq!((long.exported, long.pending.len()), (BTreeMap::from([("main/db".to_owned(), 5)]), 0));
}

#[test]
fn what_fires_after_a_lane_was_let_go_does_not_count_for_it() {
    let (lane, other, marks) =
        (ledger(Some(0), Metadata::default()), ledger(Some(0), Metadata::default()), Marks::default());
    let (_, attachment) = lane.attach(&"main".into(), &marks, LaneId(1));
    let (_, _stays) = other.attach(&"main".into(), &marks, LaneId(2));
    for lane in [1, 2] {
        marks.open(&"a".into(), Shard(0), LaneId(lane));
    }
    let with_both = marks.emit(&"a".into(), Shard(0), Watermark(10));
    attachment.close();
    drop((with_both, marks.emit(&"a".into(), Shard(0), Watermark(20))));
    let both = positions(&[&lane, &other]).into_iter().map(|found| found.unwrap().metadata.windows["main/a"]);
    assert_eq!(both.collect::<Vec<_>>(), [10, 20]);
}

#[test]
fn windows_of_an_ownership_that_was_lost_do_not_count_for_the_next_one_here() {
    let (marks, operator): (_, Arc<str>) = (Marks::default(), "a".into());
    let lost = ledger(Some(0), Metadata::default());
    let (_, attachment) = lost.attach(&"main".into(), &marks, LaneId(1));
    marks.open(&operator, Shard(0), LaneId(1));
    let still_under_way = marks.emit(&operator, Shard(0), Watermark(600));
    // Others had the lane meanwhile. They have delivered less.
    let windows = BTreeMap::from([("main/a".to_owned(), 100)]);
    let next = ledger(Some(0), Metadata { windows, ..Metadata::default() });
    let (start, _next) = next.attach(&"main".into(), &marks, LaneId(2));
    let mark = || position(&next).metadata.windows["main/a"];
    assert_eq!((start.watermark("a"), mark()), (Watermark(100), 100));
    drop((still_under_way, attachment));
    assert_eq!(
        (marks.delivered(Shard(0))["a"], mark()),
        (600, 100),
        "the trunk has not heard of the lane yet"
    );
    marks.restart(&operator, Shard(0));
    marks.open(&operator, Shard(0), LaneId(2));
    assert_eq!(mark(), 100);
    drop(marks.emit(&operator, Shard(0), Watermark(300)));
    assert_eq!(mark(), 300);
}

#[test]
fn what_is_taken_without_being_written_down_counts_in_order() {
    let ledger = ledger(Some(0), Metadata::default());
    let sink: Arc<str> = "main/file".into();
    ledger.add_waiting(&sink, &(0..4));
    ledger.add_waiting(&sink, &(4..6));
    ledger.finish_waiting(&sink, &(4..6));
    assert_eq!(ledger.exported(&sink), Some(0));
    ledger.add_waiting(&sink, &(6..8));
    ledger.finish_waiting(&sink, &(0..4));
    assert_eq!(ledger.exported(&sink), Some(6), "4..6 was finished before its turn");
}
