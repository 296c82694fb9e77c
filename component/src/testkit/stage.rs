//! The rules for stages.

use weir_pdata::{EventBatch, Signal};

use super::Probe;
use crate::{LaneMessage, Outlet, Stage, Watermark};

/// Drives a lane stage with `batches`, each followed by nothing else, then the end of the stream, and checks
/// that: every ack settles exactly once and not before everything derived from it is dropped; batches of
/// signals that the stage does not read (`passes`) pass untouched and in order; the forwarded watermark never
/// goes back and reaches the end; `Drain` is forwarded. Returns everything that came out, its acks already
/// dropped.
///
/// # Panics
/// When a rule is broken.
pub fn check_stage(
    stage: &mut dyn Stage<LaneMessage>,
    batches: Vec<EventBatch>,
    passes: impl Fn(Signal) -> bool,
) -> (Vec<LaneMessage>, Vec<LaneMessage>) {
    let probe = Probe::default();
    let mut out = Outlet::default();
    let (mut forwarded, mut to_trunk) = (Vec::new(), Vec::new());
    let expected: Vec<_> = batches
        .iter()
        .filter(|batch| passes(batch.signal))
        .map(|batch| (batch.signal, batch.len()))
        .collect();
    let count = batches.len();
    let messages = batches
        .into_iter()
        .map(|batch| LaneMessage::Batch(EventBatch { ack: probe.ack(), ..batch }))
        .chain([LaneMessage::Watermark(Watermark::MAX), LaneMessage::Drain]);
    for message in messages {
        stage.handle(message, &mut out);
        forwarded.extend(out.take_forwarded());
        to_trunk.extend(out.take_to_trunk());
    }
    let passed: Vec<_> = forwarded
        .iter()
        .filter_map(|message| match message {
            LaneMessage::Batch(batch) if passes(batch.signal) => Some((batch.signal, batch.len())),
            _ => None,
        })
        .collect();
    assert_eq!(passed, expected, "batches of signals that a stage does not read pass untouched");
    let watermarks: Vec<_> = forwarded
        .iter()
        .filter_map(|message| match message {
            LaneMessage::Watermark(watermark) => Some(*watermark),
            _ => None,
        })
        .collect();
    assert!(watermarks.is_sorted(), "the watermark went back: {watermarks:?}");
    assert_eq!(watermarks.last(), Some(&Watermark::MAX), "the end of the stream is forwarded");
    assert!(matches!(forwarded.last(), Some(LaneMessage::Drain)), "Drain is forwarded, and last");
    let settled = count - probe.open();
    let kept = forwarded.iter().chain(&to_trunk).any(|message| matches!(message, LaneMessage::Batch(_)));
    assert!(
        !kept || settled < count || count == 0,
        "inputs settled while their results were still on the way"
    );
    let release = |messages: Vec<LaneMessage>| -> Vec<LaneMessage> {
        messages
            .into_iter()
            .map(|message| match message {
                LaneMessage::Batch(batch) => {
                    LaneMessage::Batch(EventBatch { ack: weir_pdata::Ack::none(), ..batch })
                }
                other => other,
            })
            .collect()
    };
    let result = (release(forwarded), release(to_trunk));
    assert_eq!(probe.open(), 0, "after the end of the stream a stage keeps no input");
    assert_eq!(probe.count(weir_pdata::Outcome::Failed), 0, "nothing failed, so no input may fail");
    result
}
