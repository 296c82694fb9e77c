//! The destination: it remembers tokens for a while and drops repeats, is asked for rows of repeats that come
//! later, and refuses rows. And what has to be in it at the end.

use std::collections::{BTreeMap, BTreeSet};

use crate::plan::{LAST, Mode, Plan, Record, Table};

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

/// The values computed of a group in a window.
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
    /// Rows that are there already are left out.
    pub looked_for: bool,
}

/// The answer of the store to an insert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    Taken,
    /// The places of the rows that it refuses, if it names them. It has taken nothing.
    Refused(Vec<usize>),
}

/// The tables.
#[derive(Default)]
pub struct Store {
    table: Table,
    tokens: BTreeSet<String>,
    /// It has forgotten inserts: windows are older than what it remembers.
    forgetful: bool,
    pub events: BTreeSet<i64>,
    pub dead_letters: BTreeSet<i64>,
    pub windows: BTreeMap<(Window, i64), Row>,
}

impl Store {
    pub fn new(table: Table) -> Store {
        Store { table, ..Store::default() }
    }

    /// It does not know any more what it was sent.
    pub fn forget(&mut self) {
        if !self.table.blind {
            self.tokens.clear();
            self.forgetful = true;
        }
    }

    /// It takes every row from now on.
    pub fn repair(&mut self) {
        self.table.refuses = None;
    }

    /// Whether this record is in the table or in the dead letters.
    pub fn has(&self, id: i64) -> bool {
        self.events.contains(&id) || self.dead_letters.contains(&id)
    }

    /// # Errors
    /// A row is there already.
    pub fn insert(&mut self, insert: &Insert) -> Result<Answer, String> {
        let refused = |id: &i64| self.table.refuses.is_some_and(|number| id % number == 0);
        if insert.events.iter().any(refused) {
            let named =
                (0..insert.events.len()).filter(|at| self.table.names && refused(&insert.events[*at]));
            return Ok(Answer::Refused(named.collect()));
        }
        if !self.tokens.insert(insert.token.clone()) {
            return Ok(Answer::Taken);
        }
        let looked_for = insert.looked_for && !self.table.blind;
        for id in &insert.events {
            if !self.events.insert(*id) && !looked_for {
                return Err(format!("record {id} is stored twice, now under {}", insert.token));
            }
        }
        for row in &insert.windows {
            let known = self.windows.get(&(row.window.clone(), row.shard));
            if self.forgetful && known == Some(row) {
                continue;
            }
            if let Some(before) = self.windows.insert((row.window.clone(), row.shard), row.clone()) {
                return Err(format!("{row:?} is emitted after {before:?}, now under {}", insert.token));
            }
        }
        Ok(Answer::Taken)
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
/// The fault.
pub fn check(plan: &Plan, store: &Store) -> Result<(), String> {
    let mut expected: BTreeMap<Window, Measures> = BTreeMap::new();
    for record in plan.partitions.iter().flatten() {
        let refused = plan.table.refuses.is_some_and(|number| record.id % number == 0);
        let dead = refused && store.dead_letters.contains(&record.id);
        if !dead && !store.events.contains(&record.id) {
            return Err(format!("record {} is not stored", record.id));
        }
        if !refused && store.dead_letters.contains(&record.id) {
            return Err(format!("record {} is in the dead letters, and was not refused", record.id));
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
