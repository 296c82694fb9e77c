//! The positions of several lanes at one moment, to be written down.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::Ledger;
use crate::LaneId;
use crate::delivery::marks::{SharedMark, SharedMarks};
use crate::delivery::metadata::{MAX_BYTES, operator_of};
use crate::delivery::{Marks, Metadata, Shard};

/// The metadata to write down for a lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// The lowest position that is still needed.
    pub offset: i64,
    /// The metadata of this position.
    pub metadata: Metadata,
    /// The version of the ledger that it contains.
    pub version: u64,
}

impl Ledger {
    /// The metadata that had been written down when the ownership began, at the position where reading began.
    /// `None` while that is not known.
    #[must_use]
    pub fn resumed(&self) -> Option<Position> {
        let offset = self.lock().begin?;
        Some(Position { offset, metadata: self.0.resumed.clone(), version: 0 })
    }
}

/// The positions to write down for these lanes now, taken in one step. `None`: nothing is known of the lane
/// yet.
///
/// First every position is read, then every window mark once, then what is on its way. So a mark is never
/// behind a position that depends on it, and lanes that share windows agree on them. A mark counts for a lane
/// when its windows fired after the operator had opened the lane; until then it is the one that the ownership
/// began with.
#[must_use]
pub fn positions(ledgers: &[&Ledger]) -> Vec<Option<Position>> {
    let offsets: Vec<Option<i64>> =
        ledgers.iter().map(|ledger| ledger.0.tracker.committable().or_else(|| ledger.lock().begin)).collect();
    let mut marks: BTreeMap<(Arc<str>, Shard), SharedMarks> = BTreeMap::new();
    for ledger in ledgers {
        for (pipeline, source, _) in ledger.lock().pipelines.clone() {
            let shard = ledger.0.shard;
            marks.entry((pipeline, shard)).or_insert_with(|| source.delivered_shared(shard));
        }
    }
    let both = ledgers.iter().zip(offsets);
    both.map(|(ledger, offset)| {
        let offset = offset?;
        let state = ledger.lock();
        let mut metadata = Metadata {
            generation: ledger.0.resumed.generation.saturating_add(1),
            incarnation: ledger.0.resumed.incarnation,
            // Of operators and sinks that are not configured now: they may be again.
            windows: ledger.0.resumed.windows.clone(),
            topic: ledger.0.resumed.topic.clone(),
            lanes: ledger.0.resumed.lanes,
            rewritten: ledger.0.resumed.rewritten.clone(),
            incarnations: ledger.0.resumed.incarnations.clone(),
            ..Metadata::default()
        };
        metadata.rewritten.forget_before(offset);
        for (pipeline, source, lane) in &state.pipelines {
            let found = marks.get(&(Arc::clone(pipeline), ledger.0.shard));
            let closed = state.closed.get(pipeline);
            let own = found.into_iter().flatten().filter(|(_, mark)| mark.counts_for(*lane));
            for (operator, SharedMark { watermark, sharers, .. }) in own {
                let shared = closed.map_or(Some(watermark), |latest| latest.get(operator));
                let Some(shared) = shared.map(|shared| shared.min(watermark)) else { continue };
                // Who had a share is known of the latest only.
                let sharers = sharers.as_deref().filter(|_| shared == watermark);
                metadata.set_window(
                    pipeline,
                    operator,
                    source.fingerprint(operator).as_deref(),
                    (*shared, sharers),
                );
            }
        }
        metadata.begin_set(ledger.0.set.as_deref(), ledger.0.resumed.set.as_deref());
        for (name, sink) in &state.sinks {
            if let Some(exported) = sink.exported {
                metadata.exported.insert(name.to_string(), exported);
                metadata.pending.extend(sink.pending.map(|end| (name.to_string(), end)));
                metadata.splits.extend(sink.split.clone().map(|part| (name.to_string(), part)));
            }
        }
        // After the offsets: nothing before them had a later one.
        metadata.epoch = Some(ledger.0.epoch.load(Ordering::Acquire)).filter(|epoch| *epoch >= 0);
        if metadata.encode().len() > MAX_BYTES {
            forget_unused(&mut metadata, &state.pipelines);
        }
        Some(Position { offset, metadata, version: state.version })
    })
    .collect()
}

/// Forgets what belongs to other pipelines than these, and to operators that are not configured any more:
/// those whose windows had a fingerprint, and that have declared none.
fn forget_unused(metadata: &mut Metadata, pipelines: &[(Arc<str>, Marks, LaneId)]) {
    let is_within = |name: &str| pipelines.iter().any(|(pipeline, ..)| within(name, pipeline).is_some());
    metadata.exported.retain(|sink, _| is_within(sink));
    metadata.pending.retain(|sink, _| is_within(sink));
    metadata.splits.retain(|sink, _| is_within(sink));
    metadata.windows.retain(|name, _| {
        let (name, fingerprint) = operator_of(name);
        let is_declared = |marks: &Marks, operator| marks.fingerprint(operator).is_some();
        pipelines.iter().any(|(pipeline, marks, _)| {
            within(name, pipeline)
                .is_some_and(|operator| fingerprint.is_none() || is_declared(marks, operator))
        })
    });
}

/// The rest of a name of this pipeline.
fn within<'a>(name: &'a str, pipeline: &str) -> Option<&'a str> {
    name.strip_prefix(pipeline)?.strip_prefix('/')
}
