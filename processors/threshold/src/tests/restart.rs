//! Windows that come again after a failure or a restart are evaluated as they were the first time.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::Value;
use weir_component::delivery::{LaneStart, Marks, Shard, TrunkStart};
use weir_component::storage::{Storage, Storages};
use weir_component::{Processor, TrunkMessage, Watermark};
use weir_pdata::Ack;

use super::disk::{Disk, Gate};
use super::{LANE, LaneMessage, brief, rows, test_context, window, windows, with_context};
use crate::tests::Trunk;

pub(super) const OPERATORS: [&str; 2] = ["aggregate", "other"];
const PIPELINE: &str = "main";

/// A processor behind operators whose windows come again from where their marks were written down.
pub(super) struct Site {
    disk: Disk,
    pub(super) gate: Gate,
    pub(super) settings: String,
    /// Kept: a stopped processor writes no more.
    _processor: Box<dyn Processor>,
    pub(super) trunk: Trunk,
    marks: Marks,
    /// The offsets that Kafka has.
    pub(super) committed: BTreeMap<String, i64>,
    /// The alarms that the exporters have not delivered, of so many windows at most.
    exporting: VecDeque<Vec<LaneMessage>>,
    pub(super) slow: usize,
}

impl Site {
    pub(super) async fn start(settings: &str) -> Site {
        let disk = Disk::new().await;
        let gate = Gate::before(disk.storage());
        let (_processor, trunk, marks) = begin(settings, &gate).await;
        let mut site = Site {
            disk,
            gate,
            settings: settings.to_owned(),
            _processor,
            trunk,
            marks,
            committed: BTreeMap::new(),
            exporting: VecDeque::new(),
            slow: 0,
        };
        site.open();
        site
    }

    fn open(&mut self) {
        self.marks.expect_written(Shard(0));
        let start = LaneStart {
            source: Some("c/g/t".into()),
            windows: Arc::new(self.committed.clone()),
            ..LANE.into()
        };
        self.trunk.send(TrunkMessage::LaneOpened(start));
    }

    /// The lane ends, and begins again where it was written down.
    pub(super) fn reopen(&mut self) {
        self.fail_what_is_on_its_way();
        self.trunk.send(TrunkMessage::LanesClosed([LANE].into()));
        OPERATORS.iter().for_each(|name| self.marks.restart(&Arc::from(*name), Shard(0)));
        self.open();
    }

    /// Another process begins with what the first one left in the storage.
    pub(super) async fn restart(&mut self) {
        // What the first one has not written yet is lost.
        self.disk = self.disk.after_a_crash().await;
        self.fail_what_is_on_its_way();
        self.gate = Gate::before(self.disk.storage());
        (self._processor, self.trunk, self.marks) = begin(&self.settings, &self.gate).await;
        self.open();
    }

    fn fail_what_is_on_its_way(&mut self) {
        for message in self.exporting.drain(..).flatten() {
            if let LaneMessage::Batch(batch) = message {
                batch.ack.fail();
            }
        }
    }

    /// Windows of an operator that end at `end` seconds. They are delivered when the processor lets them go.
    pub(super) fn evaluate(&mut self, operator: &str, end: i64, lines: &[Value]) -> Vec<Value> {
        self.evaluate_again(operator, end, lines, &[])
    }

    /// The same, and then those that fire again.
    pub(super) fn evaluate_again(
        &mut self,
        operator: &str,
        end: i64,
        first: &[Value],
        again: &[Value],
    ) -> Vec<Value> {
        let mut emitted = Vec::new();
        for lines in [first, again] {
            if lines.is_empty() {
                continue;
            }
            let mark = self.marks.emit(&operator.into(), Shard(0), Watermark(end * 1000 - 1));
            let of_operator = |line: &Value| {
                let mut line = line.clone();
                line["operator"] = operator.into();
                line
            };
            let lines: Vec<Value> = lines.iter().map(of_operator).collect();
            let batch = windows(&lines, Ack::join([mark, self.trunk.probe.ack()]));
            emitted.extend(self.trunk.send(TrunkMessage::Derived(LaneMessage::Batch(batch))));
        }
        let watermark = LaneMessage::Watermark(Watermark(end * 1000 - 1));
        emitted.extend(self.trunk.send(TrunkMessage::Derived(watermark)));
        let alarms = rows(&emitted);
        self.exporting.push_back(emitted);
        self.exporting.drain(..self.exporting.len().saturating_sub(self.slow));
        alarms
    }

    /// Everything that waits for the storage is written, and everything is exported.
    pub(super) async fn settle(&mut self) {
        self.gate.open();
        self.exporting.clear();
        while self.trunk.probe.open() > 0 {
            tokio::task::yield_now().await;
        }
    }

    /// The marks of what is delivered are written down.
    pub(super) fn commit(&mut self) {
        let delivered = self.marks.delivered(Shard(0));
        self.marks.written(Shard(0), delivered.iter().map(|(name, mark)| (name.as_str(), *mark)));
        self.committed.extend(delivered);
    }
}

async fn begin(settings: &str, gate: &Gate) -> (Box<dyn Processor>, Trunk, Marks) {
    let id = "storage".parse().unwrap();
    let storages = Storages::new(HashMap::from([(id, Arc::new(gate.clone()) as Arc<dyn Storage>)]));
    let processor = with_context(settings, weir_component::Context { storages, ..test_context() });
    processor.start(PIPELINE, tokio_util::sync::CancellationToken::new()).await.unwrap();
    let marks = Marks::default();
    let start = TrunkStart { pipeline: PIPELINE.into(), marks: marks.clone(), ..TrunkStart::default() };
    let trunk = Trunk { stage: processor.trunk_stage(&start).unwrap(), probe: Default::default() };
    (processor, trunk, marks)
}

pub(super) fn run(test: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
}

const SLOW: &str = "
storage: storage
rules:
  - {name: slow, for: 2, resolve_after: 2, when: {high: max_duration_ns > 2000000000, low: max_duration_ns > 1000000000}}
";

/// With a rule that looks back further than a window.
const LOOKING_BACK: &str = "
  - {name: higher, when: {mid: \"max_duration_ns > offset(max_duration_ns, '14s')\"}}
  - {name: highest, when: {mid: \"max_duration_ns > offset(max_duration_ns, '42s') AND max_duration_ns > previous(max_duration_ns)\"}}
";

pub(super) fn short(alarms: &[Value]) -> Vec<String> {
    alarms.iter().map(brief).collect()
}

#[test]
fn an_alarm_that_fires_goes_on_after_a_restart() {
    run(async {
        let mut site = Site::start(SLOW).await;
        site.evaluate("aggregate", 7, &[window("pay", 7, 3000, 1)]);
        let fired = site.evaluate("aggregate", 14, &[window("pay", 14, 3000, 1)]);
        assert_eq!(short(&fired), ["firing high pay 14"]);
        site.settle().await;
        site.commit();
        site.restart().await;
        assert_eq!(short(&site.evaluate("aggregate", 21, &[window("pay", 21, 3000, 1)])), [""; 0]);
        site.evaluate("aggregate", 28, &[window("pay", 28, 1, 1)]);
        let resolved = site.evaluate("aggregate", 35, &[window("pay", 35, 1, 1)]);
        assert_eq!(short(&resolved), ["resolved high pay 35"]);
        assert_eq!(resolved[0]["starts_at"], fired[0]["starts_at"]);
        assert_eq!(resolved[0]["fingerprint"], fired[0]["fingerprint"]);
    });
}

#[test]
fn windows_that_come_again_say_the_same_again() {
    run(async {
        let mut site = Site::start(SLOW).await;
        site.evaluate("aggregate", 7, &[window("pay", 7, 3000, 1)]);
        site.settle().await;
        site.commit();
        for restart in [false, true] {
            let fired = site.evaluate("aggregate", 14, &[window("pay", 14, 3000, 1)]);
            site.evaluate("aggregate", 21, &[window("pay", 21, 1, 1)]);
            let resolved = site.evaluate("aggregate", 28, &[window("pay", 28, 1, 1)]);
            assert_eq!(short(&fired), ["firing high pay 14"]);
            assert_eq!(short(&resolved), ["resolved high pay 28"]);
            site.settle().await;
            // What was delivered is not written down: it comes again.
            if restart { site.restart().await } else { site.reopen() }
        }
    });
}

#[test]
fn the_input_waits_until_the_alarm_is_kept() {
    run(async {
        let mut site = Site::start(SLOW).await;
        site.evaluate("aggregate", 7, &[window("pay", 7, 1, 1)]);
        assert_eq!(site.trunk.probe.open(), 0, "nothing is remembered of it");
        site.evaluate("aggregate", 14, &[window("pay", 14, 3000, 1)]);
        assert_eq!(site.trunk.probe.open(), 1);
        site.settle().await;
        site.commit();
        site.restart().await;
        let resolved = [site.evaluate("aggregate", 21, &[window("pay", 21, 3000, 1)])].concat();
        assert_eq!(short(&resolved), ["firing high pay 21"], "the first of its two windows was kept");
    });
}

#[test]
fn a_window_that_fires_again_after_a_restart_does_not_undo_what_later_ones_said() {
    run(async {
        let mut site = Site::start(&SLOW.replace("for: 2, resolve_after: 2", "for: 1")).await;
        let fired = site.evaluate("aggregate", 7, &[window("pay", 7, 3000, 1), window("ship", 7, 1, 1)]);
        assert_eq!(short(&fired), ["firing high pay 7"]);
        let resolved = site.evaluate("aggregate", 14, &[window("pay", 14, 1, 1)]);
        assert_eq!(short(&resolved), ["resolved high pay 14"]);
        site.settle().await;
        site.commit();
        site.restart().await;
        let again = |service: &str, end: i64| {
            let mut window = window(service, end, 3000, 1);
            window["firing"] = 4096.into();
            window
        };
        assert_eq!(
            short(&site.evaluate("aggregate", 7, &[again("pay", 7)])),
            [""; 0],
            "it was resolved later"
        );
        let raised = site.evaluate("aggregate", 14, &[again("pay", 14)]);
        assert_eq!(short(&raised), ["firing high pay 14"], "the last window counts with what is in it now");
        assert_eq!(short(&site.evaluate("aggregate", 14, &[again("pay", 14)])), [""; 0], "nothing is new");
    });
}

#[test]
fn an_alarm_whose_rule_is_gone_after_a_restart_resolves() {
    run(async {
        let mut site = Site::start(&SLOW.replace("for: 2", "for: 1")).await;
        assert_eq!(
            short(&site.evaluate("aggregate", 7, &[window("pay", 7, 3000, 1)])),
            ["firing high pay 7"]
        );
        site.settle().await;
        site.commit();
        site.settings = SLOW.replace("name: slow", "name: other");
        site.restart().await;
        let moved = site.trunk.send(TrunkMessage::Derived(LaneMessage::Watermark(Watermark(13_000))));
        assert_eq!(short(&rows(&moved)), ["resolved high pay 7"]);
    });
}

#[test]
fn an_alarm_without_a_rule_is_remembered_until_it_is_delivered() {
    run(async {
        let mut site = Site::start(&SLOW.replace("for: 2", "for: 1")).await;
        site.evaluate("aggregate", 7, &[window("pay", 7, 3000, 1)]);
        site.settle().await;
        site.commit();
        site.settings = SLOW.replace("name: slow", "name: other").replace("for: 2", "for: 1");
        for (end, delivered) in [(14, false), (21, false), (28, true)] {
            site.restart().await;
            let resolved =
                site.trunk.send(TrunkMessage::Derived(LaneMessage::Watermark(Watermark(end * 1000 - 2))));
            let said: Vec<String> =
                rows(&resolved).iter().map(|row| row["labels"]["service"].to_string()).collect();
            assert_eq!(said, ["\"pay\""], "{end}");
            if delivered {
                drop(resolved);
                site.evaluate("aggregate", end, &[window("ship", end, 1, 1)]);
            } else {
                // The next window is evaluated while it is on its way, and waits for it.
                site.evaluate("aggregate", end, &[window("ship", end, 3000, 1)]);
                for message in &resolved {
                    let LaneMessage::Batch(batch) = message else { continue };
                    batch.ack.fail();
                }
                drop(resolved);
            }
            site.settle().await;
            site.commit();
        }
        site.restart().await;
        let resolved = site.trunk.send(TrunkMessage::Derived(LaneMessage::Watermark(Watermark(34_000))));
        assert_eq!(short(&rows(&resolved)), [""; 0]);
    });
}

#[test]
fn a_storage_that_is_not_there_is_an_error() {
    let settings = "storage: storage/main\nrules: [{name: a, when: {low: count > 1}}]";
    let wrong = super::create(&super::configuration(settings), test_context()).err().unwrap().to_string();
    assert!(wrong.contains("`storage/main` is not a storage that is started"), "{wrong}");
}

/// The event after the windows of one end.
#[derive(Clone, Copy, Debug)]
enum Then {
    Nothing,
    Deliver,
    Commit,
    Reopen,
    Restart,
    /// The storage takes nothing until everything is delivered.
    Stop,
    /// It takes what waits.
    Write,
    /// So many windows are on their way to their destination.
    Slow(usize),
}

fn then() -> impl Strategy<Value = Then> {
    prop_oneof![
        3 => Just(Then::Nothing),
        2 => Just(Then::Deliver),
        3 => Just(Then::Commit),
        1 => Just(Then::Reopen),
        2 => Just(Then::Restart),
        3 => Just(Then::Stop),
        2 => Just(Then::Write),
        1 => (0..4_usize).prop_map(Then::Slow),
    ]
}

/// Milliseconds of three services in one window.
type Slowness = [i64; 3];

async fn play(input: &[[Slowness; 2]], plan: &[Then]) -> BTreeMap<String, String> {
    let mut site = Site::start(&format!("{}{}", SLOW.trim_end(), LOOKING_BACK)).await;
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    let (mut at, mut plan) = (0, plan.iter());
    while at < input.len() {
        let end = (at as i64 + 1) * 7;
        for (operator, slowness) in OPERATORS.into_iter().zip(input[at]) {
            if site.committed.get(operator).is_some_and(|mark| *mark >= end * 1000 - 1) {
                continue;
            }
            let services = ["pay", "ship", "stock"].into_iter().zip(slowness);
            let lines: Vec<Value> = services.map(|(name, slowness)| window(name, end, slowness, 1)).collect();
            for alarm in site.evaluate(operator, end, &lines) {
                let id = format!("{}/{}/{}", alarm["fingerprint"], alarm["state"], alarm["time"]);
                let said = format!(
                    "{operator} {} since {}: {}",
                    brief(&alarm),
                    alarm["starts_at"],
                    alarm["message"]
                );
                let before = seen.insert(id, said.clone());
                assert!(
                    before.as_ref().is_none_or(|before| *before == said),
                    "{said}, and before: {before:?}"
                );
            }
            // What is delivered of the operators differs.
            if operator == OPERATORS[0] && slowness[0] % 2 == 0 && site.slow == 0 {
                site.settle().await;
                site.commit();
            }
        }
        at += 1;
        match plan.next().unwrap_or(&Then::Commit) {
            Then::Nothing => {}
            Then::Stop => site.gate.close(),
            Then::Slow(windows) => site.slow = *windows,
            // What is delivered then is written down.
            Then::Write => {
                site.gate.open();
                for _ in 0..50 {
                    tokio::task::yield_now().await;
                }
                site.commit();
            }
            Then::Deliver => site.settle().await,
            Then::Commit => {
                site.settle().await;
                site.commit();
            }
            restart @ (Then::Reopen | Then::Restart) => {
                match restart {
                    Then::Reopen => site.reopen(),
                    _ => site.restart().await,
                }
                let marks = OPERATORS.map(|name| site.committed.get(name).copied().unwrap_or(-1));
                at = marks.into_iter().min().map_or(0, |mark| ((mark + 1) / 7000) as usize);
            }
        }
    }
    seen
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]
    #[test]
    fn restarts_change_nothing_of_what_is_said(
        input in prop::collection::vec(
            prop::array::uniform2(prop::array::uniform3(
                prop_oneof![Just(1_i64), Just(2), Just(1500), Just(2501)]
            )),
            1..40,
        ),
        plan in prop::collection::vec(then(), 0..60),
    ) {
        run(async {
            let (expected, mut seen) = (play(&input, &[]).await, play(&input, &plan).await);
            let mut is_missing = |id: &String, alarm| seen.remove(id).as_ref() != Some(alarm);
            let missing: Vec<_> = expected.iter().filter(|(id, alarm)| is_missing(id, *alarm)).collect();
            assert!(missing.is_empty() && seen.is_empty(), "missing: {missing:?}; too much: {seen:?}");
        });
    }
}
