//! Kills, pauses, restarts and outages at random moments, while the input is produced.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value as Json, json};
use weir_tests::Weir;

use crate::Case;

/// How long and how hard.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Segments in all.
    pub segments: i64,
    /// Gateways killed.
    pub kills: usize,
    /// For every choice.
    pub seed: u64,
}

impl Plan {
    /// With a seed of this moment, or of `WEIR_SEED`. `WEIR_SOAK_SECONDS` makes it longer in proportion.
    pub fn new(segments: i64, kills: usize) -> Result<Plan> {
        let seed = match std::env::var("WEIR_SEED") {
            Ok(seed) => seed.parse()?,
            Err(_) => SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_nanos() as u64 % 1_000_000,
        };
        let times = match std::env::var("WEIR_SOAK_SECONDS") {
            // About what one round takes.
            Ok(seconds) => (seconds.parse::<i64>()? / 60).max(1),
            Err(_) => 1,
        };
        println!("seed {seed}");
        Ok(Plan { segments: segments * times, kills: kills * times as usize, seed })
    }
}

/// The trouble beside kills and outages of ClickHouse.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trouble {
    /// A gateway stands still for longer than its session lasts: it loses its partitions and learns of it
    /// late.
    pub pauses: bool,
    /// The broker is killed and started again.
    pub broker: bool,
    /// The webhook refuses requests for a while.
    pub webhook: bool,
    /// ClickHouse refuses some rows for ever.
    pub refused: bool,
    /// A partition never has a record, and lanes go idle when nothing comes.
    pub idle_lane: bool,
    /// The partitions are of two topics, and a third topic has logs.
    pub topics: bool,
}

/// Longer than the session of a gateway, which is 2 s.
const PAUSE_MS: std::ops::Range<u64> = 2_500..5_000;

/// The disturber.
pub struct Chaos<'a> {
    case: &'a Case<'a>,
    plan: Plan,
    random: StdRng,
}

impl<'a> Chaos<'a> {
    pub fn new(case: &'a Case<'a>, plan: Plan) -> Chaos<'a> {
        let random = StdRng::seed_from_u64(plan.seed);
        Chaos { case, plan, random }
    }

    /// Starts the gateways, produces the stream, kills and disturbs; returns the gateways when all is
    /// produced and nothing is disturbed any more, and the logs of those that were killed.
    pub async fn run(mut self, count: usize) -> Result<(Vec<Weir>, String)> {
        let Case { clickhouse, topic, stream, .. } = self.case;
        let config = self.case.config();
        let mut gateways: Vec<Option<Weir>> = Vec::new();
        let mut folders = Vec::new();
        for _ in 0..count {
            let weir = Weir::start(&config, &[], &[])?;
            folders.push(weir.folder());
            gateways.push(Some(weir));
        }
        let steps = self.plan.kills as i64 * 3;
        let (mut kills, mut log) = (0, String::new());
        for step in 0..steps {
            let part = |step: i64| stream.count() * step / steps;
            self.case.produce(stream.records(topic, part(step)..part(step + 1))).await?;
            self.moment(1_200).await;
            if step == 0 && self.case.trouble.refused {
                self.case.refuse_rows(part(1)).await?;
            }
            match step % 3 {
                0 => {
                    self.disturb(step).await?;
                    self.trouble(&gateways).await?;
                }
                1 => {
                    let victim = self.random.random_range(0..count);
                    if let Some(weir) = gateways[victim].take() {
                        let outcome = weir.kill()?;
                        log += &format!("gateway {victim}, killed:\n{}\n", outcome.stderr);
                        kills += 1;
                    }
                }
                _ => {
                    for (gateway, folder) in gateways.iter_mut().zip(&folders) {
                        if gateway.is_none() {
                            *gateway = Some(Weir::start_in(Arc::clone(folder), &config, &[], &[])?);
                        }
                    }
                }
            }
        }
        assert!(kills >= self.plan.kills, "{kills} gateways were killed");
        clickhouse.fault(json!({"mode": "ok"})).await?;
        self.case.produce(stream.closing(topic)).await?;
        Ok((gateways.into_iter().flatten().collect(), log))
    }

    /// Waits for a random time: what is killed should be in the middle of something.
    async fn moment(&mut self, most_ms: u64) {
        tokio::time::sleep(Duration::from_millis(self.random.random_range(0..most_ms))).await;
    }

    /// One of the kinds of trouble that this run has.
    async fn trouble(&mut self, gateways: &[Option<Weir>]) -> Result<()> {
        let Case { kafka, webhook, trouble, .. } = self.case;
        let kinds = [trouble.pauses, trouble.broker, trouble.webhook];
        let kinds: Vec<usize> = (0..kinds.len()).filter(|kind| kinds[*kind]).collect();
        if kinds.is_empty() {
            return Ok(());
        }
        match kinds[self.random.random_range(0..kinds.len())] {
            0 => {
                let running: Vec<&Weir> = gateways.iter().flatten().collect();
                if let Some(weir) = running.get(self.random.random_range(0..running.len().max(1))) {
                    weir.signal("STOP")?;
                    tokio::time::sleep(Duration::from_millis(self.random.random_range(PAUSE_MS))).await;
                    weir.signal("CONT")?;
                }
            }
            1 => {
                kafka.stop()?;
                self.moment(4_000).await;
                kafka.start_again()?;
            }
            _ => webhook.answer_with(&[503; 5]),
        }
        Ok(())
    }

    async fn disturb(&mut self, step: i64) -> Result<()> {
        let clickhouse = self.case.clickhouse;
        let order: Json = match self.random.random_range(0..7) {
            0 => json!({"mode": "refuse"}),
            1 => json!({"mode": "http500", "code": 252, "times": 5, "match": "INSERT"}),
            2 => json!({"mode": "exception_in_200", "code": 241, "times": 5, "match": "INSERT"}),
            3 => json!({"mode": "lost_answer", "times": 5, "match": "INSERT"}),
            4 => json!({"mode": "delay", "delay_ms": 1500, "times": 5, "match": "INSERT"}),
            5 => json!({"mode": "cut", "times": 3, "match": "INSERT"}),
            _ => json!({"mode": "ok"}),
        };
        clickhouse.fault(order).await?;
        // Some outages are long.
        if step % 30 == 15 {
            clickhouse.fault(json!({"mode": "refuse"})).await?;
            tokio::time::sleep(Duration::from_secs(10)).await;
            clickhouse.fault(json!({"mode": "ok"})).await?;
        }
        Ok(())
    }
}
