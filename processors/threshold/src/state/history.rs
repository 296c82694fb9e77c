//! The state after each batch of windows, as far back as windows may come again. No I/O.
//!
//! * When windows come again after a failure or a restart, evaluation continues from the state after the last
//!   window that does not come again. So it gives the same alarms as before, and an alarm that fires goes on
//!   firing.
//! * [`RememberedSeries`] has the changes of every batch of windows, for each stream. Changes that no restart
//!   goes back to are merged into one state. The marks of the pipeline tell which these are.
//! * Windows without marks (straight from a receiver) never come again. Nothing is kept for them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use weir_component::delivery::{LaneStart, Marks, Shard};
use weir_component::{LaneId, Watermark};

use crate::evaluation::series::Series;
use crate::evaluation::windows::WindowStream;
use crate::state::remembered::{LogEntry, RememberedSeries};

/// Series of shards that have closed, at most: when there are more they are forgotten.
const MOST_CLOSED: usize = 100_000;

/// A series that changed: its key, whose it is, and what it is now; `None`: it was forgotten.
pub(crate) type Changed = (String, WindowStream, Option<Series>);

/// The past states that are still needed.
pub(crate) struct History {
    marks: Marks,
    remembered: RememberedSeries,
    shards: HashMap<Shard, OpenShard>,
    /// The ends of the last windows evaluated, of shards that are open.
    ends: BTreeMap<WindowStream, i64>,
}

/// A shard some lanes of which are open.
struct OpenShard {
    lanes: BTreeSet<LaneId>,
    /// Per operator: windows that are over at this watermark do not come again.
    delivered: BTreeMap<String, Watermark>,
    /// No window has been evaluated since it began.
    fresh: bool,
    /// [`History::start_new_shards`] has not returned it yet.
    is_new: bool,
}

/// The state of a shard that begins.
pub(crate) struct ShardStart {
    pub(crate) shard: u32,
    pub(crate) series: Vec<Series>,
    /// The end of the last window evaluated, in nanoseconds.
    pub(crate) evaluated_to: i64,
    /// Per operator: windows that end here or before were evaluated before, in nanoseconds.
    pub(crate) limits: BTreeMap<String, i64>,
}

impl OpenShard {
    /// The end of the last window of a stream that does not come again, in nanoseconds.
    fn limit(&self, stream: &WindowStream) -> Option<i64> {
        self.delivered.get(&*stream.operator).map(|mark| first_ns(*mark))
    }
}

impl History {
    /// Continues from this state.
    pub(crate) fn new(marks: Marks, remembered: RememberedSeries) -> History {
        History { marks, remembered, shards: HashMap::new(), ends: BTreeMap::new() }
    }

    /// A lane opens. A lane without a kept position does not begin again where it was.
    pub(crate) fn open(&mut self, start: &LaneStart) {
        if start.source.is_none() {
            return;
        }
        let open = self.shards.entry(start.shard).or_insert_with(|| OpenShard {
            lanes: BTreeSet::new(),
            delivered: BTreeMap::new(),
            fresh: true,
            is_new: true,
        });
        open.lanes.insert(start.lane);
        if open.fresh {
            open.is_new = true;
            for operator in start.operators() {
                let mark = open.delivered.entry(operator.to_owned()).or_insert(Watermark::MIN);
                *mark = (*mark).max(start.watermark(operator));
            }
        }
    }

    /// A lane closes. The shard that has none any more, if it was the last one.
    pub(crate) fn close(&mut self, lane: LaneId) -> Option<u32> {
        let shard =
            self.shards.iter_mut().find_map(|(shard, open)| open.lanes.remove(&lane).then_some(*shard))?;
        if self.shards.get(&shard).is_some_and(|open| !open.lanes.is_empty()) {
            return None;
        }
        self.shards.remove(&shard);
        self.ends.retain(|stream, _| stream.shard != shard.0);
        Some(shard.0)
    }

    /// The state of the shards that have opened since the last call.
    pub(crate) fn start_new_shards(&mut self) -> Vec<ShardStart> {
        let is_new = self.shards.iter_mut();
        let is_new = is_new.filter_map(|(shard, open)| std::mem::take(&mut open.is_new).then_some(*shard));
        let is_new: Vec<Shard> = is_new.collect();
        is_new.into_iter().map(|shard| self.start_shard(shard)).collect()
    }

    fn start_shard(&mut self, shard: Shard) -> ShardStart {
        let mut start = ShardStart {
            shard: shard.0,
            series: Vec::new(),
            evaluated_to: i64::MIN,
            limits: BTreeMap::new(),
        };
        self.ends.retain(|stream, _| stream.shard != shard.0);
        let Some(open) = self.shards.get(&shard) else { return start };
        start.limits =
            open.delivered.iter().map(|(operator, mark)| (operator.clone(), first_ns(*mark))).collect();
        for stream in self.remembered.streams_of(shard.0) {
            let Some((end, series)) =
                open.limit(&stream).and_then(|limit| self.remembered.at(&stream, limit))
            else {
                continue;
            };
            start.series.extend(series);
            start.evaluated_to = start.evaluated_to.max(end);
            self.ends.insert(stream, end);
        }
        start
    }

    /// Windows with these ends were evaluated, and these series changed. Gives the entries to write down.
    /// They have to be safe before the windows' inputs are acknowledged.
    pub(crate) fn record(
        &mut self,
        ends: &BTreeMap<WindowStream, i64>,
        changes: Vec<Changed>,
    ) -> Vec<LogEntry> {
        let mut entries = Vec::new();
        for (stream, end) in ends {
            let shard = Shard(stream.shard);
            if !self.shards.contains_key(&shard) || !self.marks.latest(shard).contains_key(&*stream.operator)
            {
                continue;
            }
            entries.extend(self.discard_later(shard));
            let known = self.ends.entry(stream.clone()).or_insert(*end);
            *known = (*known).max(*end);
        }
        let mut changed: BTreeMap<WindowStream, (Vec<Series>, Vec<String>)> = BTreeMap::new();
        for (key, stream, series) in changes {
            let (set, gone) = changed.entry(stream).or_default();
            match series {
                Some(series) => set.push(series),
                None => gone.push(key),
            }
        }
        for (stream, (set, gone)) in changed {
            if let Some(end) = self.ends.get(&stream) {
                entries.push(LogEntry::Changed { end: *end, stream, set, gone });
            }
        }
        for entry in &entries {
            self.remembered.apply(entry.clone());
        }
        entries
    }

    /// The first windows of a shard that began are evaluated: states after later ones do not count any more.
    fn discard_later(&mut self, shard: Shard) -> Vec<LogEntry> {
        let Some(open) = self.shards.get_mut(&shard).filter(|open| open.fresh) else { return Vec::new() };
        open.fresh = false;
        let streams =
            self.remembered.streams_of(shard.0).into_iter().map(|stream| (open.limit(&stream), stream));
        let beyond = streams.filter(|(limit, stream)| self.remembered.is_beyond(stream, *limit));
        beyond.map(|(limit, stream)| LogEntry::Back { stream, limit }).collect()
    }

    /// Merges states that no restart goes back to.
    pub(crate) fn trim(&mut self) {
        for shard in self.shards.keys() {
            let lasting = self.marks.lasting(*shard);
            for stream in self.remembered.streams_of(shard.0) {
                if let Some(mark) = lasting.get(&*stream.operator) {
                    self.remembered.trim(&stream, first_ns(Watermark(*mark)));
                }
            }
        }
        self.remembered.forget_closed(|stream| self.shards.contains_key(&Shard(stream.shard)), MOST_CLOSED);
    }

    /// Of these streams, those whose windows come again after a restart, with the end of the last one
    /// evaluated.
    pub(crate) fn ends_of<'a>(
        &self,
        streams: impl Iterator<Item = &'a WindowStream>,
    ) -> BTreeMap<WindowStream, i64> {
        streams.filter_map(|stream| Some((stream.clone(), *self.ends.get(stream)?))).collect()
    }

    /// The memory after each of these windows.
    pub(crate) fn remembered(&mut self) -> &mut RememberedSeries {
        &mut self.remembered
    }
}

/// Windows that end here or before are over at this watermark: in nanoseconds.
fn first_ns(watermark: Watermark) -> i64 {
    watermark.0.saturating_add(1).saturating_mul(1_000_000)
}
