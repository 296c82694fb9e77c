//! What was remembered after which windows, as far back as windows may come again. No I/O.
//!
//! * When windows come again after a failure or a restart, judging goes on from what was remembered when the last of those
//!   that do not come again had been judged. So it says the same as before, and an alarm that fires goes on firing.
//! * A [`Checkpoint`] is kept for every batch of windows that changed something. Those that no restart goes back to are
//!   dropped: how far it goes back is known from the marks of the pipeline.
//! * Windows without marks (straight from a receiver) never come again; nothing is kept for them.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use weir_component::delivery::{LaneStart, Marks, Shard};
use weir_component::{LaneId, Watermark};

use crate::series::{Series, Source};

/// The version of the text that is written, and the only one that is read.
const VERSION: u32 = 1;

/// Every series after these windows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Checkpoint {
    #[serde(rename = "v")]
    version: u32,
    /// The end of the last window judged, in nanoseconds, for each source.
    ends: Vec<(Source, i64)>,
    series: Vec<Series>,
}

/// Checkpoints that are still needed.
pub(crate) struct History {
    marks: Marks,
    /// The oldest first.
    kept: VecDeque<Kept>,
    shards: HashMap<Shard, Begin>,
    /// The ends of the last windows judged, of shards that are open.
    ends: BTreeMap<Source, i64>,
    /// Later checkpoints than the one that was gone back to do not count any more.
    forked: bool,
}

struct Kept {
    checkpoint: Checkpoint,
    /// As JSON, once somebody has asked for it.
    text: Option<Arc<str>>,
}

/// A shard some lanes of which are open.
struct Begin {
    lanes: BTreeSet<LaneId>,
    /// Per operator: windows that are over at this watermark do not come again.
    delivered: BTreeMap<String, Watermark>,
    /// No window has been judged since it began.
    fresh: bool,
    /// [`History::begin`] has not said yet how it begins.
    unsaid: bool,
}

/// How a shard begins: what is remembered of it from now on.
pub(crate) struct Begun {
    pub(crate) shard: u32,
    pub(crate) series: Vec<Series>,
    /// The end of the last window judged, in nanoseconds.
    pub(crate) judged_to: i64,
}

impl Checkpoint {
    /// Reads one as it was written.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn read(text: &str) -> Result<Checkpoint, String> {
        let read: Checkpoint = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let version = read.version;
        if version == VERSION { Ok(read) } else { Err(format!("version {version} instead of {VERSION}")) }
    }

    fn write(&self) -> Arc<str> {
        // Texts and numbers always become JSON.
        serde_json::to_string(self).unwrap_or_default().into()
    }

    fn end(&self, source: &Source) -> Option<i64> {
        self.ends.iter().find(|(known, _)| known == source).map(|(_, end)| *end)
    }
}

impl Begin {
    /// The end of the last window of a source that does not come again, in nanoseconds.
    fn limit(&self, source: &Source) -> Option<i64> {
        self.delivered.get(&*source.operator).map(|mark| first_ns(*mark))
    }
}

impl History {
    /// Goes on with these, the oldest first.
    pub(crate) fn new(marks: Marks, saved: Vec<Checkpoint>) -> History {
        let mut history = History {
            marks,
            kept: VecDeque::new(),
            shards: HashMap::new(),
            ends: BTreeMap::new(),
            forked: false,
        };
        history.kept.extend(saved.into_iter().map(|checkpoint| Kept { checkpoint, text: None }));
        history
    }

    /// A lane opens. One whose position nobody keeps does not begin again where it was.
    pub(crate) fn open(&mut self, start: &LaneStart) {
        if start.source.is_none() {
            return;
        }
        let begin = self.shards.entry(start.shard).or_insert_with(|| Begin {
            lanes: BTreeSet::new(),
            delivered: BTreeMap::new(),
            fresh: true,
            unsaid: true,
        });
        begin.lanes.insert(start.lane);
        if begin.fresh {
            begin.unsaid = true;
            for operator in start.operators() {
                let mark = begin.delivered.entry(operator.to_owned()).or_insert(Watermark::MIN);
                *mark = (*mark).max(start.watermark(operator));
            }
        }
    }

    /// A lane closes. The shard that has none any more, if it was the last one.
    pub(crate) fn close(&mut self, lane: LaneId) -> Option<u32> {
        let shard =
            self.shards.iter_mut().find_map(|(shard, begin)| begin.lanes.remove(&lane).then_some(*shard))?;
        if self.shards.get(&shard).is_some_and(|begin| !begin.lanes.is_empty()) {
            return None;
        }
        self.shards.remove(&shard);
        self.ends.retain(|source, _| source.shard != shard.0);
        Some(shard.0)
    }

    /// How shards begin that have opened since this was last asked.
    pub(crate) fn begin(&mut self) -> Vec<Begun> {
        let unsaid = self.shards.iter_mut();
        let unsaid = unsaid.filter_map(|(shard, begin)| std::mem::take(&mut begin.unsaid).then_some(*shard));
        let unsaid: Vec<Shard> = unsaid.collect();
        unsaid.into_iter().map(|shard| self.begin_shard(shard)).collect()
    }

    fn begin_shard(&mut self, shard: Shard) -> Begun {
        let mut begun = Begun { shard: shard.0, series: Vec::new(), judged_to: i64::MIN };
        self.ends.retain(|source, _| source.shard != shard.0);
        let sources = self.kept.iter().flat_map(|kept| &kept.checkpoint.ends);
        let sources: BTreeSet<Source> =
            sources.map(|(source, _)| source.clone()).filter(|source| source.shard == shard.0).collect();
        for source in sources {
            let Some(limit) = self.shards.get(&shard).and_then(|begin| begin.limit(&source)) else {
                continue;
            };
            // The newest is what counts: what is behind it in time, but was kept before, has been judged anew.
            let last = self.kept.iter().rev().find_map(|kept| {
                let end = kept.checkpoint.end(&source).filter(|end| *end <= limit)?;
                Some((end, &kept.checkpoint.series))
            });
            let Some((end, series)) = last else { continue };
            begun.series.extend(series.iter().filter(|series| series.source == source).cloned());
            begun.judged_to = begun.judged_to.max(end);
            self.ends.insert(source, end);
        }
        begun
    }

    /// Windows with these ends have been judged, and `changed` something. Whether there is a new checkpoint, which has to be as safe
    /// as the windows' input before that is let go.
    pub(crate) fn judged<'a>(
        &mut self,
        ends: &BTreeMap<Source, i64>,
        changed: bool,
        series: impl Iterator<Item = &'a Series>,
    ) -> bool {
        let mut of_lanes = false;
        for (source, end) in ends {
            let shard = Shard(source.shard);
            if !self.shards.contains_key(&shard) || !self.marks.latest(shard).contains_key(&*source.operator)
            {
                continue;
            }
            of_lanes = true;
            self.fork(shard);
            let known = self.ends.entry(source.clone()).or_insert(*end);
            *known = (*known).max(*end);
        }
        if !of_lanes || !(changed || self.forked) {
            return false;
        }
        self.forked = false;
        let ends = self.ends.iter().map(|(source, end)| (source.clone(), *end)).collect();
        let series = series.filter(|series| self.ends.contains_key(&series.source)).cloned().collect();
        let checkpoint = Checkpoint { version: VERSION, ends, series };
        self.kept.push_back(Kept { checkpoint, text: None });
        true
    }

    /// Every checkpoint as JSON, the oldest first.
    pub(crate) fn texts(&mut self) -> Vec<Arc<str>> {
        let kept = self.kept.iter_mut();
        kept.map(|Kept { checkpoint, text }| text.get_or_insert_with(|| checkpoint.write()).clone()).collect()
    }

    /// The first windows of a shard that began are judged: later checkpoints do not count any more.
    fn fork(&mut self, shard: Shard) {
        let Some(begin) = self.shards.get_mut(&shard).filter(|begin| begin.fresh) else { return };
        begin.fresh = false;
        for kept in &mut self.kept {
            let before = kept.checkpoint.ends.len();
            let counts =
                |source: &Source, end: i64| source.shard != shard.0 || Some(end) <= begin.limit(source);
            kept.checkpoint.ends.retain(|(source, end)| counts(source, *end));
            if kept.checkpoint.ends.len() < before {
                kept.text = None;
                self.forked = true;
            }
        }
        self.kept.retain(|kept| !kept.checkpoint.ends.is_empty());
    }

    /// Drops what no restart goes back to.
    pub(crate) fn trim(&mut self) {
        if self.kept.len() < 2 {
            return;
        }
        let lasting: HashMap<u32, BTreeMap<String, i64>> =
            self.shards.keys().map(|shard| (shard.0, self.marks.lasting(*shard))).collect();
        let is_lasting = |(source, end): &(Source, i64)| {
            let Some(marks) = lasting.get(&source.shard) else { return true };
            marks.get(&*source.operator).is_some_and(|mark| *end <= first_ns(Watermark(*mark)))
        };
        // A base says something of every source that is open and was known before it.
        let mut open: BTreeSet<&Source> = BTreeSet::new();
        let mut base = None;
        for (at, kept) in self.kept.iter().enumerate() {
            let ends = &kept.checkpoint.ends;
            open.extend(
                ends.iter().map(|(source, _)| source).filter(|source| lasting.contains_key(&source.shard)),
            );
            let has_all = open.iter().all(|source| kept.checkpoint.end(source).is_some());
            if has_all && ends.iter().all(is_lasting) {
                base = Some(at);
            }
        }
        if let Some(base) = base {
            self.kept.drain(..base);
        }
    }
}

/// Windows that end here or before are over at this watermark: in nanoseconds.
fn first_ns(watermark: Watermark) -> i64 {
    watermark.0.saturating_add(1).saturating_mul(1_000_000)
}
