//! The real parts themselves: each does what the tests built on it rely on.

use anyhow::Result;
use serde_json::json;
use std::time::Duration;
use weir_tests::{ClickHouse, Kafka, Record, Recorder, Sent, Shop, recorded, unique, wait_until};

const TIMEOUT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn kafka_gives_back_what_was_written_to_it() -> Result<()> {
    let kafka = Kafka::shared()?;
    let topic = unique("round_trip");
    kafka.create_topic(&topic, 2, &[]).await?;
    assert_eq!(kafka.produce(&topic, Some(1), Some(b"k"), Some(b"first")).await?, 0);
    assert_eq!(kafka.produce(&topic, Some(1), Some(b"k"), None).await?, 1);
    assert_eq!(kafka.produce(&topic, Some(0), None, Some(b"")).await?, 0);

    assert_eq!(kafka.end_offsets(&topic)?, [1, 2]);
    let found = kafka.read_all(&topic)?;
    let contents: Vec<_> = found
        .iter()
        .map(|record| (record.partition, record.key.as_deref(), record.value.as_deref()))
        .collect();
    let (key, first, empty): (&[u8], &[u8], &[u8]) = (b"k", b"first", b"");
    assert_eq!(contents, [(0, None, Some(empty)), (1, Some(key), Some(first)), (1, Some(key), None)]);
    assert_eq!(kafka.committed("nobody", &topic)?, [None, None]);

    kafka.grow_topic(&topic, 3).await?;
    let grown = async || Ok((kafka.end_offsets(&topic)?.len() == 3).then_some(()));
    wait_until("the third partition", TIMEOUT, grown).await
}

#[tokio::test]
async fn kafka_keeps_its_records_when_it_is_stopped_and_started_again() -> Result<()> {
    let kafka = Kafka::start()?;
    let topic = unique("restart");
    kafka.create_topic(&topic, 1, &[]).await?;
    kafka.produce(&topic, None, None, Some(b"kept")).await?;
    kafka.stop()?;
    assert!(std::net::TcpStream::connect(kafka.bootstrap()).is_err());
    kafka.start_again()?;
    assert_eq!(kafka.read_all(&topic)?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn the_recorded_agent_replays_byte_for_byte() -> Result<()> {
    let kafka = Kafka::shared()?;
    let topic = unique("replay");
    kafka.create_topic(&topic, 3, &[]).await?;
    let segments = recorded("skywalking-segments")?;
    assert_eq!(segments.len(), 90);
    let sent: Vec<Record> =
        segments.into_iter().map(|record| Record { topic: topic.clone(), ..record }).collect();
    kafka.produce_all(&sent).await?;

    let mut expected = sent;
    expected.sort_by_key(|record| (record.partition, record.offset));
    assert_eq!(kafka.read_all(&topic)?, expected);
    Ok(())
}

#[tokio::test]
async fn clickhouse_keeps_one_copy_of_two_inserts_with_one_token() -> Result<()> {
    let clickhouse = ClickHouse::shared()?;
    let database = clickhouse.database().await?;
    let table = format!("{database}.t");
    create_table(clickhouse, &table).await?;
    let statement = format!("INSERT INTO {table} FORMAT JSONEachRow");
    let rows = || b"{\"n\": 9007199254740993, \"s\": \"a\"}\n\n{\"n\": 2, \"s\": \"b\"}\n".to_vec();

    for token in ["one", "one", "two"] {
        clickhouse.insert(&statement, &[("insert_deduplication_token", token)], rows()).await?;
    }
    assert_eq!(clickhouse.number(&format!("SELECT count() FROM {table}")).await?, 4);
    let found = clickhouse.query(&format!("SELECT DISTINCT n, s FROM {table} ORDER BY n DESC")).await?;
    assert_eq!(found, [json!({"n": 9_007_199_254_740_993_u64, "s": "a"}), json!({"n": 2, "s": "b"})]);

    let refused = clickhouse.query("SELECT * FROM nowhere").await.unwrap_err().to_string();
    assert!(refused.contains("404") && refused.contains("Code: 60."), "{refused}");
    Ok(())
}

#[tokio::test]
async fn clickhouse_fails_as_it_is_told() -> Result<()> {
    let clickhouse = ClickHouse::start()?;
    let table = "default.t";
    create_table(&clickhouse, table).await?;
    let insert = async |token: &str| {
        let body = b"{\"n\": 1, \"s\": \"a\"}".to_vec();
        let settings = [("insert_deduplication_token", token)];
        clickhouse.insert(&format!("INSERT INTO {table} FORMAT JSONEachRow"), &settings, body).await
    };
    let count = async || clickhouse.number(&format!("SELECT count() FROM {table}")).await;

    clickhouse.fault(json!({"mode": "http500", "code": 252, "times": 1, "match": "INSERT"})).await?;
    assert_eq!(count().await?, 0);
    let refused = insert("a").await.unwrap_err().to_string();
    assert!(refused.contains("500") && refused.contains("(TOO_MANY_PARTS)"), "{refused}");
    insert("a").await?;
    assert_eq!(count().await?, 1);

    clickhouse.fault(json!({"mode": "cut", "times": 1})).await?;
    insert("b").await.unwrap_err();
    assert_eq!(count().await?, 1);

    clickhouse.fault(json!({"mode": "lost_answer", "times": 1})).await?;
    insert("c").await.unwrap_err();
    assert_eq!(count().await?, 2, "the insert took effect");
    insert("c").await?;
    assert_eq!(count().await?, 2, "its repetition did not");

    clickhouse.fault(json!({"mode": "refuse"})).await?;
    count().await.unwrap_err();
    clickhouse.fault(json!({"mode": "ok"})).await?;
    assert_eq!(count().await?, 2);

    let stats = clickhouse.stats().await?;
    assert_eq!((stats.inserts, stats.faults, stats.errors), (3, 3, 1));
    assert!(ClickHouse::shared()?.fault(json!({"mode": "ok"})).await.is_err(), "others use the shared one");
    Ok(())
}

#[tokio::test]
async fn the_recorder_keeps_bodies_and_answers_as_it_is_told() -> Result<()> {
    let recorder = Recorder::start().await?;
    recorder.answer_with(&[503]);
    let client = reqwest::Client::new();
    let mut statuses = vec![];
    for body in ["{\"n\": 1}", "{\"n\": 2}"] {
        let answer = client.post(recorder.url()).header("x-test", "yes").body(body).send().await?;
        statuses.push(answer.status().as_u16());
    }
    assert_eq!(statuses, [503, 200]);
    let accepted = recorder.wait_until("one body", TIMEOUT, |bodies| !bodies.is_empty()).await?;
    assert_eq!(accepted, [json!({"n": 2})]);
    assert_eq!(recorder.requests().len(), 2);
    assert_eq!(recorder.requests()[0].headers["x-test"], "yes");
    Ok(())
}

#[tokio::test]
async fn the_shop_sends_every_segment_to_kafka() -> Result<()> {
    let kafka = Kafka::shared()?;
    let shop = Shop::start(kafka, "shop", &unique("smoke_"), 2).await?;
    shop.set_slow_ms(1).await?;
    let mut statuses = vec![];
    for path in ["/fast", "/slow", "/fail", "/pay?order=7"] {
        statuses.push(shop.get(path).await?);
    }
    assert_eq!(statuses, [200, 200, 500, 200]);
    // /pay has an exit span and calls /stock, a segment of its own.
    assert_eq!(shop.flush().await?, Sent { segments: 5, spans: 6 });
    assert_eq!(kafka.read_all(&shop.segments_topic())?.len(), 5);
    shop.stop()
}

async fn create_table(clickhouse: &ClickHouse, table: &str) -> Result<()> {
    let sql = format!(
        "CREATE TABLE {table} (n UInt64, s String) ENGINE = MergeTree ORDER BY n
         SETTINGS non_replicated_deduplication_window = 1000"
    );
    clickhouse.query(&sql).await.map(drop)
}
