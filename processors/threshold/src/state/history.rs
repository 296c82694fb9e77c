//! What was remembered after which windows, as far back as windows may come again. No I/O.
//!
//! * When windows come again after a failure or a restart, judging goes on from what was remembered when the last of those
//!   that do not come again had been judged. So it says the same as before, and an alarm that fires goes on firing.
//! * [`Known`] has what changed with every batch of windows, for each source by itself. What no restart goes back to is
//!   folded into one: how far it goes back is known from the marks of the pipeline.
//! * Windows without marks (straight from a receiver) never come again; nothing is kept for them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use weir_component::delivery::{LaneStart, Marks, Shard};
use weir_component::{LaneId, Watermark};

use crate::evaluation::series::{Series, Source};
use crate::state::remembered::{Entry, Known};

/// Series of shards that have closed, at most: when there are more they are forgotten.
const MOST_CLOSED: usize = 100_000;

/// A series that changed: its key, whose it is, and what it is now; `None`: it was forgotten.
pub(crate) type Changed = (String, Source, Option<Series>);

/// What is still needed of the past.
pub(crate) struct History {
    marks: Marks,
    known: Known,
    shards: HashMap<Shard, Begin>,
    /// The ends of the last windows judged, of shards that are open.
    ends: BTreeMap<Source, i64>,
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
    /// Per operator: windows that end here or before were judged before, in nanoseconds.
    pub(crate) limits: BTreeMap<String, i64>,
}

impl Begin {
    /// The end of the last window of a source that does not come again, in nanoseconds.
    fn limit(&self, source: &Source) -> Option<i64> {
        self.delivered.get(&*source.operator).map(|mark| first_ns(*mark))
    }
}

impl History {
    /// Goes on with what is known.
    pub(crate) fn new(marks: Marks, known: Known) -> History {
        History { marks, known, shards: HashMap::new(), ends: BTreeMap::new() }
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
        let mut begun =
            Begun { shard: shard.0, series: Vec::new(), judged_to: i64::MIN, limits: BTreeMap::new() };
        self.ends.retain(|source, _| source.shard != shard.0);
        let Some(begin) = self.shards.get(&shard) else { return begun };
        begun.limits =
            begin.delivered.iter().map(|(operator, mark)| (operator.clone(), first_ns(*mark))).collect();
        for source in self.known.sources_of(shard.0) {
            let Some((end, series)) = begin.limit(&source).and_then(|limit| self.known.at(&source, limit))
            else {
                continue;
            };
            begun.series.extend(series);
            begun.judged_to = begun.judged_to.max(end);
            self.ends.insert(source, end);
        }
        begun
    }

    /// Windows with these ends have been judged, and these series have changed. What there is to write down, which has to be as safe
    /// as the windows' input before that is let go.
    pub(crate) fn judged(&mut self, ends: &BTreeMap<Source, i64>, changes: Vec<Changed>) -> Vec<Entry> {
        let mut entries = Vec::new();
        for (source, end) in ends {
            let shard = Shard(source.shard);
            if !self.shards.contains_key(&shard) || !self.marks.latest(shard).contains_key(&*source.operator)
            {
                continue;
            }
            entries.extend(self.fork(shard));
            let known = self.ends.entry(source.clone()).or_insert(*end);
            *known = (*known).max(*end);
        }
        let mut changed: BTreeMap<Source, (Vec<Series>, Vec<String>)> = BTreeMap::new();
        for (key, source, series) in changes {
            let (set, gone) = changed.entry(source).or_default();
            match series {
                Some(series) => set.push(series),
                None => gone.push(key),
            }
        }
        for (source, (set, gone)) in changed {
            if let Some(end) = self.ends.get(&source) {
                entries.push(Entry::Changed { end: *end, source, set, gone });
            }
        }
        for entry in &entries {
            self.known.apply(entry.clone());
        }
        entries
    }

    /// The first windows of a shard that began are judged: what was said after later ones does not count any more.
    fn fork(&mut self, shard: Shard) -> Vec<Entry> {
        let Some(begin) = self.shards.get_mut(&shard).filter(|begin| begin.fresh) else { return Vec::new() };
        begin.fresh = false;
        let sources = self.known.sources_of(shard.0).into_iter().map(|source| (begin.limit(&source), source));
        let beyond = sources.filter(|(limit, source)| self.known.is_beyond(source, *limit));
        beyond.map(|(limit, source)| Entry::Back { source, limit }).collect()
    }

    /// Folds what no restart goes back to.
    pub(crate) fn trim(&mut self) {
        for shard in self.shards.keys() {
            let lasting = self.marks.lasting(*shard);
            for source in self.known.sources_of(shard.0) {
                if let Some(mark) = lasting.get(&*source.operator) {
                    self.known.trim(&source, first_ns(Watermark(*mark)));
                }
            }
        }
        self.known.forget_closed(|source| self.shards.contains_key(&Shard(source.shard)), MOST_CLOSED);
    }

    /// Of these sources, those whose windows come again after a restart, with the end of the last one judged.
    pub(crate) fn ends_of<'a>(&self, sources: impl Iterator<Item = &'a Source>) -> BTreeMap<Source, i64> {
        sources.filter_map(|source| Some((source.clone(), *self.ends.get(source)?))).collect()
    }

    /// What is known after which windows.
    pub(crate) fn known(&mut self) -> &mut Known {
        &mut self.known
    }
}

/// Windows that end here or before are over at this watermark: in nanoseconds.
fn first_ns(watermark: Watermark) -> i64 {
    watermark.0.saturating_add(1).saturating_mul(1_000_000)
}
