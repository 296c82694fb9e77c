//! Records of the real SkyWalking Java agent 9.4.0 with its Kafka reporter.

use crate::kafka::Record;
use crate::server;
use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use serde_json::Value;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

/// The records of `testdata/skywalking-java-9.4.0.jsonl.gz` whose topic is `topic`, such as
/// `skywalking-segments`, as recorded; topics have up to three partitions. Give them another topic and hand
/// them to [`crate::Kafka::produce_all`].
pub fn recorded(topic: &str) -> Result<Vec<Record>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/skywalking-java-9.4.0.jsonl.gz");
    let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut records = Vec::new();
    for line in BufReader::new(GzDecoder::new(file)).lines() {
        let line: Value = serde_json::from_str(&line?)?;
        if line["topic"] == topic {
            let number = |name: &str| line[name].as_i64().with_context(|| format!("no {name} in a record"));
            let value = line["value"].as_str().context("no value in a record")?;
            records.push(Record {
                topic: topic.to_owned(),
                partition: i32::try_from(number("partition")?)?,
                offset: number("offset")?,
                timestamp_ms: number("timestamp_ms")?,
                key: line["key"].as_str().map(|key| key.as_bytes().to_vec()),
                value: Some(STANDARD.decode(value)?),
            });
        }
    }
    Ok(records)
}

/// The same records as SkyWalking's own protobuf classes (of the Python agent) read them: one
/// object a segment, protobuf's own names, 64-bit integers as text.
pub fn decode_segments(records: &[Record]) -> Result<Vec<Value>> {
    let lines: String = records
        .iter()
        .map(|record| STANDARD.encode(record.value.as_deref().unwrap_or_default()) + "\n")
        .collect();
    let output = server::run("decode_segments.py", lines)?;
    output.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// What SkyWalking's own protobuf classes read from these messages: the name of each, such as `LogData`, and
/// its bytes. In the form of [`decode_segments`].
pub fn decode_messages<'a>(messages: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Result<Vec<Value>> {
    let lines: String =
        messages.into_iter().map(|(name, bytes)| format!("{name} {}\n", STANDARD.encode(bytes))).collect();
    let output = server::run("decode_messages.py", lines)?;
    output.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}
