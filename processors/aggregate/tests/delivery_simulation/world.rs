//! Everything together: steps are done one by one, and each commit is checked when it takes effect.

use std::collections::VecDeque;
use std::sync::LazyLock;

use weir_component::delivery::{Metadata, Position};
use weir_component::{Processor, Settings, testkit};
use weir_config::{Document, SourceText, Topology};

use crate::Fault;
use crate::gateway::Gateway;
use crate::kafka::{Group, Request, Session};
use crate::plan::{Does, Fate, Mode, Plan, Step};
use crate::store::{self, Insert, Store};

/// The most gateways at a time.
const GATEWAYS: usize = 3;
/// More rounds than any schedule needs to come to its end.
const ROUNDS: usize = 500;
/// After so many rounds an ownership that ends does not wait any more.
const PATIENCE: usize = 50;

/// The world.
struct World<'a> {
    plan: &'a Plan,
    fault: Option<Fault>,
    group: Group,
    store: Store,
    gateways: Vec<Gateway>,
    /// Requests that were given up and may arrive.
    late: VecDeque<Late>,
}

enum Late {
    Insert(Insert),
    Commit(Request),
}

/// Does everything that the plan says, lets everything come to its end, and checks it.
///
/// # Errors
/// The fault.
pub fn run(plan: &Plan, fault: Option<Fault>) -> Result<(), String> {
    let mut world = World {
        plan,
        fault,
        group: Group::new(plan.partitions.len()),
        store: Store::new(plan.table),
        gateways: Vec::new(),
        late: VecDeque::new(),
    };
    world.start();
    for (at, step) in plan.steps.iter().enumerate() {
        world.step(*step).map_err(|error| format!("step {at}, {step:?}: {error}"))?;
    }
    world.finish().map_err(|error| format!("at the end: {error}"))
}

impl World<'_> {
    fn step(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Start => self.start(),
            Step::Expel { member } => {
                let member = usize::from(member) % self.group.members.len().max(1);
                if let Some(session) = self.group.members.iter().nth(member).copied() {
                    self.group.remove(session);
                }
            }
            Step::Arrive { request, gone } => {
                let at = usize::from(request) % self.late.len().max(1);
                match self.late.remove(at) {
                    Some(late) if !gone => self.arrive(late)?,
                    _ => {}
                }
            }
            Step::Forget => {
                // A request does not arrive that late.
                self.late.retain(|late| matches!(late, Late::Commit(_)));
                self.store.forget();
                self.gateways.iter_mut().for_each(Gateway::wait);
            }
            Step::Repair => self.store.repair(),
            Step::Gateway { gateway, does } if !self.gateways.is_empty() => {
                self.gateway(usize::from(gateway) % self.gateways.len(), does)?;
            }
            Step::Gateway { .. } => {}
        }
        self.check_between()
    }

    fn gateway(&mut self, at: usize, does: Does) -> Result<(), String> {
        let gateway = &mut self.gateways[at];
        match does {
            Does::Read { lane, records } => drop(gateway.read(lane.into(), records.into(), self.plan)),
            Does::Trunk { messages } => gateway.trunk(messages.into()),
            Does::Begin => gateway.exporter.begin(),
            Does::Export { export, fate } => self.export(at, export.into(), fate)?,
            Does::Acknowledge => drop(gateway.exporter.acknowledge()),
            Does::Snapshot => drop(gateway.snapshot(self.group.generation)),
            Does::Commit { fate } => self.commit(at, fate)?,
            Does::Own { late } => self.own(at, late)?,
            Does::Work => drop(self.work(at, 1, false)?),
            Does::Stop => gateway.stopping = true,
            Does::Notice => self.notice(at),
            Does::Crash => {
                let commit = gateway.take_commit();
                self.gateways.remove(at);
                self.late.extend(commit.map(|commit| Late::Commit(commit.request)));
            }
        }
        Ok(())
    }

    fn start(&mut self) {
        let room = match self.plan.mode {
            Mode::One => self.group.members.is_empty(),
            Mode::Parts | Mode::Orderly => self.gateways.len() < GATEWAYS,
        };
        if room {
            let session = self.group.join();
            let processors = processors(store::operators(self.plan).len());
            self.gateways.push(Gateway::new(
                session,
                (self.plan.mode, self.plan.receivers),
                processors,
                self.fault,
            ));
        }
    }

    fn notice(&mut self, at: usize) {
        if self.group.members.contains(&self.gateways[at].session) {
            return;
        }
        if !self.gateways[at].is_losing() {
            self.gateways[at].lost();
        }
    }

    /// A gateway that was expelled has given everything up: it joins again, or ends.
    fn begin_again(&mut self, at: usize) {
        let alone = self.group.members.is_empty();
        if self.gateways[at].stopping || (self.plan.mode == Mode::One && !alone) {
            self.gateways.remove(at);
        } else {
            let session = self.group.join();
            self.gateways[at].join(session);
        }
    }

    fn export(&mut self, at: usize, export: usize, fate: Fate) -> Result<(), String> {
        let given_up = self.gateways[at].export(export, fate, &mut self.store)?;
        self.late.extend(given_up.map(Late::Insert));
        Ok(())
    }

    fn commit(&mut self, at: usize, fate: Fate) -> Result<(), String> {
        let Some(commit) = self.gateways[at].take_commit() else { return Ok(()) };
        match fate {
            Fate::Refused => {}
            Fate::Delayed => self.late.push_back(Late::Commit(commit.request)),
            Fate::Answered | Fate::AnswerLost => {
                if self.take(&commit.request)? && fate == Fate::Answered {
                    self.gateways[at].committed(commit);
                }
            }
        }
        Ok(())
    }

    /// A commit comes to Kafka. What the same member sent before does not come after it.
    fn take(&mut self, request: &Request) -> Result<bool, String> {
        let overtaken =
            |late: &Late| matches!(late, Late::Commit(before) if before.session == request.session);
        self.late.retain(|late| !overtaken(late));
        let taken = self.group.commit(request, self.fault == Some(Fault::StaleCommits));
        if taken {
            self.check_request(request)?;
        }
        Ok(taken)
    }

    fn arrive(&mut self, late: Late) -> Result<(), String> {
        match late {
            Late::Insert(insert) => self.store.insert(&insert).map(drop),
            Late::Commit(request) => {
                if self.group.commit(&request, self.fault == Some(Fault::StaleCommits)) {
                    self.check_request(&request)?;
                }
                Ok(())
            }
        }
    }

    fn check_request(&self, request: &Request) -> Result<(), String> {
        for (partition, offset, text) in &request.positions {
            let metadata = Metadata::decode(text).map_err(|error| error.to_string())?.unwrap();
            self.check(*partition, *offset, &metadata)?;
        }
        Ok(())
    }

    /// No commit passes a record that is not stored, or whose windows are not; and no mark is ahead of its
    /// windows.
    fn check(&self, partition: usize, offset: i64, metadata: &Metadata) -> Result<(), String> {
        let wrong = |what: String| Err(format!("partition {partition} is committed at {offset}: {what}"));
        for (at, record) in (0_i64..).zip(&self.plan.partitions[partition]) {
            let passed = at < offset;
            if passed && !self.store.has(record.id) {
                return wrong(format!("{record:?} is not stored"));
            }
            for window in store::windows_of(self.plan, *record) {
                let operator = format!("main/{}#", window.0);
                let own = metadata.windows.iter().find(|(name, _)| name.starts_with(&operator));
                let others = self.of_other_receivers(partition, &operator);
                let mark = own.map(|(_, mark)| *mark).max(others);
                let delivered = mark.is_some_and(|mark| mark >= window.2 - 1);
                if passed && !delivered {
                    return wrong(format!("{record:?} is in {window:?}, the mark is {mark:?}"));
                }
                if delivered && !self.store.windows.keys().any(|(stored, _)| *stored == window) {
                    return wrong(format!("the mark is {mark:?}, and {window:?} is not stored"));
                }
            }
        }
        Ok(())
    }

    /// The latest mark that another receiver has committed: it counts for all that had a share.
    fn of_other_receivers(&self, partition: usize, operator: &str) -> Option<i64> {
        let receivers = self.plan.receivers;
        let others = self.group.committed.iter().enumerate();
        let others = others.filter(|(other, _)| other % receivers != partition % receivers);
        let metadata = others.filter_map(|(_, committed)| Metadata::decode(&committed.as_ref()?.1).ok()?);
        let marks = metadata.filter_map(|metadata| {
            Some(*metadata.windows.iter().find(|(name, _)| name.starts_with(operator))?.1)
        });
        marks.max()
    }

    /// Every commit that could have been sent in the middle of a step would have been right, too.
    fn check_between(&self) -> Result<(), String> {
        for seen in self.gateways.iter().flat_map(Gateway::between) {
            for (partition, Position { offset, metadata, .. }) in seen {
                self.check(partition, offset, &metadata)?;
            }
        }
        Ok(())
    }

    fn own(&mut self, at: usize, late: bool) -> Result<(), String> {
        self.gateways[at].own(late, &mut self.group)?;
        if self.gateways[at].is_stopped() {
            let gateway = self.gateways.remove(at);
            self.group.remove(gateway.session);
        } else if self.gateways[at].is_lost() {
            self.begin_again(at);
        }
        Ok(())
    }

    /// Everything of a gateway goes on. Returns whether something happened.
    fn work(&mut self, at: usize, records: usize, late: bool) -> Result<bool, String> {
        let (plan, generation) = (self.plan, self.group.generation);
        let gateway = &mut self.gateways[at];
        let mut any = false;
        for lane in 0..gateway.lanes() {
            any |= gateway.read(lane, records, plan);
        }
        gateway.trunk(usize::MAX);
        gateway.exporter.begin();
        any |= gateway.snapshot(generation);
        self.commit(at, Fate::Answered)?;
        for export in (0..self.gateways[at].exporter.exports.len()).rev() {
            self.export(at, export, Fate::Answered)?;
        }
        any |= self.gateways[at].exporter.acknowledge();
        let before = self.group.generation;
        let (gateways, busy) = (self.gateways.len(), self.gateways[at].is_busy());
        self.own(at, late)?;
        any |= busy || self.gateways.len() != gateways || self.group.generation != before;
        Ok(any || self.gateways.get(at).is_some_and(Gateway::is_busy))
    }

    /// Nothing bad happens any more, and everything comes to its end.
    fn finish(&mut self) -> Result<(), String> {
        while let Some(late) = self.late.pop_front() {
            self.arrive(late)?;
        }
        let alive: Vec<Session> = self.gateways.iter().map(|gateway| gateway.session).collect();
        let dead: Vec<Session> =
            self.group.members.iter().filter(|member| !alive.contains(member)).copied().collect();
        dead.into_iter().for_each(|session| self.group.remove(session));
        (0..self.gateways.len()).rev().for_each(|at| self.notice(at));
        if self.plan.mode == Mode::Orderly {
            // The last one has all partitions again.
            self.gateways.iter_mut().skip(1).for_each(|gateway| gateway.stopping = true);
        }
        let mut idle_rounds = 0;
        for round in 0..ROUNDS {
            // Part of a range that has to be repeated as a whole waits for the rest until the deadline.
            let late = round >= PATIENCE && self.plan.mode != Mode::Orderly;
            if self.gateways.is_empty() {
                self.start();
            }
            let mut any = false;
            for at in (0..self.gateways.len()).rev() {
                any |= self.work(at, 4, late)?;
            }
            self.check_between()?;
            idle_rounds = if any { 0 } else { idle_rounds + 1 };
            if idle_rounds == 4 {
                return store::check(self.plan, &self.store);
            }
        }
        Err("it does not come to its end".to_owned())
    }
}

/// The real processors, as a gateway that starts makes them.
fn processors(count: usize) -> Vec<Box<dyn Processor>> {
    static READ: LazyLock<(Document, Topology)> = LazyLock::new(|| {
        let yaml = "receivers:\n  in:\nexporters:\n  out:\nprocessors:\n  \
             aggregate: {window: {tumbling: 7s}, out_of_orderness: 2s, group_by: [service]}\n  \
             aggregate/sliding: {window: {sliding: 9s, slide: 3s}, out_of_orderness: 2s, group_by: [service]}\n\
             service:\n  pipelines:\n    main: {receivers: [in], processors: [aggregate, aggregate/sliding], exporters: [out]}\n";
        let document =
            Document::load(vec![SourceText::new("simulation.yaml", yaml)], &[], &|_| None).unwrap();
        let topology = Topology::read(&document).unwrap();
        (document, topology)
    });
    let (document, topology) = &*READ;
    let made = topology.processors.iter().take(count).map(|component| {
        let context = weir_component::Context {
            clock: std::sync::Arc::new(weir_component::clock::ManualClock::at(crate::plan::LAST)),
            ..testkit::context(&component.id.to_string(), &std::env::temp_dir())
        };
        (weir_processor_aggregate::FACTORY.create)(Settings::new(document, component), context).unwrap()
    });
    made.collect()
}
