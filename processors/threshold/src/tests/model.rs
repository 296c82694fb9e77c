//! Random schedules against a model that is written from the README: it keeps every verdict and every row,
//! and says from them alone which rows come next.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use serde_json::{Value, json};

use super::restart::{self, Site};
use super::window;

const SIZE: i64 = 7;

/// The times of a rule. Seconds; 0 is none.
#[derive(Clone, Copy, Debug)]
struct Times {
    fire: Fire,
    resolve_after: i64,
    keep: i64,
    silence: i64,
    no_data: i64,
    over: i64,
}

#[derive(Clone, Copy, Debug)]
enum Fire {
    Windows(i64),
    Time(i64),
}

impl Times {
    fn yaml(&self) -> String {
        let fire = match self.fire {
            Fire::Windows(windows) => windows.to_string(),
            Fire::Time(seconds) => format!("{seconds}s"),
        };
        let mut rule = format!(
            "storage: storage\nrules:\n  - name: r\n    when: {{high: max_duration_ns > 2e9, low: max_duration_ns > 1e9}}\n    min_count: 10\n    for: {fire}\n    resolve_after: {}\n    keep_firing_for: {}s\n    silence: {}s\n",
            self.resolve_after, self.keep, self.silence
        );
        for (key, seconds) in [("no_data", self.no_data), ("resolve_without_data", self.over)] {
            if seconds > 0 {
                rule += &format!("    {key}: {seconds}s\n");
            }
        }
        rule
    }
}

/// One window of a series.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    High,
    Low,
    Well,
    Thin,
    Missing,
}

/// A row: of the condition or for missing data, firing or resolved, severity, time.
type Row = (&'static str, &'static str, &'static str, i64);

/// All that happened to a series since it was last forgotten, and every row.
#[derive(Default)]
struct Model {
    windows: Vec<(i64, Seen)>,
    rows: Vec<Row>,
    all: BTreeSet<Row>,
}

impl Model {
    fn push(&mut self, row: Row) {
        self.rows.push(row);
        self.all.insert(row);
    }

    /// The severity at which the rule fires after all windows, by going through them from the first.
    fn fires(&self, times: &Times) -> Option<&'static str> {
        let mut firing = None;
        // The windows since it last began or ended.
        let mut since: Vec<(i64, Seen, bool)> = Vec::new();
        let mut before: Option<i64> = None;
        for (end, seen) in self.windows.iter().copied() {
            let follows = before.is_some_and(|before| before + SIZE == end);
            before = Some(end);
            since.push((end, seen, follows));
            let severity = match seen {
                Seen::High => Some("high"),
                Seen::Low => Some("low"),
                Seen::Thin => continue,
                Seen::Well | Seen::Missing => None,
            };
            let counted = since.iter().rev().filter(|(_, seen, _)| *seen != Seen::Thin);
            if firing.is_some() && severity.is_some() {
                firing = severity;
                since.clear();
            } else if firing.is_some() {
                let below = counted.take_while(|(_, seen, _)| *seen == Seen::Well);
                let ends: Vec<i64> = below.map(|(end, ..)| *end).collect();
                let first = ends.last().copied().unwrap_or(end);
                if ends.len() as i64 >= times.resolve_after && end - first >= times.keep {
                    firing = None;
                    since.clear();
                }
            } else if severity.is_some() {
                let broken = since.iter().rposition(|(_, seen, follows)| *seen == Seen::Well || !follows);
                let run = &since[broken.unwrap_or(0)..];
                let run = run.iter().filter(|(_, seen, _)| matches!(seen, Seen::High | Seen::Low));
                let ends: Vec<i64> = run.map(|(end, ..)| *end).collect();
                let enough = match times.fire {
                    Fire::Windows(windows) => ends.len() as i64 >= windows,
                    Fire::Time(time) => end - ends[0] >= time,
                };
                if enough {
                    firing = severity;
                    since.clear();
                }
            }
        }
        firing
    }

    fn last_row(&self, kind: &str) -> Option<Row> {
        self.rows.iter().rfind(|row| row.0 == kind).copied()
    }

    /// A window: the first time, or again with other content.
    fn window(&mut self, times: &Times, end: i64, seen: Seen) {
        match self.windows.last_mut() {
            Some((known, last)) if *known == end => *last = seen,
            _ => {
                if let Some((_, "firing", severity, _)) = self.last_row("no_data") {
                    self.push(("no_data", "resolved", severity, end));
                }
                self.windows.push((end, seen));
            }
        }
        if seen != Seen::Thin {
            self.tell(times, end, matches!(seen, Seen::High | Seen::Low));
        }
    }

    /// What readers must hear, now that the windows are these.
    fn tell(&mut self, times: &Times, end: i64, held: bool) {
        let now = self.fires(times);
        let told = self.last_row("when").filter(|row| row.1 == "firing").map(|row| row.2);
        let last = self.rows.iter().rfind(|row| row.0 == "when" && row.1 == "firing").copied();
        let quiet = last.is_some_and(|(.., at)| end < at + times.silence);
        match (told, now) {
            (None, Some(severity)) if held => {
                let is_worse = severity == "high" && last.is_some_and(|last| last.2 == "low");
                if !quiet || is_worse {
                    self.push(("when", "firing", severity, end));
                }
            }
            (Some(severity), None) => self.push(("when", "resolved", severity, end)),
            (Some(from), Some(to)) if from != to && (!quiet || to == "high") => {
                self.push(("when", "resolved", from, end));
                self.push(("when", "firing", to, end));
            }
            (Some(from), Some(to)) if from == to && held && times.silence > 0 && !quiet => {
                self.push(("when", "firing", to, end));
            }
            _ => {}
        }
    }

    /// No window of it ended later than its last one, until `now`.
    fn wait(&mut self, times: &Times, now: i64) {
        let Some((last, _)) = self.windows.last().copied() else { return };
        let is_silent = self.last_row("no_data").is_some_and(|row| row.1 == "firing");
        if times.no_data > 0 && !is_silent && last + times.no_data <= now {
            self.push(("no_data", "firing", "high", last + times.no_data));
        }
        let over = last + times.over;
        if times.over > 0 && over <= now {
            for kind in ["when", "no_data"] {
                if let Some((kind, "firing", severity, _)) = self.last_row(kind) {
                    self.push((kind, "resolved", severity, over));
                }
            }
            self.windows.clear();
            // Otherwise its silence goes on.
            if times.no_data > 0 {
                self.rows.clear();
            }
        }
    }
}

/// What one series brings: a window, and what is in it when it fires again.
type Step = (Seen, Option<Seen>);

fn expected(times: &Times, schedule: &[[Step; 2]], series: usize) -> BTreeSet<Row> {
    let mut model = Model::default();
    for (index, steps) in schedule.iter().enumerate() {
        let end = (index as i64 + 1) * SIZE;
        let (seen, again) = steps[series];
        if seen != Seen::Missing {
            model.wait(times, end - 1);
            for seen in [Some(seen), again].into_iter().flatten() {
                model.window(times, end, seen);
            }
        }
        model.wait(times, end);
    }
    model.all
}

const SERIES: [&str; 2] = ["pay", "ship"];

fn line(service: &str, end: i64, seen: Seen, firing: i64) -> Value {
    let ms = match seen {
        Seen::High => 3000,
        Seen::Low => 1500,
        _ => 1,
    };
    let mut line = window(service, end, ms, 1);
    line["firing"] = json!(firing);
    if seen == Seen::Thin {
        line["count"] = json!(9);
    }
    line
}

/// The rows of the processor, for each series. At the places in `restarts` it crashes: with what was
/// delivered written down, or not.
async fn played(
    times: &Times,
    schedule: &[[Step; 2]],
    restarts: &BTreeMap<usize, bool>,
) -> Vec<BTreeSet<Row>> {
    let mut site = Site::start(&times.yaml()).await;
    let mut rows = vec![BTreeSet::new(); SERIES.len()];
    let (mut at, mut done) = (0, BTreeSet::new());
    while at < schedule.len() {
        let end = (at as i64 + 1) * SIZE;
        let (mut first, mut again) = (Vec::new(), Vec::new());
        for (service, (seen, more)) in SERIES.into_iter().zip(schedule[at]) {
            if seen != Seen::Missing {
                first.push(line(service, end, seen, 0));
                again.extend(more.map(|seen| line(service, end, seen, 1)));
            }
        }
        let alarms = site.evaluate_again("aggregate", end, &first, &again);
        for alarm in alarms {
            let text = |name: &str| alarm[name].as_str().unwrap_or_default().to_owned();
            let kind = if text("measure") == "no_data_ns" { "no_data" } else { "when" };
            let state = if text("state") == "firing" { "firing" } else { "resolved" };
            let severity = if text("severity") == "high" { "high" } else { "low" };
            let series = SERIES.iter().position(|service| *service == text("service")).unwrap();
            rows[series].insert((kind, state, severity, alarm["time"].as_i64().unwrap() / 1000));
        }
        at += 1;
        match restarts.get(&at) {
            Some(commit) if done.insert(at) => {
                if *commit {
                    site.settle().await;
                    site.commit();
                }
                site.restart().await;
                let mark = site.committed.get("aggregate").copied().unwrap_or(-1);
                at = ((mark + 1) / (SIZE * 1000)) as usize;
            }
            _ => {}
        }
    }
    rows
}

fn times() -> impl Strategy<Value = Times> {
    let fire = prop_oneof![(1..4_i64).prop_map(Fire::Windows), (0..22_i64).prop_map(Fire::Time)];
    let no_data = prop_oneof![Just(0), 8..30_i64];
    let over = prop_oneof![Just(0), 31..60_i64];
    let silence = prop_oneof![Just(0), 1..50_i64];
    (fire, 1..4_i64, prop_oneof![Just(0), 1..30_i64], silence, no_data, over).prop_map(
        |(fire, resolve_after, keep, silence, no_data, over)| Times {
            fire,
            resolve_after,
            keep,
            silence,
            no_data,
            over,
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let seen = prop_oneof![
        4 => Just(Seen::High),
        4 => Just(Seen::Low),
        4 => Just(Seen::Well),
        1 => Just(Seen::Thin),
        3 => Just(Seen::Missing),
    ];
    let again = prop_oneof![6 => Just(None), 1 => Just(Some(Seen::High)), 1 => Just(Some(Seen::Low)),
        1 => Just(Some(Seen::Well))];
    (seen, again)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]
    #[test]
    fn rows_are_those_of_the_model_through_gaps_late_firings_and_restarts(
        times in times(),
        schedule in prop::collection::vec(prop::array::uniform2(step()), 1..40),
        restarts in prop::collection::btree_map(1..40_usize, any::<bool>(), 0..6),
    ) {
        restart::run(async {
            let rows = played(&times, &schedule, &restarts).await;
            for (series, rows) in rows.iter().enumerate() {
                assert_eq!(*rows, expected(&times, &schedule, series), "{}", SERIES[series]);
            }
        });
    }
}
