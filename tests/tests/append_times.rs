//! A host whose clock is ahead, and a topic that is read twice: live, and again.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use weir_tests::{Entry, Kafka, Record, Weir, unique, wait_until};

const TIMEOUT: Duration = Duration::from_secs(60);
/// Events of each host.
const EVENTS: usize = 60;
const SIZE_MS: i64 = 500;
const OUT_OF_ORDER_MS: i64 = 1_000;

/// Start and service; and how many events.
type Windows = BTreeMap<(i64, String), i64>;

fn now_ms() -> Result<i64> {
    Ok(i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis())?)
}

fn event(topic: &str, service: &str, number: usize, end_ms: i64) -> Record {
    let id = format!("{service}-{number}");
    let (service, operation) = (service.to_owned(), "/pay".to_owned());
    Entry { id, service, operation, end_ms, duration_ms: 20, failed: false }.record(topic, 0)
}

/// A gateway of its own group, which reads the topic from the beginning.
struct Gateway {
    weir: Weir,
}

impl Gateway {
    fn start(kafka: &Kafka, topic: &str, group: &str) -> Result<Gateway> {
        let config = format!(
            "receivers:
  skywalking_kafka: {{brokers: [\"{}\"], topics: {{segments: {topic}}}, group_id: {topic}-{group}, initial_offset: earliest}}
processors:
  aggregate:
    window: {{tumbling: {SIZE_MS}ms}}
    out_of_orderness: {OUT_OF_ORDER_MS}ms
    max_ahead: 0s
    idle_timeout: 1h
    late: output
    group_by: [service]
exporters:
  file: {{path: out.jsonl}}
service:
  telemetry: {{metrics: {{address: \"\"}}}}
  pipelines:
    main: {{receivers: [skywalking_kafka], processors: [aggregate], exporters: [file]}}
",
            kafka.bootstrap(),
        );
        Ok(Gateway { weir: Weir::start(&config, &[], &[])? })
    }

    /// Ends it when it has read everything. Its windows, and how many events were late.
    async fn finish(self) -> Result<(Windows, usize)> {
        let folder = self.weir.folder();
        let rows = || -> Vec<Value> {
            let text = std::fs::read_to_string(folder.path().join("out.jsonl")).unwrap_or_default();
            text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
        };
        let is_event = |row: &&Value| row["signal"] == "traces";
        wait_until("every event", TIMEOUT, async || {
            Ok((rows().iter().filter(is_event).count() == 2 * EVENTS).then_some(()))
        })
        .await
        .with_context(|| self.weir.log().join("\n"))?;
        let outcome = self.weir.terminate(TIMEOUT).await?;
        ensure!(outcome.code == Some(0), "{}", outcome.stderr);
        let rows = rows();
        let late = rows.iter().filter(is_event).filter(|row| row["attributes"]["late"] == true).count();
        let mut windows = Windows::new();
        for row in rows.iter().filter(|row| row["signal"] == "windows") {
            let key = (
                row["window_start"].as_i64().context("window_start")?,
                row["service"].as_str().context("service")?.to_owned(),
            );
            let first = windows.insert(key, row["count"].as_i64().context("count")?);
            ensure!(first.is_none(), "a window is there twice: {row}");
        }
        Ok((windows, late))
    }
}

/// The windows of a topic by their definition, and how many events are late. An event takes the watermark at
/// most to when its record was appended.
fn expected(records: &[Record], times: &BTreeMap<Vec<u8>, (String, i64)>) -> Result<(Windows, usize)> {
    let of = |record: &Record| times.get(record.key.as_deref().unwrap_or_default()).context("a record");
    let (mut windows, mut late, mut latest) = (Windows::new(), 0, None::<i64>);
    let closed = |start: i64, latest: Option<i64>| {
        latest.is_some_and(|latest| start + SIZE_MS - 1 < latest - OUT_OF_ORDER_MS)
    };
    for record in records {
        let (service, time) = of(record)?;
        let start = time.div_euclid(SIZE_MS) * SIZE_MS;
        if closed(start, latest) {
            late += 1;
        } else {
            *windows.entry((start, service.clone())).or_default() += 1;
        }
        latest = latest.max(Some(record.timestamp_ms.min(*time)));
    }
    windows.retain(|(start, _), _| closed(*start, latest));
    Ok((windows, late))
}

#[tokio::test]
async fn a_topic_that_keeps_append_times_gives_the_same_windows_when_it_is_read_again() -> Result<()> {
    let kafka = Kafka::shared()?;
    let (appended, produced) = (unique("appended"), unique("produced"));
    kafka.create_topic(&appended, 1, &[("message.timestamp.type", "LogAppendTime")]).await?;
    kafka.create_topic(&produced, 1, &[]).await?;
    let live = Gateway::start(kafka, &appended, "live")?;
    let mut times = BTreeMap::new();
    for number in 0..EVENTS {
        let now = now_ms()?;
        // One host's clock is 40 minutes ahead.
        for (service, time) in [("fast", now + 40 * 60_000), ("shop", now)] {
            times.insert(format!("{service}-{number}").into_bytes(), (service.to_owned(), time));
            let records = [&appended, &produced].map(|topic| event(topic, service, number, time));
            kafka.produce_all(&records).await?;
        }
        // The events are of several seconds: the stretch of time is the input.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let (live, live_late) = live.finish().await?;
    let (expected, expected_late) = expected(&kafka.read_all(&appended)?, &times)?;
    ensure!(expected.len() >= 5, "{expected:?}");
    assert_eq!((live_late, &live), (expected_late, &expected));

    let (again, late) = Gateway::start(kafka, &appended, "again")?.finish().await?;
    assert_eq!((late, again), (live_late, live));
    // Only one that took long to be appended, on a slow machine.
    ensure!(late < EVENTS / 4, "{late} events were late");

    // Without append times the bound is the gateway's clock, which is ahead of all events by now.
    let (_, late) = Gateway::start(kafka, &produced, "again")?.finish().await?;
    assert!(late > EVENTS / 2, "{late} events of the topic with the producers' times were late");
    Ok(())
}
