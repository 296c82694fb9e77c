use super::*;
use crate::clock::ManualClock;

const A: LaneId = LaneId(1);
const B: LaneId = LaneId(2);
const ALL: Shard = Shard(0);

fn stage(hold: LanesHold, receivers: &[&str], lanes: &[LaneId]) -> TrunkWatermark {
    let receivers = receivers.iter().map(|name| Arc::from(*name)).collect();
    let trunk = TrunkStart { receivers, ..TrunkStart::default() };
    let mut stage = TrunkWatermark::new(&trunk, hold, "p".into(), Arc::new(ManualClock::at(0)));
    let shared = SharedWatermarks::default();
    for lane in lanes {
        stage.open(&(*lane).into(), ALL, shared.clone(), Watermark::MIN);
    }
    stage
}

/// The watermark by the lanes, and the one that is forwarded.
fn moved(stage: &mut TrunkWatermark) -> (Option<i64>, Option<i64>) {
    let lanes = stage.advance(ALL);
    (lanes.map(|mark| mark.0), stage.forward().map(|mark| mark.0))
}

#[test]
fn lanes_alone_combine_to_their_minimum() {
    for hold in [LanesHold::FromTheStart, LanesHold::OnceTheyTell] {
        let mut stage = stage(hold, &[], &[A, B]);
        stage.set_lane(A, Watermark(5));
        assert_eq!(moved(&mut stage), (None, None));
        stage.set_lane(B, Watermark(3));
        assert_eq!(moved(&mut stage), (Some(3), Some(3)));
    }
}

#[test]
fn what_is_made_of_lanes_is_held_by_a_lane_that_has_said_nothing() {
    let mut stage = stage(LanesHold::FromTheStart, &[], &[A, B]);
    stage.set_stage_before(Watermark(7));
    assert_eq!(moved(&mut stage), (None, None), "what A and B bring is still to come");
    stage.set_lane_idle(A);
    stage.set_lane_idle(B);
    assert_eq!(moved(&mut stage), (None, Some(7)), "idle lanes hold nothing");
    stage.set_lane(A, Watermark(9));
    stage.set_stage_before(Watermark(20));
    assert_eq!(moved(&mut stage), (Some(9), Some(9)), "the least of both");
}

#[test]
fn what_is_made_on_the_trunk_is_held_by_lanes_that_bring_some_too() {
    let mut stage = stage(LanesHold::OnceTheyTell, &[], &[A]);
    stage.set_stage_before(Watermark(2));
    assert_eq!(moved(&mut stage), (None, Some(2)), "A has brought none");
    stage.set_lane(A, Watermark(3));
    stage.set_stage_before(Watermark(7));
    assert_eq!(moved(&mut stage), (Some(3), Some(3)));
    stage.close(A);
    assert_eq!(moved(&mut stage), (None, Some(7)));
}

#[test]
fn a_lane_that_has_ended_does_not_hold_the_stage_before() {
    for hold in [LanesHold::FromTheStart, LanesHold::OnceTheyTell] {
        let mut stage = stage(hold, &[], &[A, B]);
        stage.set_stage_before(Watermark(7));
        stage.set_lane(A, Watermark(3));
        stage.set_lane_idle(B);
        assert_eq!(moved(&mut stage), (Some(3), Some(3)));
        stage.set_lane(A, Watermark::MAX);
        assert_eq!(moved(&mut stage), (None, Some(7)), "{hold:?}: it counts as idle");
    }
}

#[test]
fn a_stage_without_lanes_hands_on_what_the_stage_before_says() {
    let mut stage = stage(LanesHold::FromTheStart, &[], &[]);
    stage.set_stage_before(Watermark(7));
    assert_eq!(moved(&mut stage), (None, Some(7)));
    stage.set_stage_before(Watermark(5));
    assert_eq!(moved(&mut stage), (None, None), "it never goes back");
}

#[test]
fn lanes_wait_for_every_receiver_and_again_after_an_early_end() {
    let mut stage = stage(LanesHold::OnceTheyTell, &["a", "b"], &[]);
    let shared = SharedWatermarks::default();
    let of = |lane, receiver: &str| LaneStart { receiver: Some(receiver.into()), ..LaneStart::from(lane) };
    stage.open(&of(A, "a"), ALL, shared.clone(), Watermark::MIN);
    stage.receiver_ready(&"a".into());
    stage.set_lane(A, Watermark(5));
    assert_eq!(moved(&mut stage), (None, None), "b may bring something earlier");
    stage.open(&of(B, "b"), ALL, shared.clone(), Watermark::MIN);
    stage.receiver_ready(&"b".into());
    stage.set_lane(B, Watermark(3));
    assert_eq!(moved(&mut stage), (Some(3), Some(3)));
    stage.close(B);
    assert_eq!(moved(&mut stage), (None, None), "another owner may read again what B has brought");
    stage.receiver_ready(&"b".into());
    assert_eq!(moved(&mut stage), (Some(5), Some(5)));
}

#[test]
fn shards_move_apart_and_the_least_is_forwarded() {
    let mut stage = stage(LanesHold::FromTheStart, &[], &[]);
    for (lane, shard) in [(A, Shard(1)), (B, Shard(2))] {
        assert!(stage.open(&lane.into(), shard, SharedWatermarks::default(), Watermark::MIN));
    }
    stage.set_lane(A, Watermark(9));
    assert_eq!((stage.advance(Shard(1)), stage.forward()), (Some(Watermark(9)), None));
    stage.set_lane(B, Watermark(4));
    assert_eq!((stage.advance(Shard(2)), stage.forward()), (Some(Watermark(4)), Some(Watermark(4))));
    assert_eq!((stage.of_lanes(Shard(1)), stage.of_lanes(Shard(2))), (Watermark(9), Watermark(4)));
}

#[test]
fn a_shard_is_over_with_its_last_lane_unless_a_stream_has_ended() {
    let mut stage = stage(LanesHold::FromTheStart, &[], &[A, B]);
    stage.set_lane(A, Watermark(9));
    assert_eq!(stage.close(A), Some(ClosedLane { shard: ALL, has_ended: false, was_last: false }));
    assert_eq!(stage.close(B), Some(ClosedLane { shard: ALL, has_ended: false, was_last: true }));
    assert_eq!(stage.close(B), None);
    assert!(stage.open(&A.into(), ALL, SharedWatermarks::default(), Watermark::MIN), "it begins again");
    stage.set_lane(A, Watermark::MAX);
    assert!(stage.has_ended(A));
    assert_eq!(stage.close(A), Some(ClosedLane { shard: ALL, has_ended: true, was_last: false }));
    assert!(!stage.open(&B.into(), ALL, SharedWatermarks::default(), Watermark::MIN));
}
