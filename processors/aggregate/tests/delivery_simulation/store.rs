//! The destination: it remembers tokens and drops repeats. And what has to be in it at the end.

use std::collections::{BTreeMap, BTreeSet};

use crate::plan::{LAST, Mode, Plan, Record};

/// A window of an operator and a group: operator, start, end, service.
pub type Window = (String, i64, i64, usize);

/// A row of window results.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    pub window: Window,
    pub shard: i64,
    pub firing: i32,
    pub measures: Measures,
}

/// What is computed of a group in a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measures {
    pub count: i64,
    pub least: i64,
    pub most: i64,
}

/// Rows of one table under one token.
#[derive(Clone, Debug)]
pub struct Insert {
    pub token: String,
    pub events: Vec<i64>,
    pub windows: Vec<Row>,
}

/// The tables.
#[derive(Default)]
pub struct Store {
    tokens: BTreeSet<String>,
    pub events: BTreeSet<i64>,
    pub windows: BTreeMap<(Window, i64), Row>,
}

impl Store {
    /// # Errors
    /// A row is there already.
    pub fn insert(&mut self, insert: &Insert) -> Result<(), String> {
        if !self.tokens.insert(insert.token.clone()) {
            return Ok(());
        }
        for id in &insert.events {
            if !self.events.insert(*id) {
                return Err(format!("record {id} is stored twice, now under {}", insert.token));
            }
        }
        for row in &insert.windows {
            if let Some(before) = self.windows.insert((row.window.clone(), row.shard), row.clone()) {
                return Err(format!("{row:?} is emitted after {before:?}, now under {}", insert.token));
            }
        }
        Ok(())
    }
}

/// The operators of a plan: name, size and slide of its windows.
pub fn operators(plan: &Plan) -> &'static [(&'static str, i64, i64)] {
    const BOTH: [(&str, i64, i64); 2] = [("aggregate", 7_000, 7_000), ("aggregate/sliding", 9_000, 3_000)];
    if plan.sliding { &BOTH } else { &BOTH[..1] }
}

/// The windows that a record is in.
pub fn windows_of(plan: &Plan, record: Record) -> impl Iterator<Item = Window> {
    operators(plan).iter().flat_map(move |(name, size, slide)| {
        let last = record.time - record.time.rem_euclid(*slide);
        let starts = (0..size / slide).map(move |before| last - before * slide);
        starts.map(move |start| ((*name).to_owned(), start, start + size, record.service))
    })
}

/// Checks what is in the store when nothing goes on any more.
///
/// # Errors
/// What is wrong.
pub fn check(plan: &Plan, store: &Store) -> Result<(), String> {
    let mut expected: BTreeMap<Window, Measures> = BTreeMap::new();
    for record in plan.partitions.iter().flatten() {
        if !store.events.contains(&record.id) {
            return Err(format!("record {} is not stored", record.id));
        }
        for window in windows_of(plan, *record).filter(|(_, _, end, _)| *end < LAST - 20_000) {
            add(&mut expected, window, Measures { count: 1, least: record.id, most: record.id });
        }
    }
    let mut found = BTreeMap::new();
    for ((window, shard), row) in &store.windows {
        if plan.mode == Mode::One && *shard != 0 {
            return Err(format!("{row:?} is of part of the input"));
        }
        add(&mut found, window.clone(), row.measures);
    }
    if let Some((window, wanted)) =
        expected.iter().find(|(window, wanted)| found.get(*window) != Some(*wanted))
    {
        let rows = store.windows.values().filter(|row| row.window == *window).collect::<Vec<_>>();
        return Err(format!("{window:?} should be {wanted:?}, and is {rows:?}"));
    }
    match found.keys().find(|window| !expected.contains_key(*window)) {
        Some(window) => Err(format!("{window:?} should not be there")),
        None => Ok(()),
    }
}

fn add(windows: &mut BTreeMap<Window, Measures>, window: Window, more: Measures) {
    let sum = windows.entry(window).or_insert(Measures { count: 0, ..more });
    sum.count += more.count;
    sum.least = sum.least.min(more.least);
    sum.most = sum.most.max(more.most);
}
