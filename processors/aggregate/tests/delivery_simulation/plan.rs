//! A schedule: the input, and what happens to it step by step. Everything follows from the seed.

/// The first event time, in milliseconds.
pub const BASE: i64 = 1_700_000_000_000;
/// How far events of one partition are out of order, at most, in milliseconds.
pub const OUT_OF_ORDER: u64 = 2_000;
/// The time of the last record of each partition: it closes every window but its own.
pub const LAST: i64 = BASE + 100_000;

/// Who reads the topic, and what is expected of the windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// `windows: all`, one gateway at a time: every window row is that of the whole input.
    One,
    /// `windows: partition`, any number of gateways: the rows of all shards add up.
    Parts,
    /// `windows: all`, gateways come and go in an orderly way: the rows of all shards add up.
    Orderly,
}

/// One record.
#[derive(Clone, Copy, Debug)]
pub struct Record {
    /// Unique in the topic.
    pub id: i64,
    /// Event time.
    pub time: i64,
    /// The group.
    pub service: usize,
}

/// The outcome of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It takes effect and is answered.
    Answered,
    /// It takes effect, and the answer is lost.
    AnswerLost,
    /// It is given up, and takes effect later, or never.
    Delayed,
    /// It is refused.
    Refused,
}

/// One thing that happens. Numbers choose among what there is; a step for which there is nothing does
/// nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A gateway does something.
    Gateway { gateway: u8, does: Does },
    /// A gateway starts.
    Start,
    /// The group expels a member, which does not know it yet, or is dead.
    Expel { member: u8 },
    /// A request that was given up arrives, or is gone for good.
    Arrive { request: u8, gone: bool },
    /// More time passes than tables remember inserts, than a session lasts, and than a request is on its way.
    Forget,
    /// From now on the store takes every row.
    Repair,
}

/// An act of a gateway, or an event that it meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Does {
    /// A lane is given its next records, or told that there are none.
    Read { lane: u8, records: u8 },
    /// The trunk handles so many messages.
    Trunk { messages: u8 },
    /// The exporter begins everything that is due.
    Begin,
    /// An export goes on.
    Export { export: u8, fate: Fate },
    /// All that has been exported is acknowledged.
    Acknowledge,
    /// The committer looks what is to be written down.
    Snapshot,
    /// The committer writes it down.
    Commit { fate: Fate },
    /// The ownership of partitions goes on. `late`: what it waits for is given up.
    Own { late: bool },
    /// Everything goes on a bit.
    Work,
    /// It is told to stop.
    Stop,
    /// It was expelled and learns of it; it joins again.
    Notice,
    /// It dies.
    Crash,
}

/// The kind of the table of events.
#[derive(Clone, Copy, Debug, Default)]
pub struct Table {
    /// It refuses the records whose ids this number divides.
    pub refuses: Option<i64>,
    /// It says which rows of an insert it refuses.
    pub names: bool,
    /// It does not say where its rows came from: repeats can only be told by their token, which it never
    /// forgets then.
    pub blind: bool,
}

/// A schedule.
#[derive(Clone, Debug)]
pub struct Plan {
    pub mode: Mode,
    pub sliding: bool,
    /// Receivers that share the partitions, and commit each its own.
    pub receivers: usize,
    pub table: Table,
    pub partitions: Vec<Vec<Record>>,
    pub steps: Vec<Step>,
}

/// SplitMix64: small, and the same for ever.
pub struct Random(u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    fn fate(&mut self) -> Fate {
        match self.below(8) {
            0 => Fate::AnswerLost,
            1 => Fate::Delayed,
            2 => Fate::Refused,
            _ => Fate::Answered,
        }
    }
}

impl Plan {
    /// The schedule of this seed.
    pub fn new(seed: u64) -> Plan {
        let mut random = Random(seed);
        let mode = [Mode::One, Mode::Parts, Mode::Orderly][(seed % 3) as usize];
        let sliding = random.below(3) == 0;
        let count = 1 + random.below(3);
        let partitions = (0..count).map(|partition| records(&mut random, partition)).collect();
        let steps = 20 + random.below(50);
        let steps = (0..steps).map(|_| step(&mut random, mode)).collect();
        let refuses = (random.below(3) == 0).then(|| 2 + random.below(3) as i64);
        let table = Table { refuses, names: random.below(2) == 0, blind: random.below(4) == 0 };
        let receivers = if mode == Mode::One { 1 + random.below(2) as usize } else { 1 };
        Plan { mode, sliding, receivers, table, partitions, steps }
    }

    /// The same input with these steps.
    pub fn with(seed: u64, steps: &[Step]) -> Plan {
        Plan { steps: steps.to_vec(), ..Plan::new(seed) }
    }

    /// Leaves out what is not needed for `fails`.
    pub fn shrink(mut self, fails: impl Fn(&Plan) -> bool) -> Plan {
        let mut size = self.steps.len().div_ceil(2);
        while size > 0 {
            let mut at = 0;
            while at < self.steps.len() {
                let mut less = self.clone();
                less.steps.drain(at..(at + size).min(self.steps.len()));
                if fails(&less) {
                    self = less;
                } else {
                    at += size;
                }
            }
            size /= 2;
        }
        self
    }
}

fn records(random: &mut Random, partition: u64) -> Vec<Record> {
    let count = random.below(9) as i64;
    if count == 0 {
        return Vec::new();
    }
    let mut time = BASE + random.below(3_000) as i64;
    let mut record = |offset: i64, time: i64| Record {
        id: 1 + 1_000 * partition as i64 + offset,
        time,
        service: random.below(2) as usize,
    };
    let mut records = Vec::new();
    for offset in 0..count {
        let record = record(offset, time);
        time += (record.service as i64 * 1_700 + offset * 577) % 5_000;
        records.push(record);
    }
    let last = record(count, LAST);
    for record in &mut records {
        record.time -= random.below(OUT_OF_ORDER) as i64;
    }
    records.push(last);
    records
}

fn step(random: &mut Random, mode: Mode) -> Step {
    let chaos = mode != Mode::Orderly;
    let does = match random.below(38) {
        0..7 => Does::Read { lane: random.byte(), records: 1 + random.byte() % 4 },
        7..10 => Does::Trunk { messages: 1 + random.byte() % 8 },
        10..13 => Does::Begin,
        13..17 => Does::Export { export: random.byte(), fate: random.fate() },
        17 => Does::Acknowledge,
        18..20 => Does::Snapshot,
        20..23 => Does::Commit { fate: random.fate() },
        23..26 => Does::Own { late: chaos && random.below(8) == 0 },
        29 => Does::Stop,
        30 if chaos => Does::Notice,
        31 if chaos => Does::Crash,
        32 if chaos => return Step::Expel { member: random.byte() },
        26..33 => Does::Work,
        34 if !chaos => Does::Stop,
        36 => return Step::Forget,
        37 if random.below(4) == 0 => return Step::Repair,
        33 => return Step::Arrive { request: random.byte(), gone: random.below(4) == 0 },
        _ => return Step::Start,
    };
    Step::Gateway { gateway: random.byte(), does }
}
