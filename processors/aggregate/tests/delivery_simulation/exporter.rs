//! The exporter of a gateway, step by step: ranges of lanes are written down before they are inserted.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use arrow::array::AsArray;
use arrow::datatypes::{Int32Type, Int64Type, TimestampNanosecondType};
use weir_component::delivery::{Ledger, Split};
use weir_component::exporter_helper::isolation::{Refusal, RowIsolation, Step};
use weir_component::exporter_helper::ranges::{Amount, BatchRange, RangeBatch, Ranges};
use weir_pdata::text::TextColumn;
use weir_pdata::{EventBatch, Fence, Held, Signal};

use crate::Fault;
use crate::plan::Fate;
use crate::store::{Answer, Insert, Measures, Row, Store};

/// The exporter's name in ledgers.
pub const SINK: &str = "main/store";

/// From one ownership of a lane to the exporter.
pub struct Route {
    pub id: u64,
    pub ledger: Ledger,
    exported: Option<i64>,
    unfinished: Option<Range<i64>>,
}

impl Route {
    pub fn new(id: u64, ledger: &Ledger) -> Route {
        let (exported, unfinished) = (ledger.exported(SINK), ledger.unfinished(SINK));
        Route { id, ledger: ledger.clone(), exported, unfinished }
    }
}

/// A batch that waits.
struct Queued {
    batch: EventBatch,
    held: Held,
}

impl RangeBatch for Queued {
    fn positions(&self) -> Range<i64> {
        self.batch.origin.positions.clone()
    }

    fn rows(&self) -> usize {
        self.batch.len()
    }

    fn bytes(&self) -> u64 {
        0
    }
}

/// The exporter.
pub struct Exporter {
    fault: Option<Fault>,
    routes: BTreeMap<u64, (Arc<Route>, Ranges<Queued, u64>)>,
    alone: VecDeque<Queued>,
    pub exports: Vec<Export>,
}

/// An export on its way.
pub struct Export {
    range: Option<(Arc<Route>, Range<i64>, u64)>,
    fence: Option<Fence>,
    insert: Insert,
    held: Vec<Held>,
    /// It has been sent once.
    tried: bool,
    /// Its rows go in parts: which they are, and the one that is on its way, with what has to be written down
    /// first.
    parts: Option<(RowIsolation, Option<(Split, u64)>)>,
    done: bool,
}

impl Exporter {
    pub fn new(fault: Option<Fault>) -> Exporter {
        Exporter { fault, routes: BTreeMap::new(), alone: VecDeque::new(), exports: Vec::new() }
    }

    /// A batch of a lane.
    pub fn take(&mut self, route: &Arc<Route>, mut batch: EventBatch) {
        if route.exported.is_some_and(|exported| batch.origin.positions.end <= exported) {
            return;
        }
        let held = Held::new(std::mem::take(&mut batch.ack));
        let limits = Amount { rows: 4, bytes: u64::MAX };
        let (_, ranges) = self.routes.entry(route.id).or_insert_with(|| {
            (Arc::clone(route), Ranges::new(limits, route.exported, route.unfinished.clone()))
        });
        ranges.add(Queued { batch, held }, 0);
    }

    /// Results from the trunk.
    pub fn take_derived(&mut self, mut batch: EventBatch) {
        let held = Held::new(std::mem::take(&mut batch.ack));
        if !batch.is_empty() {
            self.alone.push_back(Queued { batch, held });
        } else {
            drop(held.release());
        }
    }

    /// Begins what can be begun.
    pub fn begin(&mut self) {
        while let Some(Queued { batch, held }) = self.alone.pop_front() {
            let token = batch.origin.identity.as_deref().unwrap().to_owned();
            let insert = Insert { token, events: Vec::new(), windows: rows(&batch), looked_for: false };
            let fence = batch.origin.fence.clone();
            let held = vec![held];
            self.exports.push(Export {
                range: None,
                fence,
                insert,
                held,
                tried: false,
                parts: None,
                done: false,
            });
        }
        for (route, ranges) in self.routes.values_mut() {
            let Some(BatchRange { range, batches, .. }) = ranges.take(0) else { continue };
            let token = format!("{}/{}-{}/{SINK}", route.ledger.identity(range.end), range.start, range.end);
            let events = batches.iter().flat_map(|queued| ids(&queued.batch)).collect::<Vec<i64>>();
            let held = batches.into_iter().map(|queued| queued.held).collect();
            let version = match events.is_empty() {
                true => 0,
                false => route.ledger.record_pending(&SINK.into(), &range),
            };
            let looked_for =
                route.unfinished.as_ref() == Some(&range) && self.fault != Some(Fault::RepeatsNotLookedFor);
            let split = route.ledger.split(SINK).filter(|_| self.fault != Some(Fault::PartsForgotten));
            let parts = split.map(|split| (RowIsolation::resumed(split, 0..events.len()), None));
            let insert = Insert { token, events, windows: Vec::new(), looked_for };
            self.exports.push(Export {
                range: Some((Arc::clone(route), range, version)),
                fence: None,
                insert,
                held,
                tried: false,
                parts,
                done: false,
            });
        }
    }

    /// An insert that was tried may have been forgotten.
    pub fn wait(&mut self) {
        for export in &mut self.exports {
            export.insert.looked_for |= export.tried && self.fault != Some(Fault::RepeatsNotLookedFor);
        }
    }

    /// Whether this export is of a lane, which may have another owner.
    pub fn needs_lease(&self, at: usize) -> bool {
        let export = self.exports.get(at % self.exports.len().max(1));
        export
            .is_some_and(|export| !export.done && export.range.is_some() && !export.insert.events.is_empty())
    }

    /// Gives up an export whose lane has another owner.
    pub fn give_up_if_fenced(&mut self, at: usize) {
        let at = at % self.exports.len();
        let closed =
            self.exports[at].range.as_ref().is_some_and(|(route, ..)| route.ledger.is_written(0).is_err());
        if closed {
            self.give_up(at);
        }
    }

    fn give_up(&mut self, at: usize) {
        // Another owner has the lane: what is held fails.
        let export = self.exports.remove(at);
        self.arrived(&export);
    }

    /// An export goes on, unless it waits for what is to be written down. A request that was given up is
    /// returned.
    ///
    /// # Errors
    /// The faults that the store sees.
    pub fn export(&mut self, at: usize, fate: Fate, store: &mut Store) -> Result<Option<Insert>, String> {
        if self.exports.is_empty() {
            return Ok(None);
        }
        let at = at % self.exports.len();
        let export = &mut self.exports[at];
        if export.done {
            return Ok(None);
        }
        if export.fence.as_ref().is_some_and(Fence::is_closed) {
            // Another owner computes it, too.
            drop(self.exports.remove(at));
            return Ok(None);
        }
        let Some(insert) = export.next(store) else {
            return Ok(None);
        };
        if let Some((route, _, whole)) = &export.range
            && !export.insert.events.is_empty()
        {
            let part = export.parts.as_ref().and_then(|(_, part)| part.as_ref());
            let (version, early) = match part {
                Some((_, version)) => (*version, Fault::PartBeforeWritten),
                None => (*whole, Fault::InsertBeforeWritten),
            };
            match route.ledger.is_written(version) {
                Ok(false) if self.fault == Some(early) => {}
                Ok(true) => {}
                Ok(false) => return Ok(None),
                Err(_) => {
                    self.give_up(at);
                    return Ok(None);
                }
            }
        }
        match fate {
            Fate::Answered => {
                let answer = store.insert(&insert)?;
                export.answered(&answer);
            }
            Fate::AnswerLost => drop(store.insert(&insert)?),
            Fate::Delayed => {
                export.tried = true;
                return Ok(Some(insert));
            }
            Fate::Refused => {}
        }
        export.tried = true;
        Ok(None)
    }

    /// Acknowledges all that has been exported. Returns whether there was any.
    pub fn acknowledge(&mut self) -> bool {
        let (done, open) = std::mem::take(&mut self.exports).into_iter().partition(|export| export.done);
        self.exports = open;
        let done: Vec<Export> = done;
        let any = !done.is_empty();
        for export in done {
            self.arrived(&export);
            export.held.into_iter().for_each(|held| drop(held.release()));
        }
        any
    }

    fn arrived(&mut self, export: &Export) {
        if let Some((route, ..)) = &export.range
            && let Some((_, ranges)) = self.routes.get_mut(&route.id)
        {
            ranges.delivered();
        }
    }
}

impl Export {
    /// The part that is sent next. `None`: its last part has been sent.
    fn next(&mut self, store: &mut Store) -> Option<Insert> {
        let (Some((isolation, part)), Some((route, ..))) = (&mut self.parts, &self.range) else {
            return Some(self.insert.clone());
        };
        while part.is_none() {
            match isolation.next() {
                None => {
                    self.finish();
                    return None;
                }
                Some(Step::DeadLetter(rows, _)) => store.dead_letters.extend(&self.insert.events[rows]),
                Some(Step::Try(next)) => {
                    let version = route.ledger.record_pending_part(SINK, &next);
                    *part = Some((next, version));
                }
            }
        }
        let (part, _) = part.as_ref()?;
        let rows = part.rows.clone().filter(|row| !part.without.contains(row));
        let events: Vec<i64> = rows.map(|row| self.insert.events[row]).collect();
        let token = format!("{}.{}", self.insert.token, part.encode());
        Some(Insert { token, events, ..self.insert.clone() })
    }

    /// The store has answered.
    fn answered(&mut self, answer: &Answer) {
        match (&mut self.parts, answer) {
            (None, Answer::Taken) => self.finish(),
            (None, Answer::Refused(rows)) => {
                let count = self.insert.events.len();
                self.parts = Some((RowIsolation::new(0..count, count, &refusal(rows)), None));
            }
            (Some((isolation, part)), answer) => {
                let Some((part, _)) = part.take() else { return };
                match answer {
                    Answer::Taken => isolation.taken(&part),
                    Answer::Refused(rows) => isolation.refused(&part, &refusal(rows)),
                }
            }
        }
    }

    fn finish(&mut self) {
        self.done = true;
        if let Some((route, range, _)) = &self.range {
            route.ledger.record_exported(SINK, range);
        }
    }
}

fn ids(batch: &EventBatch) -> Vec<i64> {
    let columns = batch.as_columns().unwrap();
    columns.column_by_name("duration_ns").unwrap().as_primitive::<Int64Type>().values().to_vec()
}

fn rows(batch: &EventBatch) -> Vec<Row> {
    assert_eq!(batch.signal, Signal::Windows);
    let columns = batch.as_columns().unwrap();
    let column = |name: &str| columns.column_by_name(name).unwrap();
    let integers = |name: &str| column(name).as_primitive::<Int64Type>().values().to_vec();
    let millis = |name: &str, row: usize| {
        column(name).as_primitive::<TimestampNanosecondType>().value(row) / 1_000_000
    };
    let text = |name: &str, row: usize| TextColumn::new(column(name)).unwrap().get(row).unwrap().to_owned();
    let shards = columns.column_by_name("shard").map(|_| integers("shard"));
    let (counts, least, most) = (integers("count"), integers("min_duration_ns"), integers("max_duration_ns"));
    let firings = column("firing").as_primitive::<Int32Type>();
    let row = |row: usize| Row {
        window: (
            text("operator", row),
            millis("window_start", row),
            millis("window_end", row),
            text("service", row).parse().unwrap(),
        ),
        shard: shards.as_ref().map_or(0, |shards| shards[row]),
        firing: firings.value(row),
        measures: Measures { count: counts[row], least: least[row], most: most[row] },
    };
    (0..columns.num_rows()).map(row).collect()
}

/// The store refuses these rows.
fn refusal(rows: &[usize]) -> Refusal {
    Refusal { reason: "refused".to_owned(), rejected: rows.to_vec(), too_large: false }
}
