//! One gateway: what `skywalking_kafka`'s ownership and committer do with the real ledgers, without Kafka and
//! threads.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use weir_component::delivery::{Ledger, LedgerSpec, Metadata, Position, Shard, positions};
use weir_component::{LaneMessage, LaneSet, Processor};

use weir_pdata::Ack;

use crate::Fault;
use crate::between::Between;
use crate::exporter::Exporter;
use crate::kafka::{Group, Rebalance, Request, Session};
use crate::pipeline::{OpenLane, Pipeline, batch};
use crate::plan::{Fate, Mode, Plan};
use crate::store::{Insert, Store};

/// Longer than any `idle_timeout`.
const IDLE: Duration = Duration::from_secs(3_600);

/// The next number of lanes that begin together.
static SETS: AtomicU64 = AtomicU64::new(1);

/// A gateway.
pub struct Gateway {
    pub session: Session,
    fault: Option<Fault>,
    mode: Mode,
    pipeline: Pipeline,
    pub exporter: Exporter,
    owned: BTreeMap<usize, Owned>,
    /// The rebalance that waits for its answer.
    owed: Option<Rebalance>,
    doing: Doing,
    pub stopping: bool,
    committing: Option<Commit>,
    /// Nobody else can have its partitions: it has heard from the group.
    leased: bool,
    /// Something is to be committed again, to hear from it.
    asked: bool,
    ownerships: u64,
    /// The number of the lanes that begin together.
    sets: u64,
    receivers: usize,
    /// The receiver that commits next.
    turn: usize,
    between: Arc<Between>,
}

/// A commit that is about to be sent.
pub struct Commit {
    pub request: Request,
    /// For each partition which ownership of it, and its position.
    done: Vec<(usize, u64, Position)>,
}

/// One ownership of a partition.
struct Owned {
    number: u64,
    ledger: Ledger,
    lane: Option<OpenLane>,
    /// The lanes that end with its own, until all of them have.
    set: Option<LaneSet>,
    read: i64,
    cuts: VecDeque<i64>,
    written: Option<Position>,
}

/// The act that goes on beside reading.
enum Doing {
    Reading,
    Stopping(Closing),
    Draining(Closing),
    Committing(Closing),
    /// The group has expelled it: its lanes are given up one after another.
    Losing,
    Lost,
    Stopped,
}

/// Lanes that end together, and which of them begin again. `None`: the gateway stops.
struct Closing {
    partitions: Vec<usize>,
    then: Option<Vec<usize>>,
}

impl Gateway {
    pub fn new(
        session: Session,
        (mode, receivers): (Mode, usize),
        processors: Vec<Box<dyn Processor>>,
        fault: Option<Fault>,
    ) -> Gateway {
        Gateway {
            session,
            fault,
            mode,
            pipeline: Pipeline::new(processors),
            exporter: Exporter::new(fault),
            owned: BTreeMap::new(),
            owed: None,
            doing: Doing::Reading,
            stopping: false,
            committing: None,
            leased: false,
            asked: false,
            ownerships: 0,
            sets: 0,
            receivers,
            turn: 0,
            between: Arc::default(),
        }
    }

    pub fn is_stopped(&self) -> bool {
        matches!(self.doing, Doing::Stopped)
    }

    /// Whether everything that it had is lost and given up.
    pub fn is_lost(&self) -> bool {
        matches!(self.doing, Doing::Lost)
    }

    /// Whether it gives up what it had, or has.
    pub fn is_losing(&self) -> bool {
        matches!(self.doing, Doing::Losing | Doing::Lost)
    }

    /// It is a member of the group again.
    pub fn join(&mut self, session: Session) {
        self.session = session;
        self.doing = Doing::Reading;
        self.leased = false;
    }

    /// Whether something goes on beside reading.
    pub fn is_busy(&self) -> bool {
        self.stopping || !matches!(self.doing, Doing::Reading)
    }

    /// Gives a lane its next records, or tells it that there are none. Returns whether there were any.
    pub fn read(&mut self, lane: usize, records: usize, plan: &Plan) -> bool {
        if self.owned.is_empty() {
            return false;
        }
        let at = lane % self.owned.len();
        let Some((partition, owned)) = self.owned.iter_mut().nth(at) else { return false };
        // A lane that ends may still send what it has in hand, until its task has ended, too.
        let Some(open) = &mut owned.lane else { return false };
        let all = &plan.partitions[*partition];
        let from = usize::try_from(owned.read).unwrap();
        if from == all.len() {
            self.pipeline.send(open, LaneMessage::Idle(IDLE), &mut self.exporter);
            return false;
        }
        while owned.cuts.front().is_some_and(|cut| *cut <= owned.read) {
            owned.cuts.pop_front();
        }
        let mut to = all.len().min(from + records);
        if let Some(cut) = owned.cuts.front()
            && self.fault != Some(Fault::BatchesOverCuts)
        {
            to = to.min(usize::try_from(*cut).unwrap());
        }
        let seen = Ack::new(self.between.clone(), 0);
        let ack = Ack::in_order([owned.ledger.tracker().track(to as i64), seen]);
        let message = LaneMessage::Batch(batch(&all[from..to], owned.read, ack));
        owned.read = to as i64;
        self.pipeline.send(open, message, &mut self.exporter);
        true
    }

    /// The commits that could have been made in the middle of the work since the last call.
    pub fn between(&self) -> Vec<Vec<(usize, Position)>> {
        self.between.take()
    }

    pub fn lanes(&self) -> usize {
        self.owned.len()
    }

    /// The trunk handles so many messages.
    pub fn trunk(&mut self, messages: usize) {
        self.pipeline.advance(messages, &mut self.exporter);
    }

    /// The committer looks what is to be written down. Returns whether there is news.
    pub fn snapshot(&mut self, generation: u64) -> bool {
        if self.committing.is_some() || matches!(self.doing, Doing::Losing | Doing::Lost) {
            return false;
        }
        let (receivers, turn) = (self.receivers, self.turn);
        self.turn = (turn + 1) % receivers;
        let own = || self.owned.iter().filter(|(partition, _)| *partition % receivers == turn);
        let ledgers: Vec<&Ledger> = own().map(|(_, owned)| &owned.ledger).collect();
        let now = own().zip(positions(&ledgers));
        let now: Vec<(usize, u64, Position)> =
            now.filter_map(|((partition, owned), at)| Some((*partition, owned.number, at?))).collect();
        let same = |(partition, _, position): &(usize, u64, Position)| {
            self.owned[partition].written.as_ref() == Some(position)
        };
        if !std::mem::take(&mut self.asked) && now.iter().all(same) {
            return false;
        }
        let positions = now
            .iter()
            .map(|(partition, _, position)| (*partition, position.offset, position.metadata.encode()))
            .collect();
        let request = Request { session: self.session, generation, positions };
        self.committing = Some(Commit { request, done: now });
        true
    }

    /// The commit that is to be sent. Committing has then ended, whatever becomes of it.
    pub fn take_commit(&mut self) -> Option<Commit> {
        self.committing.take()
    }

    /// The commit was taken.
    pub fn committed(&mut self, commit: Commit) {
        self.leased = true;
        for (partition, number, position) in commit.done {
            if let Some(owned) = self.owned.get_mut(&partition).filter(|owned| owned.number == number) {
                owned.ledger.written(&position);
                owned.written = Some(position);
            }
        }
    }

    /// So much time passes that it has to ask whether it is still the owner, and that what was tried may have
    /// been forgotten.
    pub fn wait(&mut self) {
        self.leased = false;
        self.exporter.wait();
    }

    /// An export goes on, unless it has to be asked first who owns the lane.
    ///
    /// # Errors
    /// The faults that the store sees.
    pub fn export(&mut self, at: usize, fate: Fate, store: &mut Store) -> Result<Option<Insert>, String> {
        if !self.leased && self.fault != Some(Fault::InsertWithoutLease) && self.exporter.needs_lease(at) {
            self.asked = true;
            self.exporter.give_up_if_fenced(at);
            return Ok(None);
        }
        self.exporter.export(at, fate, store)
    }

    /// The group has expelled this member, and it learns of it: everything it had is lost.
    pub fn lost(&mut self) {
        self.owned.values().for_each(|owned| owned.ledger.close());
        self.owed = None;
        self.doing = Doing::Losing;
    }

    /// The next step of the ownership of partitions. `late`: it waits no longer.
    ///
    /// # Errors
    /// The metadata cannot be read.
    pub fn own(&mut self, late: bool, group: &mut Group) -> Result<(), String> {
        match std::mem::replace(&mut self.doing, Doing::Reading) {
            Doing::Reading if self.stopping => {
                self.end_lanes(self.owned.keys().copied().collect(), None);
            }
            Doing::Reading => match group.next_for(self.session) {
                None => {}
                Some(Rebalance::Assign(partitions)) => self.begin(&partitions, group)?,
                Some(Rebalance::Revoke(partitions)) => {
                    let whole = self.is_whole() == Some(true);
                    let closing =
                        if whole { self.owned.keys().copied().collect() } else { partitions.clone() };
                    let stay: Vec<usize> =
                        closing.iter().filter(|partition| !partitions.contains(partition)).copied().collect();
                    self.owed = Some(Rebalance::Revoke(partitions));
                    self.end_lanes(closing, Some(stay));
                }
            },
            Doing::Stopping(closing) => {
                // One after another, and others of the set may still send meanwhile.
                self.doing = match self.release_next(&closing.partitions, !late) {
                    true => Doing::Stopping(closing),
                    false => Doing::Draining(closing),
                };
            }
            Doing::Draining(closing) => {
                let mut owned = closing.partitions.iter().filter_map(|partition| self.owned.get(partition));
                let drained = owned.all(|owned| owned.ledger.is_final());
                self.doing =
                    if drained || late { Doing::Committing(closing) } else { Doing::Draining(closing) };
            }
            Doing::Committing(closing) => {
                let owned = closing.partitions.iter().filter_map(|partition| self.owned.get(partition));
                let (ledgers, written): (Vec<&Ledger>, Vec<&Option<Position>>) =
                    owned.map(|owned| (&owned.ledger, &owned.written)).unzip();
                let is_written = positions(&ledgers).iter().zip(written).all(|(now, written)| now == written);
                match is_written || late {
                    true => self.closed(closing, group)?,
                    false => self.doing = Doing::Committing(closing),
                }
            }
            Doing::Losing => {
                let all: Vec<usize> = self.owned.keys().copied().collect();
                self.doing = Doing::Losing;
                if !self.release_next(&all, false) {
                    self.give_up(&all);
                    self.doing = Doing::Lost;
                }
            }
            Doing::Lost => self.doing = Doing::Lost,
            Doing::Stopped => self.doing = Doing::Stopped,
        }
        Ok(())
    }

    fn end_lanes(&mut self, partitions: Vec<usize>, then: Option<Vec<usize>>) {
        self.doing = Doing::Stopping(Closing { partitions, then });
    }

    fn closed(&mut self, closing: Closing, group: &mut Group) -> Result<(), String> {
        let Closing { partitions, then } = closing;
        self.give_up(&partitions);
        let Some(again) = then else {
            self.doing = Doing::Stopped;
            return Ok(());
        };
        if let Some(Rebalance::Revoke(revoked)) = self.owed.take() {
            group.revoked(self.session, &revoked);
        }
        if !again.is_empty() { self.begin(&again, group) } else { Ok(()) }
    }

    fn begin(&mut self, partitions: &[usize], group: &Group) -> Result<(), String> {
        let all = self.owned.len() + partitions.len() >= group.committed.len();
        let whole = self.mode != Mode::Parts && all;
        if self.is_whole().is_some_and(|before| before != whole) {
            let open: Vec<usize> = self.owned.keys().copied().collect();
            let again = open.iter().chain(partitions).copied().collect();
            self.end_lanes(open, Some(again));
            return Ok(());
        }
        if self.owned.is_empty() {
            // Names of sets are never used again, whatever gateway gives them.
            self.sets = SETS.fetch_add(1, Ordering::Relaxed);
        }
        for partition in partitions {
            let (offset, metadata) = match &group.committed[*partition] {
                None => (0, Metadata::default()),
                Some((offset, text)) => {
                    let metadata = Metadata::decode(text).map_err(|error| error.to_string())?;
                    (*offset, metadata.unwrap_or_default())
                }
            };
            let own = Shard(*partition as u32 + 1);
            let ledger = Ledger::new(LedgerSpec {
                source: format!("cluster/group/topic{}", partition % self.receivers).into(),
                input: None,
                set: whole.then(|| format!("k{}-{}", self.sets, partition % self.receivers).into()),
                number: *partition as i32,
                shard: if whole { Shard::default() } else { own },
                own,
                position: Some(offset),
                metadata,
                wake: Arc::new(|| {}),
            });
            let together = whole && self.fault != Some(Fault::LanesEndOneByOne);
            let mut open = self.owned.values().filter(|_| together);
            let set = open.find_map(|owned| owned.set.clone()).unwrap_or_default();
            let lane = Some(self.pipeline.open(&ledger, set.clone()));
            let cuts = ledger.cuts().into();
            self.ownerships += 1;
            let owned = Owned {
                number: self.ownerships,
                ledger,
                lane,
                set: Some(set).filter(|_| self.fault != Some(Fault::LanesEndOneByOne)),
                read: offset,
                cuts,
                written: None,
            };
            self.owned.insert(*partition, owned);
        }
        self.tell_between();
        Ok(())
    }

    /// Whether the windows of the open lanes are added up. `None`: there is no lane.
    fn is_whole(&self) -> Option<bool> {
        let (_, owned) = self.owned.first_key_value()?;
        Some(owned.ledger.shard() == Shard::default())
    }

    /// Ends the next of these lanes; the set goes with the last one. Returns whether there was one.
    /// `orderly`: its task is not cancelled.
    fn release_next(&mut self, partitions: &[usize], orderly: bool) -> bool {
        let open = |partition: &&usize| self.owned.get(*partition).is_some_and(|owned| owned.lane.is_some());
        if let Some(next) = partitions.iter().find(open).copied() {
            if let Some(lane) =
                self.owned.get_mut(&next).and_then(|owned| owned.lane.as_mut()).filter(|_| orderly)
            {
                self.pipeline.send(lane, LaneMessage::Drain, &mut self.exporter);
            }
            self.release(next);
            return true;
        }
        for partition in partitions {
            if let Some(owned) = self.owned.get_mut(partition) {
                owned.set = None;
            }
        }
        false
    }

    fn release(&mut self, partition: usize) {
        if let Some(lane) = self.owned.get_mut(&partition).and_then(|owned| owned.lane.take()) {
            self.pipeline.close(lane);
        }
    }

    fn give_up(&mut self, partitions: &[usize]) {
        for partition in partitions {
            self.release(*partition);
            if let Some(owned) = self.owned.remove(partition) {
                owned.ledger.close();
            }
        }
        self.tell_between();
    }

    fn tell_between(&self) {
        let owned = self.owned.iter();
        self.between.look_at(owned.map(|(partition, owned)| (*partition, owned.ledger.clone())).collect());
    }
}
